// SPDX-License-Identifier: GPL-3.0-or-later
//! What each kind of source becomes. Kernel and initrd come first where they can be had first: what is wrong with them is
//! said at once.

use super::{
    boot, disk, iso, mountable,
    pack::{self, Unpacked},
    request::Request,
    source::{ImportSource, SourceKind},
    taken::Boot,
    tarball::Packing,
    tree,
};
use crate::catalogue::{PAYLOAD, Staging};
use anyhow::{Context, Result};
use bootspec::manifest::{self, Family, Format};
use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

/// The file that is the payload, or becomes it when it is copied.
pub struct PayloadFile<'a> {
    path: &'a Path,
    /// Whether it is in its place already: unpacked there, or taken.
    is_placed: bool,
    staging: &'a Staging,
}

impl<'a> PayloadFile<'a> {
    /// The file of a source. What may be taken is linked: the disk has its bytes once.
    pub fn of(
        source: &'a ImportSource,
        is_unpacked: bool,
        request: &Request,
        staging: &'a Staging,
    ) -> PayloadFile<'a> {
        let path = source.path.as_path();
        let is_whole =
            matches!(source.kind, SourceKind::Iso(..) | SourceKind::Disk(_) | SourceKind::Image(..));
        let is_placed = is_unpacked || (request.take && is_whole && staging.take(path, PAYLOAD));
        PayloadFile { path, is_placed, staging }
    }

    fn refuse_without_room(&self, size: u64) -> Result<()> {
        match self.is_placed {
            true => Ok(()),
            false => self.staging.room().refuse_without(size),
        }
    }

    fn copy(&self, size: u64) -> Result<()> {
        match self.is_placed {
            true => Ok(()),
            false => pack::copy(self.path, size, self.staging),
        }
    }
}

/// A live ISO stays as it is.
pub fn iso(file: &PayloadFile, volume: &iso::Volume, size: u64, request: &Request) -> Result<ImportedImage> {
    file.refuse_without_room(size)?;
    let live = iso::extract(file.path, volume, request, file.staging)?;
    file.copy(size)?;
    let iso::Live { boot, family, append, notes } = live;
    let (kind, family) = (manifest::Kind::Iso, Some(family));
    Ok(ImportedImage { kind, format: None, family, partition: None, sector: None, boot, append, notes })
}

/// A disk image likewise.
pub fn disk(file: &PayloadFile, size: u64, request: &Request) -> Result<ImportedImage> {
    file.refuse_without_room(used(file.path)?)?;
    let disk = disk::extract(file.path, request, file.staging)?;
    forget_tree(file.staging)?;
    file.copy(size)?;
    let disk::Installed { boot, partition, sector, notes } = disk;
    let (kind, family, append) = (manifest::Kind::Disk, boot.family, boot.append(request));
    Ok(ImportedImage { kind, format: None, family, partition: Some(partition), sector, boot, append, notes })
}

/// A filesystem likewise, when its kernel can mount it.
pub fn filesystem(file: &PayloadFile, format: Format, size: u64, request: &Request) -> Result<ImportedImage> {
    file.refuse_without_room(size)?;
    let open = || tree::open(file.path, format, &file.staging.path("tree"));
    let boot = boot::take_root(request, format, file.staging, open)?;
    mountable::check(file.path, format, &boot, request)?;
    forget_tree(file.staging)?;
    file.copy(size)?;
    Ok(ImportedImage::root(format, boot, request))
}

/// A root directory is packed.
pub fn directory(root: &Path, request: &Request, staging: &Staging) -> Result<ImportedImage> {
    let open = || Ok(Box::new(tree::Folder(root.to_owned())) as Box<dyn tree::Tree>);
    let boot = boot::take_root(request, request.compress.format(), staging, open)?;
    let heard = pack::directory(root, request.compress, &request.exclude, staging)?;
    Ok(ImportedImage::root(request.compress.format(), boot, request).with(heard))
}

/// A root tarball is unpacked, and packed as a directory is.
pub fn tarball(from: &Path, packing: Packing, request: &Request, staging: &Staging) -> Result<ImportedImage> {
    match pack::tarball(from, packing, request, staging)? {
        Unpacked::Folder(root, heard) => {
            let image = directory(&root, request, staging)?;
            fs::remove_dir_all(&root).with_context(|| format!("deleting {}", root.display()))?;
            Ok(image.with(heard))
        }
        Unpacked::Payload(heard) => {
            let format = request.compress.format();
            let open = || tree::open(&staging.path(PAYLOAD), format, &staging.path("tree"));
            let boot = boot::take_root(request, format, staging, open)?;
            forget_tree(staging)?;
            Ok(ImportedImage::root(format, boot, request).with(heard))
        }
    }
}

/// What a file takes on the disk: holes are nothing.
fn used(path: &Path) -> Result<u64> {
    let meta = path.metadata().with_context(|| format!("asking for the size of {}", path.display()))?;
    Ok((meta.blocks() * 512).min(meta.len()))
}

/// What the image will be.
pub struct ImportedImage {
    /// What machines do with it.
    pub kind: manifest::Kind,
    /// The root partition of a disk.
    pub partition: Option<u32>,
    /// Bytes of a disk's sectors, where they are not the usual 512.
    pub sector: Option<u32>,
    /// The filesystem that it is.
    pub format: Option<Format>,
    /// Whose initrd it has, where our hook is not in it.
    pub family: Option<Family>,
    /// Kernel and initrd.
    pub boot: Boot,
    /// Kernel parameters.
    pub append: String,
    /// What else the admin should hear.
    pub notes: Vec<String>,
}

impl ImportedImage {
    /// A root filesystem, with our hook in its initrd.
    pub fn root(format: Format, boot: Boot, request: &Request) -> ImportedImage {
        let append = boot.append(request);
        let (kind, format, notes) = (manifest::Kind::Filesystem, Some(format), boot.notes.clone());
        ImportedImage { kind, format, family: None, partition: None, sector: None, boot, append, notes }
    }

    /// The same with more notes.
    fn with(mut self, notes: Vec<String>) -> ImportedImage {
        self.notes.extend(notes);
        self
    }
}

/// What an image had to be unpacked into in order to be looked at.
fn forget_tree(staging: &Staging) -> Result<()> {
    match std::fs::remove_dir_all(staging.path("tree")) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done.context("deleting the unpacked tree"),
    }
}
