// SPDX-License-Identifier: GPL-3.0-or-later
//! Whether what comes fits on the disk: asked before the first byte.

use anyhow::{Context, Result, anyhow, bail};
use bootspec::{ImageName, units::human_size};
use std::{io, path::Path};

/// What is left free while something is unpacked: so much, or a part of a small disk.
const RESERVE: u64 = 1 << 30;
const RESERVED: u64 = 50;

/// Refuse to go on when only a reserve is left on the disk of `dir`: other things must still be written, and what is
/// being unpacked may have no end.
pub fn keep(dir: &Path) -> Result<()> {
    let s = nix::sys::statvfs::statvfs(dir)
        .with_context(|| format!("asking for the room in {}", dir.display()))?;
    let bytes = |blocks: u64| blocks.saturating_mul(s.fragment_size());
    match bytes(s.blocks_available()) < (bytes(s.blocks()) / RESERVED).min(RESERVE) {
        true => Err(io::Error::from(io::ErrorKind::StorageFull)).context("keeping a reserve"),
        false => Ok(()),
    }
}

/// The bytes that this user can still write on the disk of `dir`.
pub fn free(dir: &Path) -> Result<u64> {
    let s = nix::sys::statvfs::statvfs(dir)
        .with_context(|| format!("asking for the room in {}", dir.display()))?;
    Ok(s.blocks_available().saturating_mul(s.fragment_size()))
}

/// The disk on which images are.
#[derive(Clone, Debug)]
pub struct FreeSpace<'a> {
    /// A folder on it.
    pub dir: &'a Path,
    /// What would be there.
    pub name: &'a ImageName,
}

impl FreeSpace<'_> {
    /// The bytes that this user can still write there.
    pub fn free(&self) -> Result<u64> {
        free(self.dir)
    }

    /// See [`keep`].
    pub fn keep(&self) -> Result<()> {
        keep(self.dir)
    }

    /// The sentence for a disk that is full.
    pub fn full(&self) -> anyhow::Error {
        anyhow!(
            "no room for '{}' in the catalogue: the disk with {} is full; free some, or choose another one with --dir",
            self.name,
            self.dir.display()
        )
    }

    /// A full disk is one sentence, whoever met it.
    pub fn or_full(&self, e: anyhow::Error) -> anyhow::Error {
        let full =
            |e: &io::Error| matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let ours = e.chain().any(|c| c.downcast_ref::<io::Error>().is_some_and(full));
        // mksquashfs, tar and the like say it in words.
        match ours || format!("{e:#}").contains("No space left on device") {
            true => self.full(),
            false => e,
        }
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
