// SPDX-License-Identifier: GPL-3.0-or-later
//! Fetches in the daemon: a few at a time, written down, so that a restart goes on with them.

use super::{dirs::FetchDirs, plan::plan, story::fetch, watch::Watch};
use crate::{
    fetch::request::{FetchProgress, FetchRequest, FetchRow, FetchState},
    files,
};
use anyhow::{Context, Result, bail};
use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};
use tokio::sync::Notify;

/// Fetches at once: more only share the same link.
const AT_ONCE: usize = 2;
/// Fetches that wait, at most.
const MAX_ALIVE: usize = 50;
/// Fetches that have ended and are remembered.
const MAX_ENDED: usize = 50;

/// All of them, with the longest that they may say.
const MAX_FILE: usize = 4 << 20;

struct Job {
    row: FetchRow,
    watch: Arc<Watch>,
}

/// All fetches of the daemon.
pub struct Jobs {
    dirs: FetchDirs,
    jobs: Mutex<BTreeMap<u64, Job>>,
    /// Somebody has something to do.
    news: Notify,
}

impl Jobs {
    /// Those that were written down; what was under way is begun again, and goes on where it was.
    pub fn new(dirs: FetchDirs) -> Jobs {
        let jobs = Jobs { dirs, jobs: Mutex::default(), news: Notify::new() };
        let rows: Vec<FetchRow> = match files::read(&jobs.file(), MAX_FILE, "list of fetches") {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|e| {
                tracing::warn!(
                    "{} is damaged, and what was to be fetched is forgotten: {e}",
                    jobs.file().display()
                );
                Vec::new()
            }),
            Err(_) => Vec::new(),
        };
        let most = rows.len().saturating_sub(MAX_ALIVE + MAX_ENDED);
        for mut row in rows.into_iter().skip(most) {
            if row.progress.state.is_alive() {
                row.progress.state = FetchState::Queued;
            }
            jobs.lock().insert(row.id, Job { row, watch: Arc::default() });
        }
        jobs
    }

    fn file(&self) -> PathBuf {
        self.dirs.parts.join("jobs.json")
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Job>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them, the oldest first.
    pub fn list(&self) -> Vec<FetchRow> {
        self.lock().values().map(Job::now).collect()
    }

    /// One more. Errors: too many wait, or it cannot be understood.
    pub fn add(&self, request: FetchRequest) -> Result<FetchRow> {
        let plan = plan(&request, &self.dirs.sources)?;
        if !request.replace {
            self.dirs.catalogue.refuse_taken(&plan.name)?;
        }
        let mut jobs = self.lock();
        let alive = || jobs.values().filter(|j| j.row.progress.state.is_alive());
        if alive().count() >= MAX_ALIVE {
            bail!("{MAX_ALIVE} fetches wait already: cancel some, or try again later");
        }
        if let Some(same) = alive().find(|j| j.row.progress.image.as_ref() == Some(&plan.name)) {
            bail!("'{}' is being fetched already: it is number {}", plan.name, same.row.id);
        }
        let id = jobs.keys().last().map_or(1, |n| n + 1);
        let started = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let progress = FetchProgress { image: Some(plan.name), ..FetchProgress::default() };
        let row = FetchRow { id, request, progress, started, ..FetchRow::default() };
        jobs.insert(id, Job { row: row.clone(), watch: Arc::default() });
        let ended: VecDeque<u64> =
            jobs.iter().filter(|(_, j)| !j.row.progress.state.is_alive()).map(|(id, _)| *id).collect();
        for id in ended.iter().take(ended.len().saturating_sub(MAX_ENDED)) {
            jobs.remove(id);
        }
        self.write(&jobs)?;
        drop(jobs);
        self.news.notify_one();
        Ok(row)
    }

    /// Cancel one that goes on, forget one that has ended.
    pub fn cancel(&self, id: u64) -> Result<()> {
        let mut jobs = self.lock();
        let Some(job) = jobs.get_mut(&id) else { bail!("there is no fetch number {id}") };
        match job.row.progress.state {
            FetchState::Queued => job.row.progress.state = FetchState::Cancelled,
            state if state.is_alive() => job.watch.cancel()?,
            _ => drop(jobs.remove(&id)),
        }
        self.write(&jobs)
    }

    /// Work until the daemon ends. `served` is called when there is a new image.
    pub async fn run(self: Arc<Self>, served: impl Fn() + Send + Sync + 'static) {
        let served = Arc::new(served);
        loop {
            while let Some((id, request, watch)) = self.next() {
                let (jobs, served) = (self.clone(), served.clone());
                tokio::spawn(async move {
                    tracing::info!("fetching {}", request.what);
                    let done = fetch(&jobs.dirs, &request, &watch).await;
                    watch.seen().notes.iter().for_each(|n| tracing::warn!("{}: {n}", request.what));
                    match &done {
                        Ok(added) => {
                            let by =
                                watch.seen().progress.verified.map(|v| format!(" ({v})")).unwrap_or_default();
                            tracing::info!("fetched {}: image {}{by}", request.what, added.manifest.name);
                            if let Some(told) = added.sealed.told() {
                                tracing::info!("image {}: {told}", added.manifest.name);
                            }
                            // Before it is told to be done.
                            served();
                        }
                        Err(e) => tracing::error!("fetching {}: {e:#}", request.what),
                    }
                    jobs.ended(id, done.err());
                });
            }
            self.news.notified().await;
        }
    }

    /// The next one that may begin.
    fn next(&self) -> Option<(u64, FetchRequest, Arc<Watch>)> {
        let mut jobs = self.lock();
        let running = jobs
            .values()
            .filter(|j| j.row.progress.state.is_alive() && j.row.progress.state != FetchState::Queued)
            .count();
        if running >= AT_ONCE {
            return None;
        }
        let (id, job) = jobs.iter_mut().find(|(_, j)| j.row.progress.state == FetchState::Queued)?;
        job.row.progress.state = FetchState::Fetching;
        job.watch.state(FetchState::Fetching);
        Some((*id, job.row.request.clone(), job.watch.clone()))
    }

    fn ended(&self, id: u64, e: Option<anyhow::Error>) {
        let mut jobs = self.lock();
        if let Some(job) = jobs.get_mut(&id) {
            job.row = job.now();
            job.row.progress.rate = 0;
            job.row.progress.state = match &e {
                None => FetchState::Done,
                Some(_) if job.watch.is_cancelled() => FetchState::Cancelled,
                Some(_) => FetchState::Failed,
            };
            job.row.error = e.map(|e| bootspec::text::printable(&format!("{e:#}"), 1000));
        }
        if let Err(e) = self.write(&jobs) {
            tracing::error!("{e:#}");
        }
        drop(jobs);
        self.news.notify_one();
    }

    fn write(&self, jobs: &BTreeMap<u64, Job>) -> Result<()> {
        let rows: Vec<&FetchRow> = jobs.values().map(|j| &j.row).collect();
        files::make_dirs(&self.dirs.parts)?;
        let rows = serde_json::to_vec_pretty(&rows).context("writing the fetches as JSON")?;
        files::replace(&self.file(), &rows, 0o644)
    }
}

impl Job {
    fn now(&self) -> FetchRow {
        let mut row = self.row.clone();
        if row.progress.state.is_alive() && row.progress.state != FetchState::Queued {
            let progress = self.watch.seen().progress;
            let image = progress.image.clone().or(row.progress.image);
            row.progress = FetchProgress { image, ..progress };
        }
        row
    }
}
