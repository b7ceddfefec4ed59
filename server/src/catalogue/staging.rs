// SPDX-License-Identifier: GPL-3.0-or-later
//! Making an image: a folder beside the images, renamed when it is whole.
//!
//! Where root makes it in another's catalogue, the folder is root's alone (0700) until the image is whole, and it is
//! reached by its descriptor only: the catalogue's owner can rename it, but not change what is in it, nor put another
//! folder in its place. What root gives away are files that it has made, and by their descriptors.

use super::{
    names::{
        COPY, ENTRIES, INITRD, KERNEL, MANIFEST, PAYLOAD, SUMS, already_there, signature_name,
        statement_name, torrent_name,
    },
    own::{ARCHIVES, CARDS},
    place::{Place, Spot, swap},
    sign::{Sealed, seal},
    store::Catalogue,
};
use crate::{
    catalogue::free_space::FreeSpace,
    files, interrupt,
    owner::{self, Owner},
};
use anyhow::{Context, Result, anyhow, bail};
use bootspec::{ImageManifest, ImageName, trust::Evidence};
use nix::{
    errno::Errno,
    fcntl::{AtFlags, Flock, FlockArg, OFlag, RenameFlags, openat, renameat2},
    sys::stat::{FileStat, Mode, fchmod, fstat, fstatat, mkdirat},
    unistd::fchown,
};
use rand::{TryRngCore, rngs::OsRng};
use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    path::{Path, PathBuf},
};

const PREFIX: &str = ".staging-";

/// Who makes an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// Whoever runs this; root as root.
    Us,
    /// The catalogue's owner.
    Owner,
}

/// A name for a folder in which `name` is staged, or thrown away.
pub fn new_name(name: &ImageName) -> Result<String> {
    let number = OsRng.try_next_u64().context("asking the kernel for random bytes")?;
    Ok(format!("{PREFIX}{name}-{}-{number:016x}", std::process::id()))
}

/// Write directory entries to the disk.
pub fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|d| d.sync_all()).with_context(|| format!("syncing {}", dir.display()))
}

/// Delete staging folders that no living process holds. Call with the catalogue's lock.
pub fn clean(images: &Path) -> Result<()> {
    let folder = owner::hold(images)?;
    let base = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
    for entry in fs::read_dir(&base).with_context(|| format!("reading {}", images.display()))? {
        let name = entry.with_context(|| format!("reading {}", images.display()))?.file_name();
        let Some(name) = name.to_str().filter(|n| n.starts_with(PREFIX)) else { continue };
        // The lock on the folder, not the process number, says that its maker lives: numbers are used again.
        if let Ok(_held) = open_in(&folder, name).and_then(hold) {
            // The standard library follows no link on its way down.
            fs::remove_dir_all(base.join(name))
                .with_context(|| format!("deleting {}", images.join(name).display()))?;
        }
    }
    Ok(())
}

fn open_in(folder: &OwnedFd, name: &str) -> Result<OwnedFd> {
    let how = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(folder, name, how, Mode::empty()).context("opening a staging folder")
}

fn hold(dir: OwnedFd) -> Result<Flock<File>> {
    Flock::lock(File::from(dir), FlockArg::LockExclusiveNonblock)
        .map_err(|(_, e)| anyhow!(e).context("locking a staging folder"))
}

/// An image that is being made. Dropped, it is as if it had never been begun.
pub struct Staging {
    catalogue: Catalogue,
    name: ImageName,
    images: OwnedFd,
    /// Its name in `images`.
    folder: String,
    /// How its files are reached.
    dir: PathBuf,
    /// Who gets it when it is whole, if that is another.
    heir: Option<Owner>,
    held: Flock<File>,
}

impl Staging {
    /// Call with the catalogue's lock.
    pub(super) fn new(catalogue: Catalogue, name: &ImageName, maker: Maker) -> Result<Staging> {
        let (images, folder) = (owner::hold(&catalogue.images)?, new_name(name)?);
        let owner = Owner::of(&catalogue.images)
            .with_context(|| format!("asking whose {} is", catalogue.images.display()))?;
        let heir = (maker == Maker::Us && owner.is_other()).then_some(owner);
        let shown = catalogue.images.join(&folder);
        // 0700 until it is whole: what is unpacked in between is nobody's business.
        mkdirat(&images, folder.as_str(), Mode::S_IRWXU)
            .with_context(|| format!("creating {}", shown.display()))?;
        let held = open_in(&images, folder.as_str()).and_then(hold)?;
        if heir.is_some() && fstat(&*held).context("looking at a staging folder")?.st_uid != 0 {
            bail!("{} was exchanged for another folder while an image was made in it", shown.display());
        }
        let dir = match heir {
            Some(_) => owner::by_descriptor(&*held),
            None => shown,
        };
        Ok(Staging { catalogue, name: name.clone(), images, folder, dir, heir, held })
    }

    /// A path in the folder.
    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    /// The room on its disk.
    pub fn room(&self) -> FreeSpace<'_> {
        FreeSpace { dir: &self.dir, name: &self.name }
    }

    /// A new file in the folder.
    pub fn create(&self, file: &str) -> Result<File> {
        let path = self.path(file);
        OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&path)
            .with_context(|| format!("creating {}", path.display()))
    }

    /// Take a file that is nobody's into the folder without copying its bytes. `false`: it must be copied. Where root
    /// works for another it always must: that one may have the file open.
    pub fn take(&self, from: &Path, file: &str) -> bool {
        self.heir.is_none() && fs::hard_link(from, self.path(file)).is_ok()
    }

    /// Link a file of somebody else's into the folder: it stays theirs, and as it is. `false`: it must be copied.
    pub fn link(&self, from: &Path, file: &str) -> bool {
        let open = fs::symlink_metadata(from).is_ok_and(|m| {
            use std::os::unix::fs::MetadataExt;
            m.is_file() && m.mode() & 0o004 != 0
        });
        open && fs::hard_link(from, self.path(file)).is_ok()
    }

    /// Write manifest, torrent and statement, sign it if that can be, bring all to the disk, and make it visible under
    /// its name.
    pub fn publish(self, manifest: &ImageManifest, torrent: &[u8], replace: bool) -> Result<Sealed> {
        let place = if replace { Place::Current } else { Place::New };
        self.publish_as(manifest, torrent, place).map(|(sealed, _)| sealed)
    }

    /// What [`Staging::publish`] does, as the version that `place` says. The number of that version.
    pub fn publish_as(self, manifest: &ImageManifest, torrent: &[u8], place: Place) -> Result<(Sealed, u32)> {
        let (sealed, proof) = seal(manifest, &self.catalogue.hand)?;
        let mut files = vec![(torrent_name(&self.name), torrent)];
        if let Some(Evidence { statement, signature }) = &proof {
            files.push((statement_name(&self.name), statement));
            if !signature.is_empty() {
                files.push((signature_name(&self.name), signature));
            }
        }
        let version = self.publish_with(&files, manifest, |catalogue| catalogue.spot(manifest, place))?;
        Ok((sealed, version))
    }

    /// Make visible what is a copy of another server's: with the number, the statement and the signature that it has there.
    /// `note`: what the copy was made of.
    pub(super) fn publish_copy(
        self,
        manifest: &ImageManifest,
        torrent: &[u8],
        evidence: &Evidence,
        note: &[u8],
        current: bool,
    ) -> Result<()> {
        let name = &self.name;
        let mut files = vec![(torrent_name(name), torrent), (COPY.to_owned(), note)];
        files.push((statement_name(name), &evidence.statement));
        files.push((signature_name(name), &evidence.signature));
        // An empty one is none.
        files.retain(|(_, bytes)| !bytes.is_empty());
        self.publish_with(&files, manifest, |catalogue| catalogue.spot_of_copy(manifest, current)).map(drop)
    }

    /// Write these files and the manifest, bring all to the disk, and make it visible in the spot that is chosen with the
    /// lock.
    fn publish_with(
        &self,
        files: &[(String, &[u8])],
        manifest: &ImageManifest,
        spot: impl FnOnce(&Catalogue) -> Result<Spot>,
    ) -> Result<u32> {
        for (file, bytes) in files {
            self.write(file, bytes)?;
        }
        let others = [PAYLOAD, SUMS, KERNEL, INITRD, ARCHIVES, CARDS];
        for file in files.iter().map(|(file, _)| file.as_str()).chain(others) {
            match self.give(file) {
                Err(Errno::ENOENT) if [SUMS, ARCHIVES, CARDS].contains(&file) => {}
                given => given.with_context(|| format!("finishing {}", self.path(file).display()))?,
            }
        }
        let _lock = self.catalogue.lock()?;
        interrupt::check()?;
        // Only now nobody else takes the number.
        let spot = spot(&self.catalogue)?;
        let manifest = ImageManifest { version: spot.version, ..manifest.clone() };
        let text = toml::to_string(&manifest).context("writing the manifest as TOML")?;
        self.write(MANIFEST, text.as_bytes())?;
        self.give(MANIFEST).with_context(|| format!("finishing {}", self.path(MANIFEST).display()))?;
        self.finish()?;
        self.appear(&spot)?;
        nix::unistd::fsync(&self.images).context("syncing the folder with the images")?;
        Ok(spot.version)
    }

    fn write(&self, file: &str, bytes: &[u8]) -> Result<()> {
        let written = self.create(file)?.write_all(bytes);
        written.with_context(|| format!("writing {}", self.path(file).display()))
    }

    /// The folder for its owner, and for everybody to read.
    fn finish(&self) -> Result<()> {
        fchmod(&*self.held, Mode::from_bits_truncate(0o755)).context("chmod of the image's folder")?;
        if let Some(heir) = self.heir {
            fchown(&*self.held, Some(heir.uid), Some(heir.gid)).context("chown of the image's folder")?;
        }
        self.held.sync_all().context("syncing the image's folder")
    }

    /// A file for everybody to read whatever the umask, since the daemon is another, unprivileged user; on the disk.
    fn give(&self, file: &str) -> nix::Result<()> {
        let how = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let opened = File::from(openat(&*self.held, file, how, Mode::empty())?);
        let FileStat { st_nlink, .. } = fstat(&opened)?;
        // What has another name as well is somebody else's, and stays so.
        if self.heir.is_none() || st_nlink == 1 {
            fchmod(&opened, Mode::from_bits_truncate(0o644))?;
            if let Some(heir) = self.heir {
                fchown(&opened, Some(heir.uid), Some(heir.gid))?;
            }
        }
        nix::unistd::fsync(&opened)
    }

    /// Under its name at last.
    fn appear(&self, spot: &Spot) -> Result<()> {
        let (from, name) = (self.folder.as_str(), spot.folder.as_str());
        let renaming = || format!("renaming {from} to {name} in {}", self.catalogue.images.display());
        let (now, own) = (
            fstatat(&self.images, from, AtFlags::AT_SYMLINK_NOFOLLOW).with_context(renaming)?,
            fstat(&*self.held).with_context(renaming)?,
        );
        if (now.st_dev, now.st_ino) != (own.st_dev, own.st_ino) {
            bail!("{from} in {} was exchanged for another folder", self.catalogue.images.display());
        }
        let rename = |flags| renameat2(&self.images, from, &self.images, name, flags);
        match rename(RenameFlags::RENAME_NOREPLACE) {
            // Exchanged, what was there lies in the staging folder, which Drop deletes.
            Err(Errno::EEXIST) if spot.replaces => {
                rename(RenameFlags::RENAME_EXCHANGE).with_context(renaming)?
            }
            Err(Errno::EEXIST) => bail!("{}", already_there(&self.name)),
            renamed => renamed.with_context(renaming)?,
        }
        match spot.before {
            Some(before) => swap(&self.images, &self.name, name, before),
            None => Ok(()),
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Published, it is not there any more. Anything else the next `image add` cleans.
        let _ = fs::remove_dir_all(format!("/proc/self/fd/{}/{}", self.images.as_raw_fd(), self.folder));
    }
}

impl Catalogue {
    /// Make a folder for a new image, and clean away what killed runs left.
    pub fn stage(&self, name: &ImageName) -> Result<Staging> {
        self.stage_as(name, Maker::Us)
    }

    /// See [`Catalogue::stage`].
    pub(super) fn stage_as(&self, name: &ImageName, maker: Maker) -> Result<Staging> {
        self.refuse_name_of_entry(name)?;
        files::make_dirs(&self.images)?;
        let _lock = self.lock()?;
        clean(&self.images)?;
        Staging::new(self.clone(), name, maker)
    }

    /// Images and entries share their names: machines are told one to boot.
    pub(super) fn refuse_name_of_entry(&self, name: &ImageName) -> Result<()> {
        if self.images.with_file_name(ENTRIES).join(name.as_str()).exists() {
            bail!("there is an entry '{name}': give the image another name");
        }
        Ok(())
    }

    /// Refuse a name that is taken, before the long work.
    pub fn refuse_taken(&self, name: &ImageName) -> Result<()> {
        if self.dir(name).exists() {
            bail!("{}", already_there(name));
        }
        Ok(())
    }
}
