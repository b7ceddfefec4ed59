// SPDX-License-Identifier: GPL-3.0-or-later
//! The versions of an image. The current one is the folder `NAME`; the others lie beside it as `NAME@NUMBER`. Which
//! version a folder has, its manifest says, and not its name: for a moment, while two change places, the name is the
//! other one's. Two versions of an image never have the same infohash.

use super::{
    names::{MANIFEST, signature_name, statement_name},
    place::swap,
    sign::{Sealed, seal},
    staging::{new_name, sync_dir},
    store::Catalogue,
};
use crate::{files, owner};
use anyhow::{Context, Result, bail};
use bootspec::{ImageManifest, ImageName, manifest::Kind};
use std::{fs, io::ErrorKind, path::PathBuf, time::SystemTime};

/// Versions of one image that are looked at, at most.
const MANY: usize = 1000;

/// A version that is not the current one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptVersion {
    /// Its folder, beside the images.
    pub folder: String,
    /// What it is.
    pub manifest: ImageManifest,
}

/// What [`Catalogue::make_current`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switched {
    /// The current version now.
    pub manifest: ImageManifest,
    /// The number of the one before.
    pub before: u32,
    /// What became of its signature, where it has one.
    pub sealed: Sealed,
}

impl Catalogue {
    /// The folders of an image's versions that are not the current one.
    pub fn kept_folders(&self, name: &ImageName) -> Result<Vec<String>> {
        let _acting = files::acting(&self.images)?;
        let reading = || format!("reading {}", self.images.display());
        let entries = match fs::read_dir(&self.images) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.with_context(reading)?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let Ok(file) = entry.with_context(reading)?.file_name().into_string() else { continue };
            let number = file.strip_prefix(name.as_str()).and_then(|rest| rest.strip_prefix('@'));
            if number.is_some_and(|n| n.parse::<u32>().is_ok()) && found.len() < MANY {
                found.push(file);
            }
        }
        found.sort();
        Ok(found)
    }

    /// The versions of an image that are not the current one, by number. What is damaged is left out.
    pub fn kept(&self, name: &ImageName) -> Result<Vec<KeptVersion>> {
        let folders = self.kept_folders(name)?.into_iter();
        let read = |folder: String| {
            let manifest = self.manifest_in(&self.images.join(&folder), name).ok().flatten()?;
            Some(KeptVersion { folder, manifest })
        };
        let mut kept: Vec<KeptVersion> = folders.filter_map(read).collect();
        kept.sort_by_key(|k| k.manifest.version);
        Ok(kept)
    }

    /// All versions of an image, the current one first.
    pub fn versions(&self, name: &ImageName) -> Result<Vec<ImageManifest>> {
        let current = self.manifest(name)?;
        let kept = self.kept(name)?.into_iter().map(|k| k.manifest);
        Ok([current].into_iter().chain(kept).collect())
    }

    /// Make another version the current one: `to`, or the one before. Machines that run a version notice nothing.
    pub fn make_current(&self, name: &ImageName, to: Option<u32>) -> Result<Switched> {
        let now = self.manifest(name)?;
        let _lock = self.lock()?;
        let now = if self.manifest(name)? == now { now } else { bail!("{}", meanwhile(name)) };
        let chosen = self.chosen(&now, to)?;
        let dir = self.images.join(&chosen.folder);
        // What the image gets of the server's link is no matter of its version.
        let mut manifest = ImageManifest { priority: now.priority, ..chosen.manifest };
        let mut sealed = Sealed::default();
        if dir.join(signature_name(name)).exists() {
            // Machines that keep images on a disk take nothing that was signed before what they have.
            let again = ImageManifest { added: timestamp(), ..manifest.clone() };
            let (done, proof) = seal(&again, &self.hand)?;
            sealed = done;
            if let Some(proof) = proof.filter(|_| sealed.key.is_some()) {
                manifest = again;
                self.put_in(&dir, &statement_name(name), &proof.statement)?;
                self.put_in(&dir, &signature_name(name), &proof.signature)?;
            }
        }
        let text = toml::to_string(&manifest).context("writing the manifest as TOML")?;
        self.put_in(&dir, MANIFEST, text.as_bytes())?;
        let images = owner::hold(&self.images)?;
        let _acting = files::acting(&self.images)?;
        swap(&images, name, &chosen.folder, now.version)?;
        Ok(Switched { manifest, before: now.version, sealed })
    }

    /// The number of the version that [`Catalogue::make_current`] would choose.
    pub fn version_for(&self, name: &ImageName, to: Option<u32>) -> Result<u32> {
        self.chosen(&self.manifest(name)?, to).map(|k| k.manifest.version)
    }

    /// The version that becomes the current one.
    fn chosen(&self, now: &ImageManifest, to: Option<u32>) -> Result<KeptVersion> {
        let name = &now.name;
        if now.kind == Kind::Ltsp {
            bail!(
                "image '{name}' is of LTSP, which keeps the version before itself: run `ltsp image --revert {name}`"
            );
        }
        let kept = self.kept(name)?;
        let wanted = match to {
            Some(to) if to == now.version => {
                bail!("version {to} of image '{name}' is the current one already")
            }
            Some(to) => Some(to),
            None => kept.iter().map(|k| k.manifest.version).filter(|v| *v < now.version).max(),
        };
        let Some(wanted) = wanted else {
            bail!(
                "image '{name}' has no version before {}: `boottorrent image history {name}` lists its versions",
                now.version
            );
        };
        find(now, kept, wanted)
    }

    /// Remove one version, which is not the current one. What is open of it stays readable for those who have it open.
    pub fn remove_version(&self, name: &ImageName, version: u32) -> Result<()> {
        let now = self.manifest(name)?;
        let _acting = files::acting(&self.images)?;
        let lock = self.lock()?;
        // Read again: it may have become the current one.
        if self.manifest(name).map_or(now.version, |m| m.version) == version {
            bail!(
                "version {version} of image '{name}' is the current one: make another one that first, with \
                 `boottorrent image rollback {name} --to NUMBER`, or remove the image with all its versions"
            );
        }
        let found = find(&now, self.kept(name)?, version)?;
        let away = self.put_away(name, &found.folder)?;
        drop(lock);
        fs::remove_dir_all(&away).with_context(|| format!("deleting {}", away.display()))
    }

    /// Rename a folder so that it is not a version any more. Call with the lock, as the catalogue's owner.
    pub(super) fn put_away(&self, name: &ImageName, folder: &str) -> Result<PathBuf> {
        let (from, away) = (self.images.join(folder), self.images.join(new_name(name)?));
        fs::rename(&from, &away).with_context(|| format!("renaming {}", from.display()))?;
        sync_dir(&self.images)?;
        Ok(away)
    }

    /// The folder of a version, wherever it is.
    pub fn dir_of(&self, name: &ImageName, version: u32) -> Result<PathBuf> {
        if self.manifest(name)?.version == version {
            return Ok(self.dir(name));
        }
        let found = find(&self.manifest(name)?, self.kept(name)?, version)?;
        Ok(self.images.join(found.folder))
    }
}

/// One of the versions. Errors: there is none of this number, and which there are.
fn find(now: &ImageManifest, kept: Vec<KeptVersion>, version: u32) -> Result<KeptVersion> {
    let mut numbers: Vec<u32> = kept.iter().map(|k| k.manifest.version).chain([now.version]).collect();
    numbers.sort_unstable();
    let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
    match kept.into_iter().find(|k| k.manifest.version == version) {
        Some(found) => Ok(found),
        None => {
            bail!("image '{}' has no version {version}: its versions are {}", now.name, numbers.join(", "))
        }
    }
}

fn meanwhile(name: &ImageName) -> String {
    format!("image '{name}' was changed meanwhile: try again")
}

fn timestamp() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}
