// SPDX-License-Identifier: GPL-3.0-or-later
//! Where the payload is kept: made ready before the download, finished after it.

pub mod cache;
mod caches;
mod device;
mod flush;
mod ram;
mod rebuild;
pub mod state;

pub use caches::{Caches, Spare};
pub use ram::{create, file};

use crate::{
    cli::BootArgs,
    fail::{Failure, Step},
    locate::payload_url,
    report::Report,
    target::{self, Memory, Place, Plan, Writes},
};
use anyhow::{Context, anyhow};
use bootspec::{Exit, Params, Sha256Sum, Target};
use nix::fcntl::OFlag;
use std::{
    fs::{self, File},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};
use swarm::{Head, HttpSource, Metainfo, plan::Bits, sha256};
use url::Url;

/// A file's name is on the disk as well. Not every filesystem can do that: then it comes later.
pub fn sync_folder(file: &Path) {
    let folder = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let _ = File::open(folder).and_then(|d| d.sync_all());
}

/// A place for a payload: an open file, and what of it is here already.
pub struct Payload {
    /// Written by the swarm, as long as the payload. It stays open for seeding.
    pub file: File,
    /// Where the file is now; after [`Payload::finish`], where it is mounted from.
    pub path: PathBuf,
    /// Where the payload's beginning goes instead, if apart.
    pub head: Option<Head>,
    /// Pieces that are here, verified.
    pub known: Bits,
    /// Blocks of other pieces that are in the file as well, not verified.
    pub begun: Vec<(u32, u32)>,
    /// The SHA-256 of all of it, if it was all there and somebody wanted to know.
    pub sum: Option<Sha256Sum>,
    keep: Keep,
}

/// What is left to do when all is verified.
enum Keep {
    /// A tmpfs: nothing.
    Ram,
    /// A filesystem that keeps images.
    Cache(cache::Keeper),
    /// A disk: its beginning, which makes it one that boots.
    Device(device::Writing),
}

impl Payload {
    /// The SHA-256 of all that is in it.
    pub async fn sum_up(&self, size: u64, image: &str, report: &Report) -> anyhow::Result<Sha256Sum> {
        if let Some(sum) = self.sum {
            return Ok(sum);
        }
        let (file, head) = (self.file.try_clone()?, self.head.as_ref().map(Head::try_clone).transpose()?);
        let (image, report) = (image.to_owned(), report.clone());
        let work = move || sha256(&file, head.as_ref(), size, |done| report.checking(done, size, &image));
        in_background(work).await.with_context(|| format!("reading {}", self.path.display()))
    }

    /// It is not what it should be: nothing of it stays on a disk. A disk that was written does not begin to boot.
    pub fn discard(&mut self) -> anyhow::Result<()> {
        match &self.keep {
            Keep::Cache(keeper) => keeper.discard(),
            Keep::Ram | Keep::Device(_) => Ok(()),
        }
    }

    /// All pieces are verified and in the file. `writes`: a filesystem on which an overlay is kept is written on.
    pub fn finish(&mut self, writes: &Writes) -> anyhow::Result<()> {
        match &mut self.keep {
            Keep::Ram => {}
            Keep::Cache(keeper) => {
                self.path = keeper.finish(&self.file, !matches!(writes, Writes::Kept(_)))?
            }
            Keep::Device(writing) => writing.finish(&self.file, self.head.as_ref())?,
        }
        Ok(())
    }
}

/// What a payload is made ready for.
pub struct Order<'a> {
    /// Paths.
    pub args: &'a BootArgs,
    /// Targets and overlay.
    pub params: &'a Params,
    /// What will be fetched.
    pub metainfo: &'a Metainfo,
    /// What it is called.
    pub image: &'a str,
    /// Whether its SHA-256 will be asked for.
    pub signed: bool,
    /// Where the server has the image's sums.
    pub sums: Option<Sums<'a>>,
}

/// Where sums are.
#[derive(Clone, Copy)]
pub struct Sums<'a> {
    /// Asks.
    pub client: &'a reqwest::Client,
    /// The .torrent: they are beside it.
    pub torrent: &'a Url,
}

/// What is asked of the server while an image on a disk is made ready.
#[derive(Clone, Default)]
pub struct Online<'a> {
    /// Sums of its blocks.
    pub sums: Option<Sums<'a>>,
    /// Whether it has the image.
    pub source: Option<HttpSource>,
}

impl<'a> Order<'a> {
    fn online(&self) -> Online<'a> {
        let Order { params, metainfo, sums, .. } = *self;
        let may = sums.filter(|_| params.fallback && metainfo.is_whole());
        let source = may.and_then(|s| Some(HttpSource::new(s.client.clone(), payload_url(s.torrent)?)));
        Online { sums, source }
    }
}

/// Take the first target that has room. Why another one has not is said.
pub async fn prepare(
    order: &Order<'_>,
    caches: &mut Caches<'_>,
    report: &Report,
) -> Result<(Plan, Payload), Failure> {
    let memory = fs::read_to_string(&order.args.meminfo)
        .map_err(|e| anyhow!(e))
        .and_then(|t| Memory::parse(&t))
        .step(Exit::Room)?;
    let mut targets = order.params.target.iter().peekable();
    // That the image cannot be had is what decides whether an old version boots.
    let mut cannot_be_had = None;
    loop {
        let target = targets.next().expect("there is at least one target");
        let failure = match one(target, order, caches, memory, report).await {
            Ok(ready) => return Ok(ready),
            Err(failure) => failure,
        };
        match targets.peek() {
            Some(next) => report.warn(&format!("{:#}; taking the next target, {next}", failure.error)),
            None => return Err(cannot_be_had.unwrap_or(failure)),
        }
        if failure.exit == Exit::Swarm {
            cannot_be_had = Some(failure);
        }
    }
}

async fn one(
    target: &Target,
    order: &Order<'_>,
    caches: &mut Caches<'_>,
    memory: Memory,
    report: &Report,
) -> Result<(Plan, Payload), Failure> {
    let Order { args, params, metainfo, image, signed, .. } = *order;
    let plan = target::choose(target, image, metainfo.size(), &params.overlay, memory).step(Exit::Room)?;
    let payload = match &plan.place {
        Place::Ram(size) => ram::prepare(&args.run_dir, *size, metainfo).step(Exit::Storage)?,
        Place::Cache(name) => {
            let cache = caches.open(name, crate::device::PATIENCE).await.step(Exit::Storage)?;
            cache.prepare(metainfo, image, signed, order.online(), report).await?
        }
        Place::Device(disk) => device::prepare(disk, order, report).await?,
    };
    Ok((plan, payload))
}

/// A file of that size, with what is in it already; a new one is sparse. Links are not followed.
fn open_sized(path: &Path, size: u64) -> anyhow::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(path)
        .and_then(|file| file.set_len(size).map(|()| file))
        .with_context(|| format!("creating {}", path.display()))
}

/// Hash what is there, on a thread of its own: it takes seconds or minutes, and heartbeats go on.
async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let (tell, mut told) = tokio::sync::oneshot::channel();
    // Boxed, so that there is one task of one kind: each kind is kilobytes of the agent.
    let work: Box<dyn FnOnce() + Send> = Box::new(move || drop(tell.send(work())));
    tokio::task::spawn_blocking(work).await.context("hashing")?;
    Ok(told.try_recv().context("hashing")??)
}
