// SPDX-License-Identifier: GPL-3.0-or-later
//! `image add`: from what the admin has to an image in the catalogue.

pub mod initrd;
pub mod iso;
pub mod kernel;
pub mod pack;
pub mod source;
pub mod tarball;
pub mod tree;

use crate::{
    catalogue::{Catalogue, INITRD, KERNEL, PAYLOAD, SUMS, Staging},
    interrupt,
    meter::Meter,
};
use anyhow::{Context, Result, anyhow, bail};
use bootspec::{
    ImageManifest, ImageName, Priority,
    manifest::{self, BootFile, Family, Format, MAGIC_BYTES},
    units::human_size,
};
use kernel::Wanted;
use pack::Compress;
use source::{Kind, Source};
use std::{
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::SystemTime,
};
use swarm::sums::Sums;

/// What `image add` was asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The image, root directory or root tarball.
    pub source: PathBuf,
    /// The image's name; from the source's if not given.
    pub name: Option<ImageName>,
    /// A kernel that is not in the source.
    pub kernel: Option<PathBuf>,
    /// An initrd that is not in the source.
    pub initrd: Option<PathBuf>,
    /// Kernel parameters for this image.
    pub append: String,
    /// Its share of the server's link.
    pub priority: Priority,
    /// Whether to set the private flag.
    pub private: bool,
    /// The piece length; by size if not given.
    pub piece_length: Option<u32>,
    /// Whether an image of this name may be replaced.
    pub replace: bool,
    /// What directories and tarballs are packed into.
    pub compress: Compress,
    /// What the source must be; whatever it is if not given.
    pub kind: Option<manifest::Kind>,
}

/// What came of it.
#[derive(Debug)]
pub struct Added {
    /// The new image.
    pub manifest: ImageManifest,
    /// The kernel's version, where its name told.
    pub version: Option<String>,
    /// What else the admin should hear.
    pub notes: Vec<String>,
}

/// Add an image. On any error the catalogue is as it was.
pub fn add(catalogue: &Catalogue, request: &Request) -> Result<Added> {
    let source = Source::recognise(&request.source, request.kind)?;
    let name = match &request.name {
        Some(name) => name.clone(),
        None => source.default_name().parse().map_err(|e| anyhow!("{e}; give one with --name"))?,
    };
    if !request.replace {
        catalogue.refuse_taken(&name)?;
    }
    let result = make(catalogue, request, &source, &name);
    if interrupt::wanted() {
        // Whatever it was that failed: the reason is the ^C. Published already, it is no failure.
        return result.or_else(|_| interrupt::check().and_then(|()| bail!("interrupted")));
    }
    result.map_err(|e| no_room(e, catalogue, &name))
}

/// The story. `staging` takes everything back when it is dropped before the end.
fn make(catalogue: &Catalogue, request: &Request, source: &Source, name: &ImageName) -> Result<Added> {
    let staging = catalogue.stage(name)?;
    let payload = staging.path(PAYLOAD);
    // Kernel and initrd first where they can be had first: what is wrong with them is said at once.
    let Made { format, family, boot, append, notes } = match &source.kind {
        Kind::Iso(volume, size) => {
            refuse_without_room(*size, &staging, name)?;
            let live = iso::extract(&source.path, volume, request, &staging)?;
            pack::copy(&source.path, *size, &staging)?;
            let iso::Live { boot, family, append, notes } = live;
            Made { format: None, family: Some(family), boot, append, notes }
        }
        Kind::Image(format, size) => {
            refuse_without_room(*size, &staging, name)?;
            let boot =
                boot_files(request, &staging, || tree::open(&source.path, *format, &staging.path("tree")))?;
            forget_tree(&staging)?;
            pack::copy(&source.path, *size, &staging)?;
            Made::root(*format, boot, request)
        }
        Kind::Directory => {
            let boot = boot_files(request, &staging, || Ok(Box::new(tree::Folder(source.path.clone()))))?;
            pack::directory(&source.path, request.compress, &staging)?;
            Made::root(request.compress.format(), boot, request)
        }
        Kind::Tarball(packing) => {
            pack::tarball(&source.path, *packing, request.compress, &staging)?;
            let format = request.compress.format();
            let boot = boot_files(request, &staging, || tree::open(&payload, format, &staging.path("tree")))?;
            forget_tree(&staging)?;
            Made::root(format, boot, request)
        }
    };
    let size = payload_size(&payload, format)?;
    let kind = if format.is_some() { manifest::Kind::Filesystem } else { manifest::Kind::Iso };
    let torrent = hash(&payload, size, name, request)?;
    sums(&payload, &torrent, &staging)?;
    let manifest = ImageManifest {
        name: name.clone(),
        kind,
        format,
        family,
        partition: None,
        infohash: torrent.infohash(),
        size,
        piece_length: torrent.piece_length(),
        private: request.private,
        kernel: boot.kernel,
        initrd: boot.initrd,
        append,
        priority: request.priority,
        added: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        source: source.path.display().to_string(),
    };
    staging.publish(&manifest, torrent.bytes(), request.replace)?;
    Ok(Added { manifest, version: boot.version, notes })
}

/// What the image will be.
struct Made {
    format: Option<Format>,
    family: Option<Family>,
    boot: Boot,
    append: String,
    notes: Vec<String>,
}

impl Made {
    /// A root filesystem, with our hook in its initrd.
    fn root(format: Format, boot: Boot, request: &Request) -> Made {
        let append = request.append.clone();
        Made { format: Some(format), family: None, boot, append, notes: Vec::new() }
    }
}

/// Kernel and initrd, as they are in the staging folder.
pub struct Boot {
    kernel: BootFile,
    initrd: BootFile,
    version: Option<String>,
}

/// Put kernel and initrd into the staging folder, and look whether they can boot.
fn boot_files(
    request: &Request,
    staging: &Staging,
    open: impl FnOnce() -> Result<Box<dyn tree::Tree>>,
) -> Result<Boot> {
    let wanted = Wanted { kernel: request.kernel.is_none(), initrd: request.initrd.is_none() };
    let looking = || {
        format!(
            "looking for kernel and initrd in '{}' (--kernel and --initrd do without)",
            request.source.display()
        )
    };
    let inside = if wanted.kernel || wanted.initrd { Some(open().with_context(looking)?) } else { None };
    let (kernel, initrd) = match &inside {
        Some(tree) => kernel::find(tree.as_ref(), wanted, &request.source.display().to_string())?,
        None => (None, None),
    };
    let take = |file: &str, given: &Option<PathBuf>, found: &Option<kernel::Found>| -> Result<BootFile> {
        let mut to = staging.create(file)?;
        let from = match (given, found, &inside) {
            (Some(path), ..) => {
                tree::copy_file(path, &mut to)?;
                path.display().to_string()
            }
            (None, Some(found), Some(tree)) => {
                tree.read(&found.path, &mut to)?;
                format!("/{}", found.path)
            }
            _ => bail!("no {file} was found"),
        };
        let size = to.metadata().with_context(|| format!("asking for the size of {file}"))?.len();
        if size == 0 {
            bail!("the file {from} is empty: a machine could not boot with it");
        }
        Ok(BootFile { size, from })
    };
    let boot = Boot {
        kernel: take(KERNEL, &request.kernel, &kernel)?,
        initrd: take(INITRD, &request.initrd, &initrd)?,
        version: kernel.and_then(|k| k.version),
    };
    initrd::check(&staging.path(INITRD), &boot.initrd.from)?;
    Ok(boot)
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

fn hash(payload: &Path, size: u64, name: &ImageName, request: &Request) -> Result<swarm::Metainfo> {
    let file = File::open(payload).with_context(|| format!("opening {}", payload.display()))?;
    let options = swarm::CreateOptions {
        name: name.to_string(),
        private: request.private,
        piece_length: request.piece_length,
    };
    let mut meter = Meter::new("hashing", Some(size));
    swarm::create(&mut Interruptible(file), size, &options, &mut |done| meter.update(done))
        .with_context(|| format!("hashing {}", payload.display()))
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
    let free = staging.room()?;
    if need > free {
        bail!(
            "no room for '{name}' in the catalogue: it needs {} and {} are free; free some, or choose another disk with --dir",
            human_size(need),
            human_size(free)
        );
    }
    Ok(())
}

/// A full disk is one sentence, whoever met it.
fn no_room(e: anyhow::Error, catalogue: &Catalogue, name: &ImageName) -> anyhow::Error {
    let full = |e: &io::Error| matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let ours = e.chain().any(|c| c.downcast_ref::<io::Error>().is_some_and(full));
    // mksquashfs, tar and the like say it in words.
    if ours || format!("{e:#}").contains("No space left on device") {
        return anyhow!(
            "no room for '{name}' in the catalogue: the disk with {} is full; free some, or choose another one with --dir",
            catalogue.images_dir().display()
        );
    }
    e
}
