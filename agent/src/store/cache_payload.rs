// SPDX-License-Identifier: GPL-3.0-or-later
//! An image in a cache: room is made, its file is opened and hashed, old versions help, and at the end it gets its name.

use super::{
    cache::Cache,
    flush::Flusher,
    order::Online,
    payload::{Keep, Payload, in_background},
    rebuild,
    state::{Kept, State, victims},
};
use crate::{
    fail::{Failure, Step, cause},
    files::{open_sized, sync_folder},
    report::Report,
    target::Writes,
};
use anyhow::Context;
use bootspec::{Exit, InfoHash, Sha256Sum, units::human_size};
use nix::{
    errno::Errno,
    fcntl::{FallocateFlags, fallocate},
};
use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::PathBuf,
    time::SystemTime,
};
use swarm::{Head, HttpSource, Metainfo, survey, survey_summing};
use sys_mount::{FilesystemType, Mount, MountFlags};

impl Cache {
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
            Some(self.reserve(&file, metainfo.size(), image)?)
        };
        let cache = self.clone();
        Ok(Payload {
            file,
            path,
            head: None,
            known,
            begun,
            sum,
            keep: Box::new(Keeper { cache, infohash, flush }),
        })
    }

    /// A file that will be written has its room now: what is missing is better missed before the first byte. Not every
    /// filesystem can tell.
    fn reserve(&self, file: &File, size: u64, image: &str) -> Result<Flusher, Failure> {
        let flags = FallocateFlags::FALLOC_FL_KEEP_SIZE;
        if let Err(Errno::ENOSPC) = fallocate(file, flags, 0, size as i64) {
            let need = human_size(size);
            let sentence = format!(
                "{} has no room for the {need} of image {image}: delete what else is on it",
                self.name
            );
            return Err(Failure::new(Exit::Room, sentence));
        }
        Flusher::start(file).context("starting a thread").step(Exit::Storage)
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

/// What is left to do for an image in a cache.
struct Keeper {
    cache: Cache,
    infohash: InfoHash,
    flush: Option<Flusher>,
}

impl Keep for Keeper {
    /// Nothing of the image stays.
    fn discard(&self) -> anyhow::Result<()> {
        self.cache.forget(self.infohash)
    }

    /// All is verified: to the disk, and under its name.
    fn finish(&mut self, file: &File, _: Option<&Head>, writes: &Writes) -> anyhow::Result<Option<PathBuf>> {
        let (cache, to) = (&self.cache, self.cache.path(self.infohash, "img"));
        let Some(flush) = self.flush.take() else {
            // Nothing is written any more: a power cut finds the filesystem clean.
            let alone = !matches!(writes, Writes::Kept(_));
            if let Some(mounted) = cache.dir.parent().filter(|_| alone) {
                let flags = MountFlags::REMOUNT | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
                let _ =
                    Mount::builder().fstype(FilesystemType::Manual("none")).flags(flags).mount("", mounted);
            }
            return Ok(Some(to));
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
        Ok(Some(to))
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
