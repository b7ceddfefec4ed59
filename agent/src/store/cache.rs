// SPDX-License-Identifier: GPL-3.0-or-later
//! A filesystem that keeps images between boots.
//!
//! In its folder `boottorrent/`: `INFOHASH.part` while an image is fetched, `INFOHASH.img` when it was complete
//! once, `INFOHASH.torrent`, and `state.json`. The names promise nothing: whatever a file is called, each of its
//! pieces counts only when it has been hashed in this boot. Where images must be signed, `INFOHASH.statement` with its
//! signature, and in `newest` the newest version of each image that was booted.
//! `machine-key` is the machine's own key, where it has private files.

use super::{
    mounted::mount,
    rebuild,
    state::{Kept, State, victims},
};
use crate::{files::sync_folder, report::Report};
use anyhow::Context;
use bootspec::{
    DeviceName, InfoHash,
    trust::{
        Evidence, MAX_SIGNATURE, MAX_STATEMENT, Newest, SIGNATURE, STATEMENT, Statement, parse_newest,
        render_newest,
    },
};
use nix::sys::statvfs::statvfs;
use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};
use swarm::{MAX_METAINFO, Metainfo};

/// Bytes that stay free: a filesystem that is quite full is slow, and the booted system may write there too.
const RESERVE: u64 = 16 << 20;
/// The largest `state.json` that is read.
const MAX_STATE: u64 = 1 << 20;
/// The newest version of each image that was booted.
const NEWEST: &str = "newest";
/// The machine's own key.
const KEY: &str = "machine-key";

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Cache {
    /// As the command line names it, for people.
    pub name: String,
    pub(super) dir: PathBuf,
    /// Bytes of images that fit, where a test says so.
    #[cfg(test)]
    pub(super) fits: Option<u64>,
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

    pub(super) fn path(&self, infohash: InfoHash, suffix: &str) -> PathBuf {
        self.dir.join(format!("{infohash}.{suffix}"))
    }

    pub(super) fn state(&self) -> State {
        self.read_state("state.json")
    }

    fn read_state(&self, file: &str) -> State {
        let read = bounded(&self.dir.join(file), MAX_STATE);
        read.map(|bytes| State::parse(&String::from_utf8_lossy(&bytes))).unwrap_or_default()
    }

    pub(super) fn remember(&self, state: &State) -> anyhow::Result<()> {
        let text = serde_json::to_string(state).expect("a state is JSON");
        self.put("state.json", text.as_bytes())
    }

    /// Write a file beside, and rename it: after a power cut it is the old one or the new one, and the new one once we have
    /// returned. What is remembered against older versions would be no use otherwise.
    pub(super) fn put(&self, file: &str, bytes: &[u8]) -> anyhow::Result<()> {
        self.put_as(file, bytes, 0o644)
    }

    fn put_as(&self, file: &str, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
        let (new, to) = (self.dir.join(format!("{file}.new")), self.dir.join(file));
        let _ = fs::remove_file(&new);
        let write = || {
            let mut f = File::options().write(true).create_new(true).mode(mode).open(&new)?;
            f.write_all(bytes)?;
            f.sync_all()?;
            fs::rename(&new, &to)
        };
        write().with_context(|| format!("writing {file} on {}", self.name))?;
        sync_folder(&to);
        Ok(())
    }

    /// The machine's own key as it was kept, if it was.
    pub fn machine_key(&self) -> Option<String> {
        bounded(&self.dir.join(KEY), 128).and_then(|bytes| String::from_utf8(bytes).ok())
    }

    /// Keep the machine's own key, for root alone.
    pub fn keep_machine_key(&self, digits: &str) -> anyhow::Result<()> {
        self.put_as(KEY, digits.as_bytes(), 0o600)
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
    pub(super) fn others(&self, infohash: InfoHash, name: &str) -> Vec<rebuild::Old> {
        let mut all: Vec<Kept> = self.images().into_iter().filter(|k| k.infohash != infohash).collect();
        all.sort_by_key(|k| (k.entry.name != name, std::cmp::Reverse(k.entry.used)));
        let old = |k: Kept| {
            let (path, metainfo) = (self.file(k.infohash)?.0, self.metainfo(k.infohash)?);
            Some(rebuild::Old { file: File::open(path).ok()?, metainfo, akin: k.entry.name == name })
        };
        all.into_iter().filter_map(old).collect()
    }

    pub(super) fn free(&self) -> anyhow::Result<u64> {
        #[cfg(test)]
        if let Some(fits) = self.fits {
            return Ok(fits.saturating_sub(self.images().iter().map(|k| k.takes).sum()));
        }
        let s = statvfs(&self.dir).with_context(|| format!("asking for the room on {}", self.name))?;
        Ok((s.blocks_available() * s.fragment_size()).saturating_sub(RESERVE))
    }

    pub(super) fn forget(&self, infohash: InfoHash) -> anyhow::Result<()> {
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

    pub(super) fn overlays(&self) -> PathBuf {
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
