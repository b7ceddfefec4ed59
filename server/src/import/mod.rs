// SPDX-License-Identifier: GPL-3.0-or-later
//! `image add`: from what the admin has to an image in the catalogue.

pub mod boot;
pub mod convert;
mod decompress;
pub mod disk;
mod fstab;
pub mod initrd;
pub mod iso;
pub mod kernel;
pub mod ltsp;
pub mod modules;
mod mountable;
pub mod pack;
pub mod refers;
mod request;
pub mod source;
pub mod tarball;
pub mod tree;
pub mod virtual_disk;
mod whole;

pub use request::Request;

use crate::{
    catalogue::{Catalogue, PAYLOAD, SUMS, Sealed, Staging, room::Room},
    command_line::check_length,
    interrupt,
    meter::Meter,
};
use anyhow::{Context, Result, anyhow, bail};
use boot::Boot;
use bootspec::{
    ImageManifest, ImageName, Priority, Sha256Sum,
    manifest::{self, Family, Format, MAGIC_BYTES},
};
use source::{Kind, Source};
use std::{
    fs::File,
    io::{self, Read, Write},
    os::unix::fs::MetadataExt,
    path::Path,
    time::SystemTime,
};
use swarm::sums::Sums;

/// What came of it.
#[derive(Debug)]
pub struct Added {
    /// The new image.
    pub manifest: ImageManifest,
    /// The kernel's version, where its name told.
    pub version: Option<String>,
    /// What else the admin should hear.
    pub notes: Vec<String>,
    /// Who signed it.
    pub sealed: Sealed,
}

/// Add an image. On any error the catalogue is as it was.
pub fn add(catalogue: &Catalogue, request: &Request) -> Result<Added> {
    let source = Source::recognise(&request.source, request.kind)?;
    let name = match &request.name {
        Some(name) => name.clone(),
        None => source.default_name().parse().map_err(|e| anyhow!("{e}; give one with --name"))?,
    };
    let kept = match request.replace && catalogue.dir(&name).exists() {
        true => Kept::of(catalogue, &name, request),
        false => Kept::default(),
    };
    if !request.replace {
        catalogue.refuse_taken(&name)?;
    }
    let request = &kept.over(request);
    let result = make(catalogue, request, &source, &name).map(|added| kept.told(added));
    if interrupt::wanted() {
        // Whatever it was that failed: the reason is the ^C. Published already, it is no failure.
        return result.or_else(|_| interrupt::check().and_then(|()| bail!("interrupted")));
    }
    result.map_err(|e| no_room(e, catalogue, &name))
}

/// What a new version keeps of the one that it replaces, where nothing else was given.
#[derive(Default)]
struct Kept {
    append: Option<String>,
    priority: Option<Priority>,
    private: bool,
}

impl Kept {
    /// Of an image that cannot be read nothing is kept.
    fn of(catalogue: &Catalogue, name: &ImageName, request: &Request) -> Kept {
        let Ok(before) = catalogue.manifest(name) else { return Kept::default() };
        // A menu's own parameters come from the new version.
        let append = if before.family.is_none() { before.append } else { before.extra };
        Kept {
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

/// The story. `staging` takes everything back when it is dropped before the end.
fn make(catalogue: &Catalogue, request: &Request, source: &Source, name: &ImageName) -> Result<Added> {
    let staging = catalogue.stage(name)?;
    let payload = staging.path(PAYLOAD);
    // Kernel and initrd first where they can be had first: what is wrong with them is said at once.
    let unpacked = unpack(source, request, &staging)?;
    let (path, unpacked) = (unpacked.as_ref().unwrap_or(source).path.clone(), unpacked.as_ref());
    // What may be taken is linked: the disk has its bytes once.
    let whole = matches!(source.kind, Kind::Iso(..) | Kind::Disk(_) | Kind::Image(..));
    let taken = request.take && whole && staging.take(&path, PAYLOAD);
    let room = |size: u64| match unpacked {
        None if !taken => refuse_without_room(size, &staging, name),
        _ => Ok(()),
    };
    let copy = |size: u64| match unpacked {
        None if !taken => pack::copy(&path, size, &staging),
        _ => Ok(()),
    };
    let Made { kind, format, family, partition, sector, boot, append, notes } =
        match &unpacked.unwrap_or(source).kind {
            Kind::Iso(volume, size) => {
                room(*size)?;
                let live = iso::extract(&path, volume, request, &staging)?;
                copy(*size)?;
                let iso::Live { boot, family, append, notes } = live;
                let (kind, family) = (manifest::Kind::Iso, Some(family));
                Made { kind, format: None, family, partition: None, sector: None, boot, append, notes }
            }
            Kind::Disk(size) => {
                room(used(&path)?)?;
                let disk = disk::extract(&path, request, &staging)?;
                forget_tree(&staging)?;
                copy(*size)?;
                let disk::Installed { boot, family, partition, sector, notes } = disk;
                let (kind, append) = (manifest::Kind::Disk, request.extra());
                Made { kind, format: None, family, partition: Some(partition), sector, boot, append, notes }
            }
            Kind::Packed(_) | Kind::Virtual(_) => bail!("'{}' is packed too often", request.source.display()),
            Kind::Image(format, size) => {
                room(*size)?;
                let boot =
                    boot::take_root(request, &staging, || tree::open(&path, *format, &staging.path("tree")))?;
                mountable::check(&path, *format, &boot, request)?;
                forget_tree(&staging)?;
                copy(*size)?;
                Made::root(*format, boot, request)
            }
            Kind::Directory => {
                let boot =
                    boot::take_root(request, &staging, || Ok(Box::new(tree::Folder(source.path.clone()))))?;
                let heard = pack::directory(&source.path, request.compress, &staging)?;
                Made::root(request.compress.format(), boot, request).with(heard)
            }
            Kind::Tarball(packing) => {
                let heard = pack::tarball(&source.path, *packing, request.compress, &staging)?;
                let format = request.compress.format();
                let boot = boot::take_root(request, &staging, || {
                    tree::open(&payload, format, &staging.path("tree"))
                })?;
                forget_tree(&staging)?;
                Made::root(format, boot, request).with(heard)
            }
        };
    let size = payload_size(&payload, format)?;
    let (torrent, sha256) = hash(&payload, size, name, request)?;
    sums(&payload, &torrent, &staging)?;
    let manifest = ImageManifest {
        name: name.clone(),
        kind,
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
        append,
        extra: request.extra(),
        priority: request.priority.unwrap_or_default(),
        added: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        source: request.origin.clone().unwrap_or_else(|| source.path.display().to_string()),
    };
    check_length(&manifest)?;
    let sealed = staging.publish(&manifest, torrent.bytes(), request.replace)?;
    Ok(Added { manifest, version: boot.version, notes, sealed })
}

/// Unpack and convert what is no image yet; the payload is in its place then. `None`: there was nothing to do.
fn unpack(source: &Source, request: &Request, staging: &Staging) -> Result<Option<Source>> {
    let shown = request.source.display().to_string();
    let payload = staging.path(PAYLOAD);
    let mut now: Option<Source> = None;
    // Compressed, then of a virtual machine: more there is not.
    for _ in 0..2 {
        match &now.as_ref().unwrap_or(source).kind {
            Kind::Packed(packing) if now.is_none() => {
                convert::unpack(&source.path, *packing, PAYLOAD, staging)?
            }
            Kind::Virtual(format) => {
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
        now = Some(Source::look(&payload, &shown)?);
    }
    if let Some(now) = &now {
        now.refuse_other_than(request.kind, &request.source)?;
    }
    Ok(now)
}

/// What a file takes on the disk: holes are nothing.
fn used(path: &Path) -> Result<u64> {
    let meta = path.metadata().with_context(|| format!("asking for the size of {}", path.display()))?;
    Ok((meta.blocks() * 512).min(meta.len()))
}

/// What the image will be.
struct Made {
    kind: manifest::Kind,
    partition: Option<u32>,
    sector: Option<u32>,
    format: Option<Format>,
    family: Option<Family>,
    boot: Boot,
    append: String,
    notes: Vec<String>,
}

impl Made {
    /// A root filesystem, with our hook in its initrd.
    fn root(format: Format, boot: Boot, request: &Request) -> Made {
        let append = request.extra();
        let (kind, format, notes) = (manifest::Kind::Filesystem, Some(format), boot.notes.clone());
        Made { kind, format, family: None, partition: None, sector: None, boot, append, notes }
    }

    /// The same with more notes.
    fn with(mut self, notes: Vec<String>) -> Made {
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

/// The payload's size, when it is what it should be.
fn payload_size(payload: &Path, format: Option<Format>) -> Result<u64> {
    let mut head = Vec::new();
    let file = File::open(payload).with_context(|| format!("opening {}", payload.display()))?;
    let size =
        file.metadata().with_context(|| format!("asking for the size of {}", payload.display()))?.len();
    file.take(MAGIC_BYTES as u64)
        .read_to_end(&mut head)
        .with_context(|| format!("reading {}", payload.display()))?;
    if let Some(format) = format.filter(|f| Format::recognise(&head) != Some(*f)) {
        bail!("{} is no {} after packing", payload.display(), format.as_str());
    }
    Ok(size)
}

/// The torrent and the payload's SHA-256; it is read once for both.
fn hash(
    payload: &Path,
    size: u64,
    name: &ImageName,
    request: &Request,
) -> Result<(swarm::Metainfo, Sha256Sum)> {
    let file = File::open(payload).with_context(|| format!("opening {}", payload.display()))?;
    let options = swarm::CreateOptions {
        name: name.to_string(),
        private: request.private,
        piece_length: request.piece_length,
    };
    let mut meter = Meter::new("hashing", Some(size));
    let mut summing = swarm::Summing::new(Interruptible(file));
    let torrent = swarm::create(&mut summing, size, &options, &mut |done| meter.update(done))
        .with_context(|| format!("hashing {}", payload.display()))?;
    Ok((torrent, summing.finish()))
}

/// Sums of the payload's blocks, by which a machine that has an older version finds them there.
fn sums(payload: &Path, torrent: &swarm::Metainfo, staging: &Staging) -> Result<()> {
    let file = File::open(payload).with_context(|| format!("opening {}", payload.display()))?;
    let made = Sums::make(&mut Interruptible(io::BufReader::new(file)), torrent.infohash(), torrent.size());
    let made = made.with_context(|| format!("summing {}", payload.display()))?;
    staging.create(SUMS)?.write_all(&made.to_bytes()).context("writing the sums")
}

/// A reader that fails when the user wants us to end.
struct Interruptible<R>(R);

impl<R: Read> Read for Interruptible<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        // Not ErrorKind::Interrupted: that one means "try again".
        interrupt::check().map_err(io::Error::other)?;
        self.0.read(buf)
    }
}

fn refuse_without_room(need: u64, staging: &Staging, name: &ImageName) -> Result<()> {
    Room { dir: &staging.path("."), name }.refuse_without(need)
}

/// A full disk is one sentence, whoever met it.
fn no_room(e: anyhow::Error, catalogue: &Catalogue, name: &ImageName) -> anyhow::Error {
    let full = |e: &io::Error| matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let ours = e.chain().any(|c| c.downcast_ref::<io::Error>().is_some_and(full));
    // mksquashfs, tar and the like say it in words.
    if ours || format!("{e:#}").contains("No space left on device") {
        return Room { dir: catalogue.images_dir(), name }.full();
    }
    e
}
