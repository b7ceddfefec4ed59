// SPDX-License-Identifier: GPL-3.0-or-later
//! The catalogue: one folder an image, under `images/` of the root.
//!
//! ```text
//! images/NAME/{manifest.toml,payload,vmlinuz,initrd,NAME.torrent,NAME.statement}
//! images/NAME/NAME.statement.minisig   when it is signed
//! images/.staging-NAME-…/      being made, or being thrown away
//! images/.lock                 held while names or manifests change
//! images/.new-…                a changed manifest or signature, before it is renamed
//! ```
//! An image is there whole or not at all: it is made in a staging folder and
//! renamed. Readers need no lock. What root does here it does as the folders' owner ([`crate::owner`]); only a staging
//! folder is root's own until the image is whole.

mod change;
pub mod room;
mod sign;
mod staging;

use crate::command_line::check_length;
pub use change::ImageChange;
pub use sign::{Resigned, Sealed};
use staging::Maker;
pub use staging::Staging;

use crate::{
    files::{self, Put},
    keys::Hand,
};
use anyhow::{Context, Result, anyhow, bail};
use bootspec::{
    ImageManifest, ImageName,
    cmdline::check_append,
    trust::{SIGNATURE, STATEMENT, Statement},
};
use nix::fcntl::{Flock, FlockArg};
use std::{
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// The manifest's file name.
pub const MANIFEST: &str = "manifest.toml";
/// The payload's file name.
pub const PAYLOAD: &str = "payload";
/// The kernel's file name.
pub const KERNEL: &str = "vmlinuz";
/// The initrd's file name.
pub const INITRD: &str = "initrd";
/// Sums of the payload's blocks; images of older servers have none.
pub const SUMS: &str = "sums";
/// What the add-on is called over HTTP; it is made from the installed agent and is in no folder.
pub const ADDON: &str = "addon";

/// A manifest is a few lines.
const MAX_MANIFEST: usize = 64 * 1024;

/// The torrent's file name.
pub fn torrent_name(name: &ImageName) -> String {
    format!("{name}.torrent")
}

/// The statement's file name: what is signed of an image.
pub fn statement_name(name: &ImageName) -> String {
    format!("{name}.{STATEMENT}")
}

/// The file name of the statement's signature.
pub fn signature_name(name: &ImageName) -> String {
    format!("{name}.{STATEMENT}.{SIGNATURE}")
}

/// A manifest for programs: with the priority also where it is the usual one, which manifest.toml leaves out.
pub fn as_json(manifest: &ImageManifest) -> serde_json::Value {
    let mut value = serde_json::to_value(manifest).expect("a manifest is JSON");
    value["priority"] = manifest.priority.get().into();
    value
}

/// A catalogue on disk.
#[derive(Clone, Debug)]
pub struct Catalogue {
    images: PathBuf,
    hand: Hand,
}

impl Catalogue {
    /// The catalogue at `root`; nothing is made until an image is added.
    pub fn at(root: &Path) -> Catalogue {
        Catalogue { images: root.join("images"), hand: Hand::None }
    }

    /// The same, and what is added from now on is signed by this hand.
    pub fn signed_by(self, hand: Hand) -> Catalogue {
        Catalogue { hand, ..self }
    }

    /// The folder with the images.
    pub fn images_dir(&self) -> &Path {
        &self.images
    }

    /// The folder of one image, whether it is there or not.
    pub fn dir(&self, name: &ImageName) -> PathBuf {
        self.images.join(name.as_str())
    }

    /// The names of all images, sorted.
    pub fn names(&self) -> Result<Vec<ImageName>> {
        let _acting = files::acting(&self.images)?;
        let entries = match fs::read_dir(&self.images) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.with_context(|| format!("reading {}", self.images.display()))?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.with_context(|| format!("reading {}", self.images.display()))?;
            // What is no name is no image: staging folders, the lock, lost+found.
            let name = entry.file_name().to_str().and_then(|n| n.parse().ok());
            names.extend(name.filter(|_| entry.path().join(MANIFEST).exists()));
        }
        names.sort();
        Ok(names)
    }

    /// The manifest of one image.
    pub fn manifest(&self, name: &ImageName) -> Result<ImageManifest> {
        let path = self.dir(name).join(MANIFEST);
        let Some(text) = files::find_text(&path, MAX_MANIFEST, "manifest")? else {
            bail!("{}", self.no_such(name)?)
        };
        let manifest: ImageManifest =
            toml::from_str(&text).map_err(|e| anyhow!("{}: {}", path.display(), e.message()))?;
        if manifest.name != *name {
            bail!("{}: the name in it is '{}', the folder's is '{name}'", path.display(), manifest.name);
        }
        Ok(manifest)
    }

    fn no_such(&self, name: &ImageName) -> Result<String> {
        let names = self.names()?;
        let list = names.iter().map(|n| n.as_str()).collect::<Vec<_>>().join(", ");
        let have = if list.is_empty() { "there are none".to_owned() } else { format!("there are: {list}") };
        Ok(format!("no image '{name}' in {}: {have}", self.images.display()))
    }

    /// Change an image's manifest: readers see the old one or the new one. Its files and its torrent stay.
    pub fn change(&self, name: &ImageName, change: impl FnOnce(&mut ImageManifest)) -> Result<ImageManifest> {
        self.manifest(name)?;
        let _lock = self.lock()?;
        // Read again: it may have been replaced while another held the lock.
        let mut manifest = self.manifest(name)?;
        change(&mut manifest);
        let text = toml::to_string(&manifest).context("writing the manifest as TOML")?;
        self.put(name, MANIFEST, text.as_bytes())?;
        Ok(manifest)
    }

    /// Replace a small file of an image: readers see the old one or the new one. Call with the lock.
    fn put(&self, name: &ImageName, file: &str, bytes: &[u8]) -> Result<()> {
        // Beside the images and not in the folder: so the folder changes once, when the new one is in it.
        let how = Put { mode: 0o644, beside: Some(&self.images), replace: true, inherit: true };
        files::put(&self.dir(name).join(file), bytes, &how)
    }

    /// Give an image another name or another priority. Its torrent is the same: machines that run it notice nothing.
    pub fn apply(&self, name: &ImageName, change: &ImageChange) -> Result<()> {
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
            // Older manifests have no `extra`: all of a root's or a disk's parameters are the admin's.
            let before = if m.family.is_none() { &m.append } else { &m.extra };
            let own = m.append.strip_suffix(before.as_str()).unwrap_or(&m.append).trim();
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

    /// The same files under another name. For a moment there are both; the disk has the bytes once.
    fn rename(&self, name: &ImageName, new: &ImageName) -> Result<()> {
        let mut manifest = self.manifest(name)?;
        self.refuse_taken(new)?;
        self.refuse_to_lose_signature(name)?;
        // Only links are made, to files that its owner has: root has no part in it.
        let _acting = files::acting(&self.images)?;
        let staging = self.stage_as(new, Maker::Owner)?;
        for file in [PAYLOAD, KERNEL, INITRD, SUMS] {
            let (from, to) = (self.dir(name).join(file), staging.path(file));
            match fs::hard_link(&from, &to) {
                Err(e) if file == SUMS && e.kind() == ErrorKind::NotFound => {}
                linked => {
                    linked.with_context(|| format!("linking {} to {}", from.display(), to.display()))?
                }
            }
        }
        let torrent = self.dir(name).join(torrent_name(name));
        let torrent = files::read(&torrent, swarm::MAX_METAINFO, "torrent that machines take")?;
        manifest.name = new.clone();
        staging.publish(&manifest, &torrent, false).map(drop)?;
        self.remove(name)
    }

    /// Take an image away. What is open of it stays readable for those who have it open.
    pub fn remove(&self, name: &ImageName) -> Result<()> {
        let _acting = files::acting(&self.images)?;
        if !self.dir(name).exists() {
            bail!("{}", self.no_such(name)?);
        }
        let lock = self.lock()?;
        let away = self.images.join(staging::new_name(name)?);
        fs::rename(self.dir(name), &away)
            .with_context(|| format!("renaming {}", self.dir(name).display()))?;
        staging::sync_dir(&self.images)?;
        drop(lock);
        fs::remove_dir_all(&away).with_context(|| format!("deleting {}", away.display()))
    }

    /// Make a folder for a new image, and clean away what killed runs left.
    pub fn stage(&self, name: &ImageName) -> Result<Staging> {
        self.stage_as(name, Maker::Us)
    }

    fn stage_as(&self, name: &ImageName, maker: Maker) -> Result<Staging> {
        files::make_dirs(&self.images)?;
        let _lock = self.lock()?;
        staging::clean(&self.images)?;
        Staging::new(self.clone(), name, maker)
    }

    /// One at a time may change names.
    fn lock(&self) -> Result<Flock<File>> {
        let path = self.images.join(".lock");
        Flock::lock(files::lock_file(&path)?, FlockArg::LockExclusive)
            .map_err(|(_, e)| anyhow!(e).context(format!("locking {}", path.display())))
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
