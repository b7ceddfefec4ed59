// SPDX-License-Identifier: GPL-3.0-or-later
//! While the root is in use and not complete: reads are answered as pieces come, and the console hears of it when they do
//! not.

use super::{file::Stream, guard::Guard, keeper::Keeper, serve::Serve};
use crate::{
    download::{Wrong, nobody_sends},
    report::Report,
};
use anyhow::Context;
use bootspec::units::human_time;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use swarm::Torrent;
use tokio::task::JoinHandle;

/// A read has waited for so long: say so, and again after as long.
const SAY_WAITING: Duration = Duration::from_secs(10);
/// The change takes fractions of a second, unless a read was lost.
const CHANGE: Duration = Duration::from_secs(60);

/// What watching takes.
pub struct Watch {
    /// What comes.
    pub torrent: Arc<Torrent>,
    /// Give up when nothing has come for this long, until the root is mounted. Afterwards, keep waiting.
    pub patience: Option<Duration>,
    /// The image's name, for people.
    pub image: String,
    /// Hears of it.
    pub report: Report,
}

/// A stream that is watched.
pub struct Streaming {
    /// The stream.
    pub stream: Stream,
    guard: Guard,
    /// As soon as the root is mounted.
    keeper: Option<Keeper>,
    rooted: Arc<AtomicBool>,
    feeding: JoinHandle<()>,
    watching: JoinHandle<()>,
    report: Report,
}

impl Watch {
    /// Begin. `keeper`: it has started this process, and the root is mounted.
    pub fn over(self, stream: Stream, keeper: Option<Keeper>) -> Streaming {
        let (rooted, report) = (Arc::new(AtomicBool::new(keeper.is_some())), self.report.clone());
        let guard = Guard::new(keeper.is_none(), &report);
        let (demand, serve) = (self.torrent.demand(), stream.serve.clone());
        let feeding = tokio::spawn(async move {
            loop {
                demand.arrived().await;
                serve.look();
            }
        });
        let watching = tokio::spawn(self.watch(stream.serve.clone(), rooted.clone()));
        Streaming { stream, guard, keeper, rooted, feeding, watching, report }
    }

    /// Returns when all is here, or nothing more will come.
    async fn watch(self, serve: Arc<Serve>, rooted: Arc<AtomicBool>) {
        let Watch { torrent, patience, image, report } = self;
        let (mut have, mut since, mut said) = (0, Instant::now(), Instant::now());
        let mut wrong = Wrong::default();
        report.progress(&torrent.progress(), &image);
        while !torrent.complete() {
            if let Some(error) = torrent.error() {
                let last = error.lines().next().unwrap_or_default();
                return serve.give_up(format!("the image could not be written: {last}"));
            }
            let progress = torrent.next_progress().await;
            report.progress(&progress, &image);
            wrong.tell(&torrent, &image, &report);
            if progress.have != have {
                (have, since) = (progress.have, Instant::now());
            }
            let still = since.elapsed();
            if !rooted.load(Ordering::Relaxed) && patience.is_some_and(|limit| still >= limit) {
                return serve.give_up(nobody_sends(&image, still, &progress));
            }
            let waited = serve.waited().filter(|w| *w >= SAY_WAITING && said.elapsed() >= SAY_WAITING);
            if let Some(waited) = waited {
                said = Instant::now();
                report.warn(&format!(
                    "a read of {image} has waited {} for a piece, {} peers: it goes on when somebody sends it",
                    human_time(waited),
                    progress.peers
                ));
            }
        }
        report.progress(&torrent.progress(), &image);
    }
}

impl Streaming {
    /// The root is mounted: whoever reads it has it open.
    pub fn rooted(&mut self) -> anyhow::Result<()> {
        self.rooted.store(true, Ordering::Relaxed);
        self.stream.hide()
    }

    /// From now on this process may die: a keeper starts another, in `run`.
    pub fn keep(&mut self, run: &Path, kmsg: &Path) -> anyhow::Result<()> {
        let held = self.stream.held(kmsg).context("sharing files with the keeper")?;
        self.keeper = Some(Keeper::start(held, run, &self.report)?);
        Ok(())
    }

    /// It is not used after all.
    pub fn close(self) {
        self.feeding.abort();
        self.watching.abort();
        self.stream.close();
    }

    /// Returns when the root no longer depends on this process; never, if it always will.
    pub async fn finish(self) {
        let Streaming { stream, guard, keeper, feeding, watching, report, .. } = self;
        let _ = watching.await;
        if let Some(why) = stream.end() {
            report.warn(&format!("{why}: what is missing of the root cannot be read"));
            return std::future::pending().await;
        }
        let begun = Instant::now();
        let mut changing = tokio::task::spawn_blocking(move || stream.change());
        let changed = match tokio::time::timeout(CHANGE, &mut changing).await {
            Ok(changed) => changed,
            Err(_) => {
                report.warn(
                    "the loop device is not on the complete image yet: waiting for a read that is under way",
                );
                changing.await
            }
        };
        let failed = match changed {
            Ok(Ok(())) => {
                feeding.abort();
                let _ = tokio::task::spawn_blocking(|| keeper.map(Keeper::dismiss)).await;
                drop(guard);
                report.info(&format!(
                    "the image is complete: the root depends on nobody any more (changed in {} ms)",
                    begun.elapsed().as_millis()
                ));
                return;
            }
            Ok(Err(e)) => format!("{e:#}"),
            Err(e) => e.to_string(),
        };
        report.warn(&format!("{failed}: the root is read through this process until the machine ends"));
        std::future::pending().await
    }
}
