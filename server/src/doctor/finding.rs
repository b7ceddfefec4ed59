// SPDX-License-Identifier: GPL-3.0-or-later
//! What was found, how bad it is, and how it is mended.

use crate::{firmware, setup::survey::DNSMASQ_DIR};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Good,
    /// It could not be looked at; `what` says why.
    Skipped,
    /// Some machines, or some day, may not boot.
    Warning,
    /// Machines do not boot.
    Bad,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What was looked at, in a word: `dhcp`, `firewall`, `ports`, …
    pub check: String,
    /// How it is.
    pub state: Severity,
    /// What was found.
    pub what: String,
    /// What comes of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub means: Option<String>,
    /// A command that mends it, or what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
}

impl Finding {
    fn new(check: &str, state: Severity, what: impl Into<String>) -> Finding {
        Finding { check: check.into(), state, what: what.into(), means: None, cure: None }
    }

    /// As it should be.
    pub fn good(check: &str, what: impl Into<String>) -> Finding {
        Finding::new(check, Severity::Good, what)
    }

    /// It could not be looked at.
    pub fn skipped(check: &str, why: impl Into<String>) -> Finding {
        Finding::new(check, Severity::Skipped, why)
    }

    /// It may stop a boot.
    pub fn warning(check: &str, what: impl Into<String>, means: &str, cure: impl Into<String>) -> Finding {
        Finding {
            means: Some(means.into()),
            cure: Some(cure.into()),
            ..Finding::new(check, Severity::Warning, what)
        }
    }

    /// It stops a boot.
    pub fn bad(check: &str, what: impl Into<String>, means: &str, cure: impl Into<String>) -> Finding {
        Finding {
            means: Some(means.into()),
            cure: Some(cure.into()),
            ..Finding::new(check, Severity::Bad, what)
        }
    }
}

/// Where things are that the settings do not name.
#[derive(Clone, Debug)]
pub struct SystemPaths {
    /// dnsmasq's snippets.
    pub dnsmasq: std::path::PathBuf,
    /// Debian's loaders.
    pub ipxe: std::path::PathBuf,
}

impl Default for SystemPaths {
    fn default() -> SystemPaths {
        SystemPaths { dnsmasq: DNSMASQ_DIR.into(), ipxe: Path::new(firmware::LIB).join("ipxe") }
    }
}
