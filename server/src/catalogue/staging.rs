// SPDX-License-Identifier: GPL-3.0-or-later
//! Making an image: a folder beside the images, renamed when it is whole.

use super::{Catalogue, Sealed, signature_name, statement_name, torrent_name};
use crate::interrupt;
use anyhow::{Context, Result, anyhow, bail};
use bootspec::{ImageManifest, ImageName, trust::Evidence};
use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, Flock, FlockArg, RenameFlags, renameat2},
};
use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::Write,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

const PREFIX: &str = ".staging-";

/// Where this process stages `name`.
pub fn path(images: &Path, name: &ImageName) -> PathBuf {
    images.join(format!("{PREFIX}{name}-{}", std::process::id()))
}

/// Write directory entries to the disk.
pub fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|d| d.sync_all()).with_context(|| format!("syncing {}", dir.display()))
}

/// Delete staging folders that no living process holds. Call with the catalogue's lock.
pub fn clean(images: &Path) -> Result<()> {
    for entry in fs::read_dir(images).with_context(|| format!("reading {}", images.display()))? {
        let path = entry.with_context(|| format!("reading {}", images.display()))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with(PREFIX) {
            continue;
        }
        // The lock on the folder, not the process number, says that its maker lives: numbers are used again.
        if let Ok(_held) = hold(&path) {
            fs::remove_dir_all(&path).with_context(|| format!("deleting {}", path.display()))?;
        }
    }
    Ok(())
}

fn hold(dir: &Path) -> Result<Flock<File>> {
    let file = File::open(dir).with_context(|| format!("opening {}", dir.display()))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|(_, e)| anyhow!(e).context(format!("locking {}", dir.display())))
}

/// An image that is being made. Dropped, it is as if it had never been begun.
pub struct Staging {
    catalogue: Catalogue,
    name: ImageName,
    dir: PathBuf,
    _held: Flock<File>,
}

impl Staging {
    /// Call with the catalogue's lock.
    pub(super) fn new(catalogue: Catalogue, name: &ImageName) -> Result<Staging> {
        let dir = path(&catalogue.images, name);
        // 0700 until it is whole: what is unpacked in between is nobody's business.
        DirBuilder::new().mode(0o700).create(&dir).with_context(|| format!("creating {}", dir.display()))?;
        super::inherit_owner(&dir).with_context(|| format!("chown of {}", dir.display()))?;
        Ok(Staging { catalogue, name: name.clone(), _held: hold(&dir)?, dir })
    }

    /// A path in the folder.
    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    /// A new file in the folder.
    pub fn create(&self, file: &str) -> Result<File> {
        let path = self.path(file);
        OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .with_context(|| format!("creating {}", path.display()))
    }

    /// Write manifest, torrent and statement, sign it if that can be, bring all to the disk, and make it visible under
    /// its name.
    pub fn publish(self, manifest: &ImageManifest, torrent: &[u8], replace: bool) -> Result<Sealed> {
        let (sealed, proof) = super::sign::seal(manifest, &self.catalogue.hand)?;
        let manifest = toml::to_string(manifest).context("writing the manifest as TOML")?;
        let mut files =
            vec![(super::MANIFEST.to_owned(), manifest.as_bytes()), (torrent_name(&self.name), torrent)];
        if let Some(Evidence { statement, signature }) = &proof {
            files.push((statement_name(&self.name), statement));
            if !signature.is_empty() {
                files.push((signature_name(&self.name), signature));
            }
        }
        for (file, bytes) in &files {
            self.create(file)?
                .write_all(bytes)
                .with_context(|| format!("writing {}", self.path(file).display()))?;
        }
        let others = [super::PAYLOAD, super::SUMS, super::KERNEL, super::INITRD];
        for file in files.iter().map(|(file, _)| file.as_str()).chain(others) {
            let path = self.path(file);
            if file == super::SUMS && !path.exists() {
                continue;
            }
            // World-readable whatever the umask: the daemon is another, unprivileged user.
            let opened = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
            opened
                .set_permissions(Permissions::from_mode(0o644))
                .with_context(|| format!("chmod {}", path.display()))?;
            super::inherit_owner(&path).with_context(|| format!("chown of {}", path.display()))?;
            opened.sync_all().with_context(|| format!("syncing {}", path.display()))?;
        }
        fs::set_permissions(&self.dir, Permissions::from_mode(0o755))
            .context("chmod of the image's folder")?;
        sync_dir(&self.dir)?;
        let _lock = self.catalogue.lock()?;
        interrupt::check()?;
        let place = self.catalogue.dir(&self.name);
        let rename = |flags| renameat2(AT_FDCWD, &self.dir, AT_FDCWD, &place, flags);
        match rename(RenameFlags::RENAME_NOREPLACE) {
            // Exchanged, the old version lies in the staging folder, which Drop deletes.
            Err(Errno::EEXIST) if replace => rename(RenameFlags::RENAME_EXCHANGE)
                .with_context(|| format!("exchanging {} and {}", self.dir.display(), place.display()))?,
            Err(Errno::EEXIST) => bail!("{}", already_there(&self.name)),
            renamed => {
                renamed.with_context(|| format!("renaming {} to {}", self.dir.display(), place.display()))?
            }
        }
        sync_dir(&self.catalogue.images)?;
        Ok(sealed)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Published, it is not there any more. Anything else the next `image add` cleans.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// The refusal to add an image twice.
pub fn already_there(name: &ImageName) -> String {
    format!("there is an image '{name}' already: give --replace, or another --name")
}

impl Catalogue {
    /// Refuse a name that is taken, before the long work.
    pub fn refuse_taken(&self, name: &ImageName) -> Result<()> {
        if self.dir(name).exists() {
            bail!("{}", already_there(name));
        }
        Ok(())
    }
}
