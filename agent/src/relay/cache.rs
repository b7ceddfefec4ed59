// SPDX-License-Identifier: GPL-3.0-or-later
//! Files in RAM, each fetched once from the server and given to many while it comes.

use anyhow::{Context, Result, bail, ensure};
use bootspec::units::human_size;
use bytes::Bytes;
use reqwest::Response;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore, watch};
use url::Url;

/// How long a file is given before the server is asked again: what it makes anew is here a minute later at the most.
const FRESH: Duration = Duration::from_secs(60);
/// Files at once that are being asked for, or here: strangers cannot have the server asked for more.
const MANY: usize = 64;
/// The server packs an initrd in so much time, or not at all.
const PATIENCE: Duration = Duration::from_secs(10);

/// A file that is here, or on its way.
pub struct Coming {
    /// Its bytes.
    pub size: u64,
    came: watch::Sender<Came>,
    /// Its part of the RAM, as long as somebody has the file.
    _space: OwnedSemaphorePermit,
}

/// What has come of it.
#[derive(Default)]
struct Came {
    parts: Vec<Bytes>,
    /// Whether that was all; `false`: the server has stopped in the middle.
    over: Option<bool>,
}

impl Coming {
    /// Wait for the part with this number. None: the file is complete and has fewer parts.
    pub async fn part(&self, number: usize) -> Result<Option<Bytes>> {
        let mut seen = self.came.subscribe();
        let came = seen.wait_for(|c| c.over.is_some() || c.parts.len() > number).await?;
        match came.parts.get(number) {
            Some(part) => Ok(Some(part.clone())),
            None if came.over == Some(true) => Ok(None),
            None => bail!("the server has stopped in the middle"),
        }
    }

    async fn fetch(self: Arc<Self>, mut response: Response) {
        let mut got = 0;
        let over = loop {
            match response.chunk().await {
                Ok(Some(part)) if got + part.len() as u64 <= self.size => {
                    got += part.len() as u64;
                    self.came.send_modify(|came| came.parts.push(part));
                }
                Ok(None) => break got == self.size,
                _ => break false,
            }
        };
        self.came.send_modify(|came| came.over = Some(over));
    }

    fn failed(&self) -> bool {
        self.came.borrow().over == Some(false)
    }

    fn is_coming(&self) -> bool {
        self.came.borrow().over.is_none()
    }
}

/// A file that somebody wants.
struct Wanted {
    target: String,
    file: Arc<OnceCell<Arc<Coming>>>,
    since: Instant,
    used: Instant,
}

impl Wanted {
    /// Whether it is not coming, and nobody waits for that.
    fn is_idle(&self) -> bool {
        match self.file.get() {
            Some(file) => !file.is_coming(),
            None => Arc::strong_count(&self.file) == 1,
        }
    }
}

/// Why a file is not given.
pub enum Refused {
    /// The server says no, with this status.
    No(u16),
    /// It cannot be had now.
    Trouble(anyhow::Error),
}

/// The files.
pub struct Cache {
    server: Url,
    client: reqwest::Client,
    /// RAM for all files, in KiB.
    space: Arc<Semaphore>,
    files: Mutex<Vec<Wanted>>,
}

impl Cache {
    /// What this server has, in at most `limit` bytes.
    pub fn new(server: Url, client: reqwest::Client, limit: u64) -> Self {
        let space = usize::try_from(limit >> 10).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { server, client, space: Arc::new(Semaphore::new(space)), files: Mutex::default() }
    }

    fn files(&self) -> MutexGuard<'_, Vec<Wanted>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file, from its first byte on. Whoever asks first has it fetched.
    pub async fn get(&self, target: &str) -> Result<Arc<Coming>, Refused> {
        let wanted = self.wanted(target, Instant::now()).map_err(Refused::Trouble)?;
        wanted.get_or_try_init(|| self.begin(target)).await.cloned()
    }

    fn wanted(&self, target: &str, now: Instant) -> Result<Arc<OnceCell<Arc<Coming>>>> {
        let mut files = self.files();
        files.retain(|w| {
            let stale = now.saturating_duration_since(w.since) >= FRESH;
            !(w.is_idle() && (stale || w.file.get().is_none_or(|f| f.failed())))
        });
        if let Some(known) = files.iter_mut().find(|w| w.target == target) {
            known.used = now;
            return Ok(known.file.clone());
        }
        if files.len() >= MANY {
            ensure!(forget_oldest(&mut files), "{MANY} files are being asked for");
        }
        let file = Arc::default();
        files.push(Wanted { target: target.to_owned(), file: Arc::clone(&file), since: now, used: now });
        Ok(file)
    }

    /// Ask the server for a file.
    async fn begin(&self, target: &str) -> Result<Arc<Coming>, Refused> {
        let url = self.server.join(target).context("its address").map_err(Refused::Trouble)?;
        let asked = tokio::time::timeout(PATIENCE, self.client.get(url).send()).await;
        let trouble = |e: anyhow::Error| Refused::Trouble(e.context("the server"));
        let response = asked.map_err(|e| trouble(e.into()))?.map_err(|e| trouble(e.into()))?;
        if response.status() != 200 {
            return Err(Refused::No(response.status().as_u16()));
        }
        let size = response.content_length().context("it has no length").map_err(trouble)?;
        let space = self.make_room(size).map_err(Refused::Trouble)?;
        let coming = Arc::new(Coming { size, came: watch::Sender::default(), _space: space });
        tokio::spawn(coming.clone().fetch(response));
        Ok(coming)
    }

    fn make_room(&self, size: u64) -> Result<OwnedSemaphorePermit> {
        let kib = u32::try_from(size.div_ceil(1024)).unwrap_or(u32::MAX);
        let mut files = self.files();
        loop {
            if let Ok(space) = self.space.clone().try_acquire_many_owned(kib) {
                return Ok(space);
            }
            if !forget_oldest(&mut files) {
                bail!(
                    "the file has {}, which do not fit into the RAM of boottorrent.relay=",
                    human_size(size)
                );
            }
        }
    }
}

/// Forget what was asked for least recently. `false`: all of them are coming.
fn forget_oldest(files: &mut Vec<Wanted>) -> bool {
    let idle = files.iter().enumerate().filter(|(_, w)| w.is_idle());
    let oldest = idle.min_by_key(|(_, w)| w.used).map(|(at, _)| at);
    oldest.is_some_and(|at| {
        files.swap_remove(at);
        true
    })
}
