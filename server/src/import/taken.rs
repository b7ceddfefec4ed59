// SPDX-License-Identifier: GPL-3.0-or-later
//! Kernel and initrd of an image that is being added, and what is known of them.

use super::request::Request;
use crate::catalogue::{INITRD, Staging, own::Index};
use anyhow::{Context, Result};
use bootspec::manifest::{BootFile, Family};

/// Where an initrd is that the image does not have.
pub const NO_INITRD: &str = "nowhere";

/// Kernel and initrd, as they are in the staging folder.
#[derive(Default)]
pub struct Boot {
    /// The kernel.
    pub kernel: BootFile,
    /// The initrd.
    pub initrd: BootFile,
    /// What an initrd is made of that machines are sent instead.
    pub own: Option<Index>,
    /// Whose initrd it is, where the add-on comes beside it.
    pub family: Option<Family>,
    /// Kernel parameters that came with the kernel.
    pub parameters: String,
    /// The kernel's version: from its header, else from its name.
    pub version: Option<String>,
    /// The kernel's configuration (/boot/config-VERSION), where the image has it.
    pub config: Option<String>,
    /// What the admin should hear.
    pub notes: Vec<String>,
}

impl Boot {
    /// Whether the kernel has an option, built in or as a module. Without its configuration: yes.
    pub fn has_option(&self, option: &str) -> bool {
        let has = |line: &str| {
            let value = line.strip_prefix("CONFIG_").and_then(|l| l.strip_prefix(option));
            matches!(value, Some("=y" | "=m"))
        };
        self.config.as_ref().is_none_or(|config| config.lines().any(has))
    }

    /// After the initrd was changed.
    pub fn measure(&mut self, staging: &Staging) -> Result<()> {
        let path = staging.path(INITRD);
        self.initrd.size = path.metadata().context("asking for the size of the initrd")?.len();
        Ok(())
    }

    /// The image's kernel parameters: those that came with its kernel, then the admin's.
    pub fn append(&self, request: &Request) -> String {
        [self.parameters.as_str(), &request.extra()].join(" ").trim().to_owned()
    }
}
