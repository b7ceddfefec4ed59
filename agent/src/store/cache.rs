// SPDX-License-Identifier: GPL-3.0-or-later
//! A filesystem that keeps images between boots.
//!
//! In its folder `boottorrent/`: `INFOHASH.part` while an image is fetched, `INFOHASH.img` when it was complete
//! once, `INFOHASH.torrent`, and `state.json`. The names promise nothing: whatever a file is called, each of its
//! pieces counts only when it has been hashed in this boot. Where images must be signed, `INFOHASH.statement` with its
//! signature, and in `newest` the newest version of each image that was booted.

use super::{
    Keep, Online, Payload,
    flush::Flusher,
    in_background, open_sized, rebuild,
    state::{Kept, State, victims},
    sync_folder,
};
use crate::{
    device,
    fail::{Failure, Step, cause},
    report::Report,
    superblock,
};
use anyhow::{Context, bail};
use bootspec::{
    DeviceName, Exit, InfoHash, Sha256Sum,
    trust::{
        Evidence, MAX_SIGNATURE, MAX_STATEMENT, Newest, SIGNATURE, STATEMENT, Statement, parse_newest,
        render_newest,
    },
    units::human_size,
};
use nix::{
    errno::Errno,
    fcntl::{FallocateFlags, fallocate},
    sys::statvfs::statvfs,
};
use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};
use swarm::{HttpSource, MAX_METAINFO, Metainfo, survey, survey_summing};
use sys_mount::{FilesystemType, Mount, MountFlags};

/// Bytes that stay free: a filesystem that is quite full is slow, and the booted system may write there too.
const RESERVE: u64 = 16 << 20;
/// The largest `state.json` that is read.
const MAX_STATE: u64 = 1 << 20;
/// The newest version of each image that was booted.
const NEWEST: &str = "newest";

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Cache {
    /// As the command line names it, for people.
    pub name: String,
    dir: PathBuf,
    /// Bytes of images that fit, where a test says so.
    #[cfg(test)]
    fits: Option<u64>,
}

impl Cache {
    /// Find the device and mount it below `run`.
    pub async fn open(
        dev: &Path,
        name: &DeviceName,
        run: &Path,
        patience: Duration,
    ) -> anyhow::Result<Cache> {
        let at = mount(dev, name, run, patience).await?;
        Cache::at(&name.to_string(), &at)
    }

    /// The cache on a mounted filesystem.
    pub fn at(name: &str, mounted: &Path) -> anyhow::Result<Cache> {
        let dir = mounted.join("boottorrent");
        if !dir.is_dir() {
            fs::create_dir(&dir).with_context(|| format!("creating the folder boottorrent on {name}"))?;
        }
        Ok(Cache {
            name: name.into(),
            dir,
            #[cfg(test)]
            fits: None,
        })
    }

    fn path(&self, infohash: InfoHash, suffix: &str) -> PathBuf {
        self.dir.join(format!("{infohash}.{suffix}"))
    }

    fn state(&self) -> State {
        self.read_state("state.json")
    }

    fn read_state(&self, file: &str) -> State {
        let read = bounded(&self.dir.join(file), MAX_STATE);
        read.map(|bytes| State::parse(&String::from_utf8_lossy(&bytes))).unwrap_or_default()
    }

    fn remember(&self, state: &State) -> anyhow::Result<()> {
        let text = serde_json::to_string(state).expect("a state is JSON");
        self.put("state.json", text.as_bytes())
    }

    /// Write a file beside, and rename it: after a power cut it is the old one or the new one, and the new one once we have
    /// returned. What is remembered against older versions would be no use otherwise.
    fn put(&self, file: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let (new, to) = (self.dir.join(format!("{file}.new")), self.dir.join(file));
        let _ = fs::remove_file(&new);
        let write = || {
            let mut f = File::options().write(true).create_new(true).open(&new)?;
            f.write_all(bytes)?;
            f.sync_all()?;
            fs::rename(&new, &to)
        };
        write().with_context(|| format!("writing {file} on {}", self.name))?;
        sync_folder(&to);
        Ok(())
    }

    /// The images that are there.
    pub fn images(&self) -> Vec<Kept> {
        let state = self.state();
        let mut all: Vec<Kept> = Vec::new();
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some((hash, suffix)) = name.split_once('.') else { continue };
            let Ok(infohash) = hash.parse::<InfoHash>() else { continue };
            let Ok(meta) = entry.metadata() else { continue };
            if matches!(suffix, "img" | "part") && meta.is_file() {
                let entry = state.get(infohash);
                all.push(Kept { infohash, entry, takes: meta.blocks() * 512, complete: suffix == "img" });
            }
        }
        all
    }

    /// The .torrent of an image that is there.
    pub fn metainfo(&self, infohash: InfoHash) -> Option<Metainfo> {
        let bytes = bounded(&self.path(infohash, "torrent"), MAX_METAINFO as u64)?;
        Metainfo::parse(bytes).ok().filter(|m| m.infohash() == infohash)
    }

    /// What was kept of who stands for an image that is there.
    pub fn evidence(&self, infohash: InfoHash) -> Option<Evidence> {
        let [statement, signature] = evidence(infohash).map(|file| self.dir.join(file));
        Some(Evidence {
            statement: bounded(&statement, MAX_STATEMENT as u64)?,
            signature: bounded(&signature, MAX_SIGNATURE as u64)?,
        })
    }

    /// The newest version of each image that was booted with this filesystem there.
    pub fn newest(&self) -> Newest {
        let read = bounded(&self.dir.join(NEWEST), MAX_STATE);
        read.map(|bytes| parse_newest(&String::from_utf8_lossy(&bytes))).unwrap_or_default()
    }

    /// This version boots now: it is the newest one that counts, even if it is older.
    pub fn remember_signed(&self, statement: &Statement, proof: &Evidence) -> anyhow::Result<()> {
        let Statement { name, version, infohash, .. } = statement;
        if self.file(*infohash).is_some() && self.evidence(*infohash).as_ref() != Some(proof) {
            let [statement, signature] = evidence(*infohash);
            self.put(&statement, &proof.statement)?;
            self.put(&signature, &proof.signature)?;
        }
        let mut newest = self.newest();
        if newest.insert(name.clone(), *version) != Some(*version) {
            self.put(NEWEST, render_newest(&newest).as_bytes())?;
        }
        Ok(())
    }

    /// The version of `name` that was used last of those that were complete.
    pub fn latest(&self, name: &str) -> Option<Kept> {
        let complete = self.images().into_iter().filter(|k| k.complete && k.entry.name == name);
        complete.filter(|k| self.metainfo(k.infohash).is_some()).max_by_key(|k| k.entry.used)
    }

    /// An image's file, if there is one, and whether it was complete.
    pub fn file(&self, infohash: InfoHash) -> Option<(PathBuf, bool)> {
        let (img, part) = (self.path(infohash, "img"), self.path(infohash, "part"));
        if img.exists() { Some((img, true)) } else { part.exists().then_some((part, false)) }
    }

    /// Other images, which may have pieces of this one: its versions first, the newest before older ones.
    fn others(&self, infohash: InfoHash, name: &str) -> Vec<rebuild::Old> {
        let mut all: Vec<Kept> = self.images().into_iter().filter(|k| k.infohash != infohash).collect();
        all.sort_by_key(|k| (k.entry.name != name, std::cmp::Reverse(k.entry.used)));
        let old = |k: Kept| {
            let (path, metainfo) = (self.file(k.infohash)?.0, self.metainfo(k.infohash)?);
            Some(rebuild::Old { path, metainfo, same_name: k.entry.name == name })
        };
        all.into_iter().filter_map(old).collect()
    }

    fn free(&self) -> anyhow::Result<u64> {
        #[cfg(test)]
        if let Some(fits) = self.fits {
            return Ok(fits.saturating_sub(self.images().iter().map(|k| k.takes).sum()));
        }
        let s = statvfs(&self.dir).with_context(|| format!("asking for the room on {}", self.name))?;
        Ok((s.blocks_available() * s.fragment_size()).saturating_sub(RESERVE))
    }

    fn forget(&self, infohash: InfoHash) -> anyhow::Result<()> {
        let evidence = evidence(infohash);
        let files = ["img", "part", "torrent"].map(|suffix| self.path(infohash, suffix));
        for path in files.into_iter().chain(evidence.map(|file| self.dir.join(file))) {
            if path.exists() {
                fs::remove_file(&path).with_context(|| format!("deleting {}", path.display()))?;
            }
        }
        // What was written over it is nonsense over any other.
        self.forget_overlay(infohash)
    }

    fn overlays(&self) -> PathBuf {
        self.dir.join("overlay")
    }

    fn forget_overlay(&self, version: InfoHash) -> anyhow::Result<()> {
        let path = self.overlays().join(version.to_string());
        match fs::remove_dir_all(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(e).with_context(|| format!("deleting {}", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// The folder for what a system writes over one version of an image. Of older versions, as many are kept as of images.
    pub fn overlay(&self, version: InfoHash, image: &str, report: &Report) -> anyhow::Result<PathBuf> {
        let folder = self.overlays().join(version.to_string());
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        // Images may be on another filesystem, so that this one remembers by itself.
        let file = "overlay/state.json";
        let mut state = self.read_state(file);
        state.touch(version, image);
        let entries = fs::read_dir(self.overlays()).into_iter().flatten().flatten();
        let there: Vec<InfoHash> =
            entries.filter_map(|e| e.file_name().to_str()?.parse::<InfoHash>().ok()).collect();
        state.images.retain(|hash, _| there.iter().any(|h| h.to_string() == *hash));
        let kept =
            there.into_iter().map(|h| Kept { infohash: h, entry: state.get(h), takes: 0, complete: true });
        let gone = victims(&kept.collect::<Vec<_>>(), version, image, 0, 0).unwrap_or_default();
        for old in gone {
            report.info(&format!("deleting what was written over {image} {old} from {}", self.name));
            self.forget_overlay(old)?;
            state.images.remove(&old.to_string());
        }
        self.put(file, serde_json::to_string(&state).expect("a state is JSON").as_bytes())?;
        Ok(folder)
    }

    /// Make room, open the image's file, and find out what is in it.
    pub(super) async fn prepare(
        &self,
        metainfo: &Metainfo,
        image: &str,
        signed: bool,
        Online { sums, source }: Online<'_>,
        report: &Report,
    ) -> Result<Payload, Failure> {
        let infohash = metainfo.infohash();
        let mut state = self.state();
        state.touch(infohash, image);
        self.make_room(metainfo, image, &mut state, source, report).await?;
        let open = || -> anyhow::Result<(PathBuf, File)> {
            if self.metainfo(infohash).is_none() {
                self.put(&format!("{infohash}.torrent"), metainfo.bytes())?;
            }
            self.remember(&state)?;
            let path = self.file(infohash).map_or_else(|| self.path(infohash, "part"), |f| f.0);
            let file = open_sized(&path, metainfo.size())?;
            Ok((path, file))
        };
        let (path, mut file) = open().step(Exit::Storage)?;
        let (mut known, sum) = check(&file, metainfo, image, signed, report).await.step(Exit::Storage)?;
        let mut begun = Vec::new();
        let others = self.others(infohash, image);
        // Old versions are looked up by pieces of a whole file.
        if !known.is_full() && !others.is_empty() && metainfo.is_whole() {
            let sums = match sums {
                Some(sums) => rebuild::obtain(sums, metainfo).await,
                None => None,
            };
            let wanted = rebuild::Wanted { file: &file, metainfo, known: &known };
            (known, begun) = rebuild::run(wanted, others, sums, image, report).await.step(Exit::Storage)?;
        }
        let flush = if known.is_full() {
            // Nothing will be written: then the disk can be mounted read-only, and is clean at power-off.
            file = File::open(&path)
                .with_context(|| format!("opening {}", path.display()))
                .step(Exit::Storage)?;
            None
        } else {
            // Room that is missing is better missed now than at the end. Not every filesystem can tell.
            let flags = FallocateFlags::FALLOC_FL_KEEP_SIZE;
            if let Err(Errno::ENOSPC) = fallocate(&file, flags, 0, metainfo.size() as i64) {
                let need = human_size(metainfo.size());
                let sentence = format!(
                    "{} has no room for the {need} of image {image}: delete what else is on it",
                    self.name
                );
                return Err(Failure::new(Exit::Room, sentence));
            }
            Some(Flusher::start(&file).context("starting a thread").step(Exit::Storage)?)
        };
        let cache = self.clone();
        Ok(Payload {
            file,
            path,
            head: None,
            known,
            begun,
            sum,
            keep: Keep::Cache(Keeper { cache, infohash, flush }),
        })
    }

    async fn make_room(
        &self,
        metainfo: &Metainfo,
        image: &str,
        state: &mut State,
        source: Option<HttpSource>,
        report: &Report,
    ) -> Result<(), Failure> {
        let (images, infohash) = (self.images(), metainfo.infohash());
        let here = images.iter().find(|k| k.infohash == infohash).map_or(0, |k| k.takes);
        let need = metainfo.size().saturating_sub(here);
        let free = self.free().step(Exit::Storage)?;
        let gone = victims(&images, infohash, image, need, free).map_err(|room| {
            Failure::new(
                Exit::Room,
                format!(
                    "image {image} needs {} on {}, but there is room for {} even without the other images there: \
                     use a larger filesystem, or delete what else is on it",
                    human_size(need),
                    self.name,
                    human_size(room),
                ),
            )
        })?;
        if let Some(source) = source.filter(|_| last_of(&images, &gone, image)) {
            self.can_be_had(metainfo, image, source).await?;
        }
        for old in gone {
            let entry = state.images.remove(&old.to_string()).unwrap_or_default();
            report.info(&format!("deleting {} {old} from {}", entry.name, self.name));
            self.forget(old).step(Exit::Storage)?;
        }
        Ok(())
    }
}

impl Cache {
    /// Whether the new version comes at all: a piece of it, since it takes the place of the only one that this machine
    /// could boot without it.
    async fn can_be_had(&self, metainfo: &Metainfo, image: &str, source: HttpSource) -> Result<(), Failure> {
        let piece = metainfo.wanted().start;
        match source.piece(metainfo, piece).await {
            Ok(_) => Ok(()),
            Err(e) => Err(Failure::new(
                Exit::Swarm,
                format!(
                    "the new version of {image} cannot be had now ({}), and {} has room for it only in place of the \
                     version that is there",
                    cause(&e),
                    self.name
                ),
            )),
        }
    }
}

/// Whether no complete version of an image is left when these are deleted.
fn last_of(images: &[Kept], gone: &[InfoHash], name: &str) -> bool {
    let mut versions = images.iter().filter(|k| k.complete && k.entry.name == name).peekable();
    versions.peek().is_some() && versions.all(|k| gone.contains(&k.infohash))
}

/// Mount the filesystem on a device below `run`. What is mounted there already is used.
pub async fn mount(dev: &Path, name: &DeviceName, run: &Path, patience: Duration) -> anyhow::Result<PathBuf> {
    let node = device::find(dev, name, patience).await?;
    let kind = superblock::filesystem(&device::open(&node, false)?)?;
    let Some(kind) = kind else {
        bail!(
            "{name} ({}) has no filesystem that can keep images: make an ext4 on it, by boottorrent.mkfs= if it is empty",
            node.display()
        );
    };
    let at = run.join("disk").join(node.file_name().unwrap_or_default());
    if fs::read_dir(&at).is_ok() {
        return Ok(at);
    }
    fs::create_dir_all(&at).with_context(|| format!("creating {}", at.display()))?;
    let mounted = Mount::builder()
        .fstype(FilesystemType::Manual(kind))
        .flags(MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOATIME)
        .mount(&node, &at);
    if let Err(e) = mounted {
        let _ = fs::remove_dir(&at);
        return Err(e).with_context(|| {
            format!(
                "mounting {name} ({}, {kind}; is the kernel module {kind} in the initrd?)",
                node.display()
            )
        });
    }
    Ok(at)
}

/// Hash what is in a file, and show how far that is.
async fn check(
    file: &File,
    metainfo: &Metainfo,
    image: &str,
    signed: bool,
    report: &Report,
) -> anyhow::Result<(swarm::plan::Bits, Option<Sha256Sum>)> {
    let (file, metainfo) = (file.try_clone().context("sharing the image's file")?, metainfo.clone());
    let (image, report, size) = (image.to_owned(), report.clone(), metainfo.size());
    let begun = std::time::Instant::now();
    let empty = file.metadata().is_ok_and(|m| m.blocks() == 0);
    let work = move || {
        let tell = |done| {
            if !empty {
                report.checking(done, size, &image);
            }
        };
        let (known, sum) = match signed && !empty {
            true => survey_summing(&file, &metainfo, tell)?,
            false => (survey(&file, &metainfo, tell)?, None),
        };
        let bytes = known.iter().map(|p| metainfo.piece_range(p)).map(|r| r.end - r.start).sum::<u64>();
        if !empty {
            report.info(&format!(
                "{image}: {} of {} are here and right, {} pieces are missing (checked in {:.1} s)",
                human_size(bytes),
                human_size(size),
                known.len() - known.count(),
                begun.elapsed().as_secs_f64()
            ));
        }
        Ok((known, sum))
    };
    in_background(work).await.context("reading what is here")
}

/// The names of what was kept of who stands for an image: the statement, and its signature.
fn evidence(infohash: InfoHash) -> [String; 2] {
    [format!("{infohash}.{STATEMENT}"), format!("{infohash}.{STATEMENT}.{SIGNATURE}")]
}

/// A file of at most `max` bytes.
fn bounded(path: &Path, max: u64) -> Option<Vec<u8>> {
    let meta = path.symlink_metadata().ok()?;
    if !meta.is_file() || meta.len() > max { None } else { fs::read(path).ok() }
}

/// What is left to do for an image in a cache.
pub(super) struct Keeper {
    cache: Cache,
    infohash: InfoHash,
    flush: Option<Flusher>,
}

impl Keeper {
    /// Nothing of the image stays.
    pub(super) fn discard(&self) -> anyhow::Result<()> {
        self.cache.forget(self.infohash)
    }

    /// All is verified: to the disk, and under its name. Returns where it is then. `alone`: nothing else is written there.
    pub(super) fn finish(&mut self, file: &File, alone: bool) -> anyhow::Result<PathBuf> {
        let (cache, to) = (&self.cache, self.cache.path(self.infohash, "img"));
        let Some(flush) = self.flush.take() else {
            // Nothing is written any more: a power cut finds the filesystem clean.
            if let Some(mounted) = cache.dir.parent().filter(|_| alone) {
                let flags = MountFlags::REMOUNT | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
                let _ =
                    Mount::builder().fstype(FilesystemType::Manual("none")).flags(flags).mount("", mounted);
            }
            return Ok(to);
        };
        flush
            .stop()
            .and_then(|()| file.sync_all())
            .with_context(|| format!("writing the image to {}", cache.name))?;
        let part = cache.path(self.infohash, "part");
        if part.exists() {
            fs::rename(&part, &to).with_context(|| format!("renaming {}", part.display()))?;
        }
        let mut state = cache.state();
        if let Some(entry) = state.images.get_mut(&self.infohash.to_string()) {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            entry.fetched = now.map_or(0, |d| d.as_secs());
        }
        cache.remember(&state)?;
        sync_folder(&to);
        Ok(to)
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
