// SPDX-License-Identifier: GPL-3.0-or-later
//! Whether what comes fits on the disk: asked before the first byte.

use anyhow::{Context, Result, bail};
use bootspec::{ImageName, units::human_size};
use std::path::Path;

/// The disk on which images are.
#[derive(Clone, Debug)]
pub struct Room<'a> {
    /// A folder on it.
    pub dir: &'a Path,
    /// What would be there.
    pub name: &'a ImageName,
}

impl Room<'_> {
    /// The bytes that this user can still write there.
    pub fn free(&self) -> Result<u64> {
        let s = nix::sys::statvfs::statvfs(self.dir)
            .with_context(|| format!("asking for the room in {}", self.dir.display()))?;
        Ok(s.blocks_available().saturating_mul(s.fragment_size()))
    }

    /// Refuse what does not fit.
    pub fn refuse_without(&self, need: u64) -> Result<()> {
        let free = self.free()?;
        if need > free {
            bail!(
                "no room for '{}' in the catalogue: it needs {} and {} are free; free some, or choose another disk with --dir",
                self.name,
                human_size(need),
                human_size(free)
            );
        }
        Ok(())
    }
}
