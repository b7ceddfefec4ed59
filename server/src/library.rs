// SPDX-License-Identifier: GPL-3.0-or-later
//! The catalogue as the running server has it: every image's files open. So an
//! answer is always of one version of an image, however it changes on disk, and
//! no request ever names a path.

use crate::{
    catalogue::{
        Catalogue, INITRD, KERNEL, PAYLOAD, SUMS,
        own::{ARCHIVES, Asked, CARDS, Index, Slice},
        signature_name, torrent_name,
    },
    files,
};
use anyhow::{Context, Result, bail, ensure};
use bootspec::{
    ImageManifest, ImageName, ImageRef,
    manifest::{InitrdFrom, Kind},
    trust::Evidence,
};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
    sync::Arc,
};
use swarm::{MAX_METAINFO, Metainfo};

/// An open file and its size.
#[derive(Clone, Debug)]
pub struct Open {
    /// The file.
    pub file: Arc<File>,
    /// Its size in bytes.
    pub size: u64,
}

/// What the server makes an initrd of.
#[derive(Debug)]
pub struct OwnInitrd {
    /// The archives.
    pub archives: Open,
    /// Which is where.
    pub index: Index,
    /// The file with that.
    pub cards: Open,
}

impl OwnInitrd {
    fn open(dir: &Path) -> Result<OwnInitrd> {
        Ok(OwnInitrd {
            archives: open(&dir.join(ARCHIVES))?,
            index: Index::read(dir)?,
            cards: open(&dir.join(CARDS))?,
        })
    }

    /// The drivers for a machine: everything of its initrd but the agent.
    pub fn read(&self, asked: &Asked) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        for Slice { at, size } in self.index.archives(asked) {
            let begin = all.len();
            let end = at.checked_add(size).filter(|end| *end <= self.archives.size);
            ensure!(end.is_some(), "{CARDS} names bytes that {ARCHIVES} does not have");
            all.resize(begin + size as usize, 0);
            self.archives
                .file
                .read_exact_at(&mut all[begin..], at)
                .with_context(|| format!("reading {ARCHIVES}"))?;
        }
        Ok(all)
    }
}

/// One version of one image.
pub struct ServedImage {
    /// What it is.
    pub manifest: ImageManifest,
    /// Its torrent, without a tracker.
    pub torrent: Metainfo,
    /// The kernel.
    pub kernel: Open,
    /// The initrd.
    pub initrd: Open,
    /// What the server makes an initrd of, where that is what machines are sent.
    pub own: Option<OwnInitrd>,
    /// The payload.
    pub payload: Open,
    /// The sums of its blocks, if there are any.
    pub sums: Option<Open>,
    /// What is signed of it, and the signature; either may be empty.
    pub evidence: Evidence,
    version: FolderVersion,
}

/// Tells a folder from the one that was there before: inode, and time of the last change in it; and when its
/// signature was last written, which stock minisign does in place.
type FolderVersion = (u64, i64, i64, i64);

/// All images by name, and the versions of them that are not the current ones.
#[derive(Clone, Default)]
pub struct Library {
    images: BTreeMap<ImageName, Arc<ServedImage>>,
    kept: Vec<Arc<ServedImage>>,
}

impl Library {
    /// The current version of an image.
    pub fn get(&self, name: &ImageName) -> Option<&Arc<ServedImage>> {
        self.images.get(name)
    }

    /// The names of all images.
    pub fn names(&self) -> impl Iterator<Item = &ImageName> {
        self.images.keys()
    }

    /// The current versions, by name.
    pub fn current(&self) -> impl Iterator<Item = &Arc<ServedImage>> {
        self.images.values()
    }

    /// All versions: the current ones first.
    pub fn all(&self) -> impl Iterator<Item = &Arc<ServedImage>> {
        self.images.values().chain(&self.kept)
    }

    /// The versions of one image: the current one first, the others by number.
    pub fn versions<'a>(&'a self, name: &'a ImageName) -> impl Iterator<Item = &'a Arc<ServedImage>> {
        self.all().filter(move |i| i.manifest.name == *name)
    }

    /// The version that is meant.
    pub fn find(&self, image: &ImageRef) -> Option<&Arc<ServedImage>> {
        match image.version {
            None => self.get(&image.name),
            Some(version) => {
                self.all().find(|i| i.manifest.name == image.name && i.manifest.version == version)
            }
        }
    }

    /// Those that have an entry of their own in menus: those of LTSP boot from LTSP's. Of the image that is meant, this
    /// version.
    pub fn bootable(&self, meant: Option<&ImageRef>) -> Vec<&ImageManifest> {
        let meant = meant.and_then(|m| self.find(m));
        let shown = |image: &'_ Arc<ServedImage>| image.manifest.kind != Kind::Ltsp;
        self.current()
            .filter(|i| shown(i))
            .map(|i| meant.filter(|m| m.manifest.name == i.manifest.name).unwrap_or(i))
            .map(|i| &i.manifest)
            .collect()
    }

    /// Whether it has this very version, opened.
    pub fn has(&self, image: &Arc<ServedImage>) -> bool {
        self.all().any(|i| Arc::ptr_eq(i, image))
    }

    /// How many images there are.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }
}

/// What [`load`] found.
pub struct Loaded {
    /// The images that can be served.
    pub library: Library,
    /// Whether it differs from what was there before.
    pub changed: bool,
    /// Why others cannot be served.
    pub broken: Vec<String>,
}

/// Read the catalogue; what has not changed since `before` is kept.
pub fn load(catalogue: &Catalogue, before: &Library) -> Result<Loaded> {
    let mut loaded = Loaded { library: Library::default(), changed: false, broken: Vec::new() };
    for name in catalogue.names()? {
        let open = |dir: &Path| {
            let kept = version(dir, &name).ok().and_then(|v| before.versions(&name).find(|i| i.version == v));
            kept.map_or_else(|| ServedImage::open(catalogue, &name, dir).map(Arc::new), |i| Ok(i.clone()))
        };
        match open(&catalogue.dir(&name)) {
            Ok(image) => drop(loaded.library.images.insert(name.clone(), image)),
            Err(e) => {
                loaded.broken.push(format!("image '{name}' cannot be served: {e:#}"));
                continue;
            }
        }
        let mut kept = Vec::new();
        for folder in catalogue.kept_folders(&name)? {
            match open(&catalogue.images_dir().join(&folder)) {
                Ok(image) => kept.push(image),
                Err(e) => loaded.broken.push(format!("{folder} cannot be served: {e:#}")),
            }
        }
        kept.sort_by_key(|i| i.manifest.version);
        loaded.library.kept.extend(kept);
    }
    let same = |a: &Library, b: &Library| {
        let (a, b): (Vec<_>, Vec<_>) =
            (a.all().map(Arc::as_ptr).collect(), b.all().map(Arc::as_ptr).collect());
        a == b
    };
    loaded.changed = !same(&loaded.library, before);
    Ok(loaded)
}

impl ServedImage {
    fn open(catalogue: &Catalogue, name: &ImageName, dir: &Path) -> Result<ServedImage> {
        let version = version(dir, name)?;
        let manifest = catalogue.manifest_in(dir, name)?.context("its manifest is gone")?;
        let path = dir.join(torrent_name(name));
        let bytes = files::read(&path, MAX_METAINFO, "torrent that machines take")?;
        let torrent = Metainfo::parse(bytes).with_context(|| format!("reading {}", path.display()))?;
        let image = ServedImage {
            kernel: open(&dir.join(KERNEL))?,
            initrd: open(&dir.join(INITRD))?,
            own: match manifest.initrd_from {
                InitrdFrom::Own => Some(OwnInitrd::open(dir)?),
                InitrdFrom::Image => None,
            },
            payload: open(&dir.join(PAYLOAD))?,
            sums: open(&dir.join(SUMS)).ok(),
            evidence: catalogue.evidence_in(dir, name)?,
            torrent,
            manifest,
            version,
        };
        let (m, t) = (&image.manifest, &image.torrent);
        if t.infohash() != m.infohash {
            bail!(
                "manifest.toml has the infohash {}, {} has {}",
                m.infohash,
                torrent_name(name),
                t.infohash()
            );
        }
        if image.payload.size != t.size() {
            bail!("the payload has {} bytes, {} says {}", image.payload.size, torrent_name(name), t.size());
        }
        Ok(image)
    }
}

fn open(path: &Path) -> Result<Open> {
    let file = files::open_in_folder(path)?;
    let size = file.metadata().with_context(|| format!("asking for the size of {}", path.display()))?.len();
    Ok(Open { file: Arc::new(file), size })
}

fn version(dir: &Path, name: &ImageName) -> Result<FolderVersion> {
    let m = fs::metadata(dir).with_context(|| format!("opening {}", dir.display()))?;
    let signed = fs::metadata(dir.join(signature_name(name))).map_or(0, |m| m.mtime());
    Ok((m.ino(), m.mtime(), m.mtime_nsec(), signed))
}
