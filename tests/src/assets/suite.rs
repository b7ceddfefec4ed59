// SPDX-License-Identifier: GPL-3.0-or-later
//! Debian's releases.

use anyhow::{Context, Result, bail};

/// A Debian release that images are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// Debian 12.
    Bookworm,
    /// Debian 13.
    Trixie,
}

impl Suite {
    /// Every suite that is supported.
    pub const ALL: [Suite; 2] = [Suite::Bookworm, Suite::Trixie];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Suite::Bookworm => "bookworm",
            Suite::Trixie => "trixie",
        }
    }

    /// The suite of this machine.
    pub fn own() -> Result<Suite> {
        let release = std::fs::read_to_string("/etc/os-release").context("reading /etc/os-release")?;
        let own = release.lines().find_map(|l| l.strip_prefix("VERSION_CODENAME=")).unwrap_or("unknown");
        match Self::ALL.into_iter().find(|s| s.as_str() == own) {
            Some(suite) => Ok(suite),
            None => bail!("this machine runs {own}: images can be made on Debian bookworm and trixie"),
        }
    }
}
