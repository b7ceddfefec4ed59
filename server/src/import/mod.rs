// SPDX-License-Identifier: GPL-3.0-or-later
//! `image add`: from what the admin has to an image in the catalogue.

pub mod boot;
pub mod convert;
pub mod disk;
pub mod exclude;
mod fat;
mod fstab;
pub mod initrd;
pub mod iso;
pub mod kernel;
mod kinds;
mod kmod;
mod lint;
pub mod ltsp;
pub mod modules;
mod mountable;
pub mod own;
pub mod pack;
mod payload;
mod program;
pub mod refers;
pub mod request;
pub mod source;
pub mod switch;
mod taken;
pub mod tarball;
pub mod tree;
mod uki;
pub mod virtual_disk;
mod which;
mod whole;

pub use request::Request;

use crate::{
    catalogue::{Catalogue, KERNEL, PAYLOAD, Place, Sealed, Staging, free_space::FreeSpace, own::Index},
    command_line::check_length,
    interrupt,
};
use anyhow::{Context, Result, anyhow, bail};
use bootspec::{ImageManifest, ImageName, Priority, manifest::InitrdFrom};
use kinds::{ImportedImage, PayloadFile};
use source::{ImportSource, SourceKind};
use std::time::SystemTime;

/// What came of it.
#[derive(Debug)]
pub struct Added {
    /// The new image.
    pub manifest: ImageManifest,
    /// What the server makes its initrd of, where that is what machines are sent.
    pub own: Option<Index>,
    /// The kernel's version, where its name told.
    pub version: Option<String>,
    /// What else the admin should hear.
    pub notes: Vec<String>,
    /// Who signed it.
    pub sealed: Sealed,
    /// Whether it waits to become the current version.
    pub candidate: bool,
}

/// Add an image. On any error the catalogue is as it was.
pub fn add(catalogue: &Catalogue, request: &Request) -> Result<Added> {
    let source = ImportSource::recognise(&request.source, request.kind)?;
    let name = match &request.name {
        Some(name) => name.clone(),
        None => source.default_name().parse().map_err(|e| anyhow!("{e}; give one with --name"))?,
    };
    let kept = match request.place() {
        Place::New => {
            catalogue.refuse_taken(&name)?;
            KeptSettings::default()
        }
        // Before the long work.
        Place::Candidate if !catalogue.dir(&name).exists() => {
            bail!("there is no image '{name}' yet: add it without --candidate")
        }
        _ if catalogue.dir(&name).exists() => KeptSettings::of(catalogue, &name, request),
        _ => KeptSettings::default(),
    };
    let request = &kept.over(request);
    let result = make(catalogue, request, &source, &name).map(|added| kept.told(added));
    if interrupt::wanted() {
        // Whatever it was that failed: the reason is the ^C. Published already, it is not a failure.
        return result.or_else(|_| interrupt::check().and_then(|()| bail!("interrupted")));
    }
    result.map_err(|e| FreeSpace { dir: catalogue.images_dir(), name: &name }.or_full(e))
}

/// What a new version keeps of the one that it replaces, where nothing else was given.
#[derive(Default)]
struct KeptSettings {
    append: Option<String>,
    priority: Option<Priority>,
    private: bool,
}

impl KeptSettings {
    /// Of an image that cannot be read nothing is kept.
    fn of(catalogue: &Catalogue, name: &ImageName, request: &Request) -> KeptSettings {
        let Ok(before) = catalogue.manifest(name) else { return KeptSettings::default() };
        // A menu's own parameters come from the new version.
        let append = before.admins().to_owned();
        KeptSettings {
            append: Some(append).filter(|a| request.append.is_none() && !a.is_empty()),
            priority: Some(before.priority)
                .filter(|p| request.priority.is_none() && *p != Priority::default()),
            private: before.private && !request.private,
        }
    }

    fn over(&self, request: &Request) -> Request {
        Request {
            append: request.append.clone().or_else(|| self.append.clone()),
            priority: request.priority.or(self.priority),
            private: request.private || self.private,
            ..request.clone()
        }
    }

    fn told(&self, mut added: Added) -> Added {
        let words = [
            self.append.as_ref().map(|a| format!("--append '{a}'")),
            self.priority.map(|p| format!("--priority {p}")),
            self.private.then(|| "--private".to_owned()),
        ];
        let words: Vec<String> = words.into_iter().flatten().collect();
        if !words.is_empty() {
            added.notes.push(format!("kept from the version before: {}", words.join(" ")));
        }
        added
    }
}

/// What is packed already stays whole.
fn refuse_exclude(source: &ImportSource, request: &Request) -> Result<()> {
    let is_packed_here = matches!(source.kind, SourceKind::Directory | SourceKind::Tarball(_));
    match request.exclude.first() {
        Some(exclude) if !is_packed_here => bail!(
            "--exclude '{exclude}' is not possible: only directories and tarballs are packed here, and '{}' is an image already",
            request.source.display()
        ),
        _ => Ok(()),
    }
}

/// The story. `staging` takes everything back when it is dropped before the end.
fn make(catalogue: &Catalogue, request: &Request, source: &ImportSource, name: &ImageName) -> Result<Added> {
    let staging = catalogue.stage(name)?;
    let payload = staging.path(PAYLOAD);
    let unpacked = unpack(source, request, &staging)?;
    refuse_exclude(unpacked.as_ref().unwrap_or(source), request)?;
    let source_now = unpacked.as_ref().unwrap_or(source);
    let file = PayloadFile::of(source_now, unpacked.is_some(), request, &staging);
    let ImportedImage { kind, format, family, partition, sector, boot, append, notes } =
        match &source_now.kind {
            SourceKind::Iso(volume, size) => kinds::iso(&file, volume, *size, request)?,
            SourceKind::Disk(size) => kinds::disk(&file, *size, request)?,
            SourceKind::Image(format, size) => kinds::filesystem(&file, *format, *size, request)?,
            SourceKind::Directory => kinds::directory(&source.path, request, &staging)?,
            SourceKind::Tarball(packing) => kinds::tarball(&source.path, *packing, request, &staging)?,
            SourceKind::Packed(_) | SourceKind::Virtual(_) => {
                bail!("'{}' is packed too often", request.source.display())
            }
        };
    let size = payload::size(&payload, format)?;
    let (torrent, sha256) = payload::hash(&payload, size, name, request)?;
    payload::sums(&payload, &torrent, &staging)?;
    let mut manifest = ImageManifest {
        name: name.clone(),
        version: 1,
        kind,
        architecture: kernel::architecture(&staging.path(KERNEL)).unwrap_or_default(),
        format,
        family,
        partition,
        sector,
        infohash: torrent.infohash(),
        size,
        sha256: Some(sha256),
        piece_length: torrent.piece_length(),
        private: request.private,
        kernel: boot.kernel,
        initrd: boot.initrd,
        initrd_from: if boot.own.is_some() { InitrdFrom::Own } else { InitrdFrom::Image },
        append,
        extra: request.extra(),
        unified: !boot.parameters.is_empty(),
        priority: request.priority.unwrap_or_default(),
        added: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        source: request.origin.clone().unwrap_or_else(|| source.path.display().to_string()),
    };
    check_length(&manifest)?;
    let sealed;
    (sealed, manifest.version) = staging.publish_as(&manifest, torrent.bytes(), request.place())?;
    let candidate = request.candidate;
    Ok(Added { manifest, own: boot.own, version: boot.version, notes, sealed, candidate })
}

/// Layers around an image: compressed, then of a virtual machine. More there is not.
const MAX_LAYERS: usize = 2;

/// Unpack and convert what is not an image yet; the payload is in its place then. `None`: there was nothing to do.
fn unpack(source: &ImportSource, request: &Request, staging: &Staging) -> Result<Option<ImportSource>> {
    let shown = request.source.display().to_string();
    let payload = staging.path(PAYLOAD);
    let mut now: Option<ImportSource> = None;
    for _ in 0..MAX_LAYERS {
        match &now.as_ref().unwrap_or(source).kind {
            SourceKind::Packed(packing) if now.is_none() => {
                convert::unpack(&source.path, *packing, PAYLOAD, staging)?
            }
            SourceKind::Virtual(format) => {
                let from = match &now {
                    None => source.path.clone(),
                    Some(_) => {
                        let from = staging.path("virtual");
                        std::fs::rename(&payload, &from).context("moving what was unpacked")?;
                        from
                    }
                };
                convert::raw(&from, *format, &shown, staging)?;
                if now.is_some() {
                    std::fs::remove_file(&from).context("deleting what was unpacked")?;
                }
            }
            _ => break,
        }
        now = Some(ImportSource::look(&payload, &shown)?);
    }
    if let Some(now) = &now {
        now.refuse_other_than(request.kind, &request.source)?;
    }
    Ok(now)
}
