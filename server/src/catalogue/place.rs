// SPDX-License-Identifier: GPL-3.0-or-later
//! Where a version of an image goes when it is published, and how two versions change places.

use super::{names::already_there, store::Catalogue};
use anyhow::{Context, Result, bail};
use bootspec::{
    ImageManifest, ImageName,
    manifest::{FIRST, Kind},
};
use nix::fcntl::{RenameFlags, renameat2};
use std::os::fd::OwnedFd;

/// Where an image that is made is going to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// An image of a new name.
    New,
    /// The current version, whether there was one before or not. That one is kept.
    Current,
    /// Beside the current version, which stays it.
    Candidate,
    /// The same, with the number that its manifest has.
    Numbered,
}

/// Where a folder goes in the end, and what happens with what is there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Spot {
    /// The number of the version.
    pub version: u32,
    /// The folder's name.
    pub folder: String,
    /// Whether it changes places with one that is there, which goes.
    pub replaces: bool,
    /// Then it changes places with the current one, which has this number.
    pub before: Option<u32>,
}

/// The folder of a version that is not the current one.
fn folder(name: &ImageName, version: u32) -> String {
    format!("{name}@{version}")
}

/// The current version changes places with another one. Call with the lock.
pub(super) fn swap(images: &OwnedFd, name: &ImageName, other: &str, before: u32) -> Result<()> {
    let now = name.as_str();
    renameat2(images, other, images, now, RenameFlags::RENAME_EXCHANGE)
        .with_context(|| format!("renaming {other} to {now}"))?;
    // Its name is for people only. One that is in the way is another's mistake, and stays.
    let tidy = folder(name, before);
    if tidy != other {
        let _ = renameat2(images, other, images, tidy.as_str(), RenameFlags::RENAME_NOREPLACE);
    }
    nix::unistd::fsync(images).context("syncing the folder with the images")
}

impl Catalogue {
    /// Where a copy of another server's version goes, which keeps its number. Call with the lock.
    pub(super) fn spot_of_copy(&self, new: &ImageManifest, current: bool) -> Result<Spot> {
        let (name, version) = (&new.name, new.version);
        let now = if self.dir(name).exists() { Some(self.manifest(name)?.version) } else { None };
        let kept = self.kept(name)?.into_iter().find(|k| k.manifest.version == version);
        let beside = |before| Spot {
            version,
            folder: kept.as_ref().map_or_else(|| folder(name, version), |k| k.folder.clone()),
            replaces: kept.is_some(),
            before,
        };
        Ok(match now {
            Some(now) if now == version => {
                Spot { version, folder: name.to_string(), replaces: true, before: None }
            }
            Some(now) => beside(current.then_some(now)),
            None if current => Spot { version, folder: name.to_string(), replaces: false, before: None },
            None => bail!("version {version} of image '{name}' comes after the current one"),
        })
    }

    /// Where a new version goes. Call with the lock.
    pub(super) fn spot(&self, new: &ImageManifest, place: Place) -> Result<Spot> {
        let name = &new.name;
        let there = self.dir(name).exists();
        let current = if there { self.manifest(name).ok() } else { None };
        let kept = self.kept(name)?;
        let numbers = kept.iter().map(|k| k.manifest.version).chain(current.as_ref().map(|m| m.version));
        let highest = numbers.max();
        let next = highest.map_or(FIRST, |n| n.saturating_add(1));
        let same = kept.iter().find(|k| k.manifest.infohash == new.infohash);
        let alone = |version, replaces| Spot { version, folder: name.to_string(), replaces, before: None };
        let beside = |before| match same {
            Some(k) => Spot { version: k.manifest.version, folder: k.folder.clone(), replaces: true, before },
            None => Spot { version: next, folder: folder(name, next), replaces: false, before },
        };
        Ok(match (place, current) {
            (Place::New, _) if there => bail!("{}", already_there(name)),
            (Place::Numbered, _) => Spot {
                version: new.version,
                folder: folder(name, new.version),
                replaces: false,
                before: None,
            },
            (Place::Candidate, Some(now)) if now.infohash == new.infohash => bail!(
                "this is what version {} of image '{name}' has, the current one: nothing is added",
                now.version
            ),
            (Place::Candidate, Some(_)) => beside(None),
            (Place::Candidate, None) => {
                bail!("there is no image '{name}' yet: add it without --candidate")
            }
            (Place::New | Place::Current, _) if !there => {
                let free = kept.iter().all(|k| k.manifest.version != new.version);
                alone(if free { new.version } else { next }, false)
            }
            // Its own tools keep the version before.
            (_, Some(now)) if now.kind == Kind::Ltsp || now.infohash == new.infohash => {
                alone(now.version, true)
            }
            (_, Some(now)) => beside(Some(now.version)),
            // Nothing can be said of one that is damaged.
            (_, None) => alone(next, true),
        })
    }
}
