// SPDX-License-Identifier: GPL-3.0-or-later
//! Copies of images: which are to be made, which have to go, and of what they are put together. An image is served when all
//! of it is here and verified.

use super::{
    payload::{Payloads, remove_parts},
    words::work_dir,
};
use crate::{
    catalogue::{
        Catalogue, CopiedVersion, INITRD, KERNEL, PAYLOAD, SUMS, Staging, VersionCopy,
        free_space::FreeSpace,
        own::{ARCHIVES, CARDS, Index},
        verified,
    },
    keys::Folder,
    refresh::refresh,
    relay::{
        Here,
        client::First,
        told::{FileTag, ImageCopy, Snapshot},
    },
    state::ServerState,
};
use anyhow::{Context, Result, anyhow, ensure};
use bootspec::{InfoHash, manifest::Kind, trust::Evidence, units::human_size};
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use swarm::{MAX_METAINFO, Metainfo};

/// The files of an image beside payload, torrent and statement.
pub const FILES: [&str; 5] = [KERNEL, INITRD, SUMS, ARCHIVES, CARDS];
/// A kernel or an initrd is far smaller.
const MAX_BOOT_FILE: u64 = 4 << 30;
/// What made room for itself stays so long: a network cannot have a relay fetch one image after the other.
const STAYS: Duration = Duration::from_secs(600);

/// Makes copies.
pub struct Images {
    first: Arc<First>,
    state: Arc<ServerState>,
    here: Arc<Here>,
    payloads: Payloads,
    /// What made room for itself, and when.
    wanted: HashMap<InfoHash, Instant>,
}

/// Where a path of an image is at the first server.
fn path(copy: &ImageCopy, file: &str) -> String {
    let m = &copy.manifest;
    format!("/api/v1/relay/images/{}/{file}?infohash={}", m.name, m.infohash)
}

/// What tells a copy from others, whether it is the current version or not.
fn note(copy: &ImageCopy) -> Result<Vec<u8>> {
    serde_json::to_vec(&ImageCopy { current: false, ..copy.clone() }).context("writing JSON")
}

impl Images {
    /// Ready to fetch.
    pub async fn start(first: Arc<First>, state: Arc<ServerState>, here: Arc<Here>) -> Result<Images> {
        let payloads = Payloads::start(&state.config().serve).await?;
        Ok(Images { first, state, here, payloads, wanted: HashMap::new() })
    }

    fn catalogue(&self) -> Catalogue {
        Catalogue::at(&self.state.config().catalogue.dir)
    }

    /// Bring the images here to what a snapshot says, as far as that can be. Errors: what keeps one from being here.
    pub async fn fetch(&mut self, snapshot: &Arc<Snapshot>) -> Result<()> {
        let catalogue = self.catalogue();
        catalogue.make()?;
        let copies: Vec<&ImageCopy> =
            snapshot.images.iter().filter(|c| c.manifest.kind != Kind::Ltsp).collect();
        self.remove_names(&catalogue, &copies)?;
        let (mut missing, mut trouble, mut without_space) = (Vec::new(), None, 0);
        for copy in &copies {
            if self.here.snapshot().is_none_or(|now| !Arc::ptr_eq(&now, snapshot)) {
                // Something newer has come: all begins again, with what is here by now.
                return Ok(());
            }
            let done = self.make(&catalogue, copy, snapshot).await;
            if !matches!(done, Ok(true)) {
                missing.push(format!("{}@{}", copy.manifest.name, copy.manifest.version));
            }
            without_space += usize::from(matches!(done, Ok(false)));
            if let Err(e) = done {
                trouble.get_or_insert(e.context(format!("image '{}' is not here", copy.manifest.name)));
            }
            self.here.set_missing(missing.clone());
        }
        self.remove_versions(&catalogue, &copies)?;
        if without_space > 0 {
            let all: u64 = copies
                .iter()
                .map(|c| (c.manifest.infohash, c.manifest.size))
                .collect::<HashMap<_, _>>()
                .values()
                .sum();
            trouble.get_or_insert(anyhow!(
                "{} not here, since all take {} and this relay may use {}: machines that need them, or the menu, boot from the \
                 first server (raise disk = in [upstream] of server.toml)",
                match without_space {
                    1 => "1 image is".to_owned(),
                    n => format!("{n} images are"),
                },
                human_size(all),
                human_size(self.state.config().upstream.disk.unwrap_or_default())
            ));
        }
        trouble.map_or(Ok(()), Err)
    }

    /// Remove images that the first server has no more.
    fn remove_names(&mut self, catalogue: &Catalogue, copies: &[&ImageCopy]) -> Result<()> {
        let here = catalogue.copies()?;
        ensure!(
            !copies.is_empty() || here.is_empty(),
            "the first server has no images at all: those that are here are kept until it has one again"
        );
        for name in catalogue.names()? {
            if copies.iter().any(|c| c.manifest.name == name) {
                continue;
            }
            // What a relay has not made itself, it does not remove.
            ensure!(
                here.iter().all(|h| h.manifest.name != name || !h.note.is_empty()),
                "image '{name}' is not from the first server: remove it, or add it there"
            );
            catalogue.remove(&name)?;
            refresh(&self.state);
        }
        Ok(())
    }

    /// Remove versions that it has no more, where the current one is here.
    fn remove_versions(&mut self, catalogue: &Catalogue, copies: &[&ImageCopy]) -> Result<()> {
        let is = |here: &CopiedVersion, there: &ImageCopy| {
            let (a, b) = (&here.manifest, &there.manifest);
            a.name == b.name && a.version == b.version && a.infohash == b.infohash
        };
        let here = catalogue.copies()?;
        for gone in here.iter().filter(|h| !h.current && copies.iter().all(|c| !is(h, c))) {
            catalogue.remove_copy(gone)?;
        }
        let kept: Vec<InfoHash> = copies.iter().map(|c| c.manifest.infohash).collect();
        self.payloads.keep(&kept, &work_dir(&self.state));
        refresh(&self.state);
        Ok(())
    }

    /// Make one copy. `false`: there is no space for it, and nobody asks for it.
    async fn make(&mut self, catalogue: &Catalogue, copy: &ImageCopy, snapshot: &Snapshot) -> Result<bool> {
        let (m, note) = (&copy.manifest, note(copy)?);
        let here = catalogue.copies()?;
        let evidence =
            Evidence { statement: copy.statement.clone().into(), signature: copy.signature.clone().into() };
        let folder = Folder::of(&self.state.config());
        if !folder.public()?.is_empty() {
            // What was here before there were keys goes as well.
            if let Err(e) = verified(m, &evidence, &folder.keys()?) {
                for unsigned in here.iter().filter(|h| h.manifest.name == m.name && h.note == note) {
                    catalogue.remove_copy(unsigned)?;
                    refresh(&self.state);
                }
                return Err(e);
            }
        }
        let same = here.iter().find(|h| h.manifest.name == m.name && h.note == note);
        if let Some(same) = same.filter(|same| is_whole(same)) {
            if copy.current && !same.current {
                catalogue.show_copy(&m.name, m.version)?;
                refresh(&self.state);
            }
            self.here.has(m.infohash);
            return Ok(true);
        }
        // Files that the disk has lost are fetched again.
        let here: Vec<CopiedVersion> = here.into_iter().filter(is_whole).collect();
        let torrent = self.first.small(&path(copy, "torrent"), MAX_METAINFO).await?;
        let metainfo = Metainfo::parse(torrent.clone()).context("its torrent")?;
        ensure!(
            (metainfo.infohash(), metainfo.size()) == (m.infohash, m.size),
            "the first server has sent another torrent than {}: it is not served",
            m.infohash
        );
        let payload = match Catalogue::payload_of(&here, m.infohash) {
            Some(path) => path,
            None if !self.has_space(catalogue, copy)? => return Ok(false),
            None => self.payloads.fetch(copy, metainfo, &self.here, snapshot, &work_dir(&self.state)).await?,
        };
        let staging = catalogue.stage(&m.name)?;
        put(&payload, PAYLOAD, &staging)?;
        self.files(copy, &here, &staging).await?;
        self.warm(copy, &staging).await?;
        let of = VersionCopy {
            manifest: m,
            torrent: &torrent,
            evidence: &evidence,
            note: &note,
            current: copy.current,
        };
        catalogue.publish_copy(staging, &of)?;
        self.payloads.landed(m.infohash, &work_dir(&self.state));
        self.here.has(m.infohash);
        refresh(&self.state);
        Ok(true)
    }

    /// Have the agent packed for this image before machines ask: it takes seconds, and they wait for two.
    async fn warm(&self, copy: &ImageCopy, staging: &Staging) -> Result<()> {
        if copy.files.contains_key(CARDS) {
            let folder = staging.path(CARDS);
            let xz = Index::read(folder.parent().unwrap_or(&folder)).context("its own.json")?.xz;
            let (addons, manifest) = (self.state.addons.clone(), copy.manifest.clone());
            // Without an agent here, machines are told so when they ask.
            let _ = tokio::task::spawn_blocking(move || addons.init(&manifest, xz)).await?;
        }
        Ok(())
    }

    /// Put the small files into a copy: from another one here that has the same, or from the first server.
    async fn files(&self, copy: &ImageCopy, here: &[CopiedVersion], staging: &Staging) -> Result<()> {
        let mut known: HashMap<(&str, FileTag), PathBuf> = HashMap::new();
        for other in here {
            let Ok(of) = serde_json::from_slice::<ImageCopy>(&other.note) else { continue };
            for file in FILES {
                // Tags are of one server: only a copy of the same image has the very same file.
                if let Some(tag) =
                    of.files.get(file).filter(|_| of.manifest.infohash == copy.manifest.infohash)
                {
                    known.insert((file, tag.clone()), other.dir.join(file));
                }
            }
        }
        for file in FILES {
            let Some(tag) = copy.files.get(file) else { continue };
            match known.get(&(file, tag.clone())) {
                Some(same) => put(same, file, staging)?,
                None => {
                    ensure!(tag.size <= MAX_BOOT_FILE, "its {file} has {}", human_size(tag.size));
                    self.first.file(&path(copy, file), tag.size, &staging.path(file)).await?;
                }
            }
        }
        Ok(())
    }

    /// Whether there is space for a payload; made if a machine asks for it.
    fn has_space(&mut self, catalogue: &Catalogue, copy: &ImageCopy) -> Result<bool> {
        let m = &copy.manifest;
        let Some(disk) = self.state.config().upstream.disk else {
            let images = catalogue.images_dir();
            FreeSpace { dir: images, name: &m.name }.refuse_without(m.size)?;
            return Ok(true);
        };
        ensure!(
            m.size <= disk,
            "it has {} and this relay may use {}: raise disk = in [upstream] of server.toml",
            human_size(m.size),
            human_size(disk)
        );
        self.wanted.retain(|_, since| since.elapsed() < STAYS);
        // Parts of others take space too, and nobody fetches them now.
        remove_parts(&work_dir(&self.state), &[m.infohash]);
        loop {
            let here = catalogue.copies()?;
            let sizes: HashMap<InfoHash, u64> =
                here.iter().map(|c| (c.manifest.infohash, c.manifest.size)).collect();
            if sizes.values().sum::<u64>() + m.size <= disk {
                return Ok(true);
            }
            if !self.here.is_wanted(m.infohash) {
                return Ok(false);
            }
            let Some(oldest) = least_recent(&here, |infohash| self.wanted.contains_key(&infohash)) else {
                return Ok(false);
            };
            tracing::info!(
                "image {}@{} makes room for {}: it was booted least recently",
                oldest.manifest.name,
                oldest.manifest.version,
                m.name
            );
            catalogue.remove_copy(oldest)?;
            refresh(&self.state);
            // Its blocks are free when nobody has it open.
            if !catalogue.copies()?.iter().any(|c| c.manifest.infohash == oldest.manifest.infohash) {
                self.payloads.stop(oldest.manifest.infohash);
                self.state.release(oldest.manifest.infohash);
            }
            self.wanted.insert(m.infohash, Instant::now());
        }
    }
}

/// Whether all files of a copy are there, with their full lengths.
fn is_whole(copy: &CopiedVersion) -> bool {
    let has =
        |file: &str, size| fs::metadata(copy.dir.join(file)).is_ok_and(|m| m.is_file() && m.len() == size);
    let files = serde_json::from_slice::<ImageCopy>(&copy.note).map(|of| of.files).unwrap_or_default();
    has(PAYLOAD, copy.manifest.size) && files.iter().all(|(file, tag)| has(file, tag.size))
}

/// What makes room: the copy that was booted least recently. A current version goes last of its image, for the others would go
/// with it.
fn least_recent(here: &[CopiedVersion], stays: impl Fn(InfoHash) -> bool) -> Option<&CopiedVersion> {
    let is_last = |c: &CopiedVersion| !here.iter().any(|o| o.manifest.name == c.manifest.name && !o.current);
    let may_go = |c: &&CopiedVersion| (!c.current || is_last(c)) && !stays(c.manifest.infohash);
    here.iter().filter(may_go).min_by_key(|c| c.used)
}

/// Put a file that is here into a copy.
fn put(from: &Path, file: &str, staging: &Staging) -> Result<()> {
    match staging.take(from, file) {
        true => Ok(()),
        false => {
            let to = staging.path(file);
            fs::copy(from, &to)
                .map(drop)
                .with_context(|| format!("copying {} to {}", from.display(), to.display()))
        }
    }
    .map_err(|e| anyhow!(e))
}
