// SPDX-License-Identifier: GPL-3.0-or-later
//! The catalogue on disk: which images there are, and what their manifests say.

use super::names::MANIFEST;

use crate::{
    files::{self, Put, Whose},
    keys::CatalogueSigner,
};
use anyhow::{Context, Result, anyhow, bail};
use bootspec::{ImageManifest, ImageName};
use nix::fcntl::{Flock, FlockArg};
use std::{
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// A manifest is a few lines.
const MAX_MANIFEST: usize = 64 * 1024;

/// A catalogue on disk.
#[derive(Clone, Debug)]
pub struct Catalogue {
    /// The folder with the images.
    pub(super) images: PathBuf,
    /// Who signs them.
    pub(super) hand: CatalogueSigner,
}

impl Catalogue {
    /// The catalogue at `root`; nothing is made until an image is added.
    pub fn at(root: &Path) -> Catalogue {
        Catalogue { images: root.join("images"), hand: CatalogueSigner::None }
    }

    /// The same, and what is added from now on is signed by this hand.
    pub fn signed_by(self, hand: CatalogueSigner) -> Catalogue {
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
            // What is not a name is not an image: staging folders, the lock, lost+found.
            let name = entry.file_name().to_str().and_then(|n| n.parse().ok());
            names.extend(name.filter(|_| entry.path().join(MANIFEST).exists()));
        }
        names.sort();
        Ok(names)
    }

    /// The manifest of one image.
    pub fn manifest(&self, name: &ImageName) -> Result<ImageManifest> {
        match self.manifest_in(&self.dir(name), name)? {
            Some(manifest) => Ok(manifest),
            None => bail!("{}", self.no_such(name)?),
        }
    }

    /// The manifest of the version of an image that is in this folder, if there is one.
    pub fn manifest_in(&self, folder: &Path, name: &ImageName) -> Result<Option<ImageManifest>> {
        let path = folder.join(MANIFEST);
        let Some(text) = files::find_text(&path, MAX_MANIFEST, "manifest")? else { return Ok(None) };
        let manifest: ImageManifest =
            toml::from_str(&text).map_err(|e| anyhow!("{}: {}", path.display(), e.message()))?;
        if manifest.name != *name {
            bail!("{}: the name in it is '{}', the folder's is '{name}'", path.display(), manifest.name);
        }
        Ok(Some(manifest))
    }

    /// The refusal of a name that no image has.
    pub(super) fn no_such(&self, name: &ImageName) -> Result<String> {
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
    pub(super) fn put(&self, name: &ImageName, file: &str, bytes: &[u8]) -> Result<()> {
        self.put_in(&self.dir(name), file, bytes)
    }

    /// The same in the folder of any version.
    pub(super) fn put_in(&self, folder: &Path, file: &str, bytes: &[u8]) -> Result<()> {
        // Beside the images and not in the folder: so the folder changes once, when the new one is in it.
        let how = Put { mode: 0o644, beside: Some(&self.images), replace: true, whose: Whose::Folders };
        files::put(&folder.join(file), bytes, &how)
    }

    /// One at a time may change names.
    pub(super) fn lock(&self) -> Result<Flock<File>> {
        let path = self.images.join(".lock");
        Flock::lock(files::lock_file(&path)?, FlockArg::LockExclusive)
            .map_err(|(_, e)| anyhow!(e).context(format!("locking {}", path.display())))
    }
}
