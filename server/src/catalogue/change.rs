// SPDX-License-Identifier: GPL-3.0-or-later
//! What the admin changes of an image that is there: its name, its priority, its parameters; and whether it is there.

use super::{
    names::{INITRD, KERNEL, MANIFEST, PAYLOAD, SUMS, signature_name, statement_name, torrent_name},
    own::{ARCHIVES, CARDS},
    place::Place,
    staging::Maker,
    store::Catalogue,
};
use crate::{command_line::check_length, files};
use anyhow::{Context, Result, anyhow, bail};
use bootspec::{
    ImageManifest, ImageName, Priority, cmdline::check_append, manifest::InitrdFrom, trust::Statement,
};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// What changes of an image. Machines that run it notice nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImageChange {
    /// The new name. Machine and group assignments follow it.
    pub name: Option<ImageName>,
    /// Whether it is the default image.
    pub default: Option<bool>,
    /// Its share of the server's link.
    pub priority: Option<Priority>,
    /// The kernel parameters that the admin adds; empty: none.
    pub append: Option<String>,
    /// The version that becomes the current one.
    pub version: Option<u32>,
}

impl Catalogue {
    /// Give an image another name or another priority, or make another of its versions the current one. Machines that
    /// run it notice nothing.
    pub fn apply(&self, name: &ImageName, change: &ImageChange) -> Result<()> {
        if let Some(version) = change.version {
            self.make_current(name, Some(version))?;
        }
        if let Some(new) = change.name.as_ref().filter(|n| *n != name) {
            self.rename(name, new)?;
        }
        if let Some(priority) = change.priority {
            self.change(change.name.as_ref().unwrap_or(name), |m| m.priority = priority)?;
        }
        if let Some(append) = &change.append {
            self.set_extra(change.name.as_ref().unwrap_or(name), append)?;
        }
        Ok(())
    }

    /// Send machines another initrd of the image `before`. `made`: archives and index of one that the server makes.
    pub fn set_initrd(
        &self,
        before: &ImageManifest,
        to: InitrdFrom,
        made: Option<(Vec<u8>, Vec<u8>)>,
    ) -> Result<()> {
        let name = &before.name;
        let _lock = self.lock()?;
        let mut manifest = self.manifest(name)?;
        if manifest != *before {
            bail!("image '{name}' was changed meanwhile: try again");
        }
        if let Some((archives, cards)) = made {
            self.put(name, ARCHIVES, &archives)?;
            self.put(name, CARDS, &cards)?;
        }
        manifest.initrd_from = to;
        let text = toml::to_string(&manifest).context("writing the manifest as TOML")?;
        self.put(name, MANIFEST, text.as_bytes())
    }

    /// Set the kernel parameters that the admin adds. They are part of what is signed.
    fn set_extra(&self, name: &ImageName, extra: &str) -> Result<()> {
        let signed = self.dir(name).join(signature_name(name));
        if signed.exists() {
            bail!(
                "image '{name}' is signed, and its kernel parameters with it: delete {} first, and sign it again afterwards \
                 with `boottorrent image sign {name}`",
                signed.display()
            );
        }
        let extra = extra.trim();
        check_append(extra).map_err(|why| anyhow!(why))?;
        let changed = |m: &ImageManifest| {
            let own = m.append.strip_suffix(m.admins()).unwrap_or(&m.append).trim();
            let append = [own, extra].join(" ").trim().to_owned();
            ImageManifest { append, extra: extra.to_owned(), ..m.clone() }
        };
        check_length(&changed(&self.manifest(name)?))?;
        let manifest = self.change(name, |m| *m = changed(m))?;
        match Statement::of(&manifest) {
            Ok(statement) => self.put(name, &statement_name(name), statement.to_string().as_bytes()),
            // There was none before either.
            Err(_) => Ok(()),
        }
    }

    /// The same files under another name, of all versions. For a moment there are both; the disk has the bytes once.
    fn rename(&self, name: &ImageName, new: &ImageName) -> Result<()> {
        let current = self.manifest(name)?;
        self.refuse_taken(new)?;
        self.refuse_to_lose_signature(name)?;
        if let [left, ..] = &self.kept_folders(new)?[..] {
            bail!("there is a folder {left} in {}: remove it first", self.images.display());
        }
        // Only links are made, to files that its owner has: root has no part in it.
        let _acting = files::acting(&self.images)?;
        // The current version comes last: with it, the image is there.
        let done = self.kept(name)?.into_iter().try_for_each(|kept| {
            self.link(&self.images.join(&kept.folder), kept.manifest, new, Place::Numbered)
        });
        if let Err(e) = done.and_then(|()| self.link(&self.dir(name), current, new, Place::New)) {
            for folder in self.kept_folders(new)? {
                let _ = fs::remove_dir_all(self.images.join(folder));
            }
            return Err(e);
        }
        self.remove(name)
    }

    /// The files of one version under another name.
    fn link(&self, dir: &Path, manifest: ImageManifest, new: &ImageName, place: Place) -> Result<()> {
        let staging = self.stage_as(new, Maker::Owner)?;
        let may_lack = [SUMS, ARCHIVES, CARDS];
        for file in [PAYLOAD, KERNEL, INITRD].into_iter().chain(may_lack) {
            let (from, to) = (dir.join(file), staging.path(file));
            match fs::hard_link(&from, &to) {
                Err(e) if may_lack.contains(&file) && e.kind() == ErrorKind::NotFound => {}
                linked => {
                    linked.with_context(|| format!("linking {} to {}", from.display(), to.display()))?
                }
            }
        }
        let torrent = dir.join(torrent_name(&manifest.name));
        let torrent = files::read(&torrent, swarm::MAX_METAINFO, "torrent that machines take")?;
        let manifest = ImageManifest { name: new.clone(), ..manifest };
        staging.publish_as(&manifest, &torrent, place).map(drop)
    }

    /// Take an image away, with all its versions. What is open of it stays readable for those who have it open.
    pub fn remove(&self, name: &ImageName) -> Result<()> {
        let _acting = files::acting(&self.images)?;
        let lock = self.lock()?;
        let kept = self.kept_folders(name)?;
        let there = self.dir(name).exists();
        if !there && kept.is_empty() {
            bail!("{}", self.no_such(name)?);
        }
        let current = there.then(|| name.to_string());
        let away: Vec<PathBuf> =
            kept.into_iter().chain(current).map(|f| self.put_away(name, &f)).collect::<Result<_>>()?;
        drop(lock);
        away.iter()
            .try_for_each(|a| fs::remove_dir_all(a).with_context(|| format!("deleting {}", a.display())))
    }
}
