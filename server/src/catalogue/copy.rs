// SPDX-License-Identifier: GPL-3.0-or-later
//! Copies of another server's images, as a relay has them: with their numbers and signatures, and in each folder a note of
//! what the copy was made of. When a machine last booted an image, the note's time says.

use super::{
    names::{COPY, PAYLOAD},
    place::swap,
    staging::{Staging, sync_dir},
    store::Catalogue,
};
use crate::{files, owner};
use anyhow::{Context, Result, bail};
use bootspec::{ImageManifest, ImageName, InfoHash, trust::Evidence};
use std::{
    fs::{self, File},
    path::PathBuf,
    time::SystemTime,
};

/// A manifest, a statement and a signature are a few kilobytes.
const MAX_NOTE: usize = 256 << 10;

/// One version of an image that is made a copy of.
pub struct VersionCopy<'a> {
    /// What it is.
    pub manifest: &'a ImageManifest,
    /// Its torrent.
    pub torrent: &'a [u8],
    /// Its statement and signature.
    pub evidence: &'a Evidence,
    /// What tells this copy from an earlier one of the same version.
    pub note: &'a [u8],
    /// Whether it is the current version.
    pub current: bool,
}

/// A copy that is here.
#[derive(Clone, Debug)]
pub struct CopiedVersion {
    /// Its folder.
    pub dir: PathBuf,
    /// Whether it is the current version.
    pub current: bool,
    /// What it is.
    pub manifest: ImageManifest,
    /// What the copy was made of.
    pub note: Vec<u8>,
    /// When a machine last booted it, or it was made.
    pub used: SystemTime,
}

impl Catalogue {
    /// Make a copy visible whose files are staged.
    pub fn publish_copy(&self, staging: Staging, copy: &VersionCopy<'_>) -> Result<()> {
        staging.publish_copy(copy.manifest, copy.torrent, copy.evidence, copy.note, copy.current)
    }

    /// All versions of all images. What is damaged is left out.
    pub fn copies(&self) -> Result<Vec<CopiedVersion>> {
        let mut all = Vec::new();
        for name in self.names()? {
            let kept =
                self.kept(&name)?.into_iter().map(|k| (self.images.join(&k.folder), k.manifest, false));
            let current = self.manifest(&name).ok().map(|m| (self.dir(&name), m, true));
            for (dir, manifest, current) in current.into_iter().chain(kept) {
                let path = dir.join(COPY);
                let note = files::find(&path, MAX_NOTE, "note of a copy").ok().flatten().unwrap_or_default();
                let used = fs::metadata(&path).and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
                all.push(CopiedVersion { dir, current, manifest, note, used });
            }
        }
        Ok(all)
    }

    /// A machine boots this version now.
    pub fn used(&self, infohash: InfoHash) -> Result<()> {
        for copy in self.copies()?.iter().filter(|c| c.manifest.infohash == infohash) {
            let path = copy.dir.join(COPY);
            let file = File::options().append(true).open(&path);
            file.and_then(|f| f.set_modified(SystemTime::now()))
                .with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(())
    }

    /// Make a version the current one that is here, as it is.
    pub fn show_copy(&self, name: &ImageName, version: u32) -> Result<()> {
        let _lock = self.lock()?;
        let now = self.manifest(name)?;
        let Some(kept) = self.kept(name)?.into_iter().find(|k| k.manifest.version == version) else {
            bail!("version {version} of image '{name}' is not here");
        };
        let images = owner::hold(&self.images)?;
        let _acting = files::acting(&self.images)?;
        swap(&images, name, &kept.folder, now.version)
    }

    /// Remove a copy. The current version goes only with all others.
    pub fn remove_copy(&self, copy: &CopiedVersion) -> Result<()> {
        match copy.current {
            true => self.remove(&copy.manifest.name),
            false => self.remove_version(&copy.manifest.name, copy.manifest.version),
        }
    }

    /// Where a payload is, of whichever version has it.
    pub fn payload_of(copies: &[CopiedVersion], infohash: InfoHash) -> Option<PathBuf> {
        let found = copies.iter().find(|c| c.manifest.infohash == infohash)?;
        Some(found.dir.join(PAYLOAD))
    }

    /// Make the folder of the images, where there is none yet.
    pub fn make(&self) -> Result<()> {
        files::make_dirs(&self.images)?;
        sync_dir(&self.images)
    }
}
