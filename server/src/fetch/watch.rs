// SPDX-License-Identifier: GPL-3.0-or-later
//! How a fetch is doing: told by who works, looked at by who waits.

use crate::fetch::request::{FetchProgress, FetchState};
use anyhow::{Result, bail};
use bootspec::ImageName;
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// How far back the rate looks.
const WINDOW: Duration = Duration::from_secs(1);

/// One fetch, seen from both sides.
pub struct Watch {
    seen: Mutex<FetchStatus>,
    cancel: watch::Sender<bool>,
}

/// How it is.
#[derive(Clone, Debug, Default)]
pub struct FetchStatus {
    /// How far it is.
    pub progress: FetchProgress,
    /// What else the admin should hear, in order.
    pub notes: Vec<String>,
    pub(crate) since: Option<(Instant, u64)>,
}

impl Default for Watch {
    fn default() -> Self {
        Watch { seen: Mutex::default(), cancel: watch::channel(false).0 }
    }
}

impl Watch {
    fn lock(&self) -> MutexGuard<'_, FetchStatus> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it is now.
    pub fn seen(&self) -> FetchStatus {
        self.lock().clone()
    }

    /// It goes on with another step.
    pub fn state(&self, state: FetchState) {
        let mut seen = self.lock();
        (seen.progress.state, seen.progress.rate, seen.since) = (state, 0, None);
    }

    /// What it becomes.
    pub fn image(&self, name: &ImageName) {
        self.lock().progress.image = Some(name.clone());
    }

    /// So many bytes are here.
    pub fn have(&self, have: u64, total: Option<u64>) {
        let (mut seen, now) = (self.lock(), Instant::now());
        (seen.progress.have, seen.progress.total) = (have, total);
        let Some((since, before)) = seen.since else {
            seen.since = Some((now, have));
            return;
        };
        let time = now - since;
        if time >= WINDOW {
            let rate = (have.saturating_sub(before) as f64 / time.as_secs_f64()) as u64;
            // What was before counts a little: a rate that jumps cannot be read.
            let old = seen.progress.rate;
            seen.progress.rate = if old == 0 { rate } else { (old + 3 * rate) / 4 };
            seen.since = Some((now, have));
        }
    }

    /// So many peers help.
    pub fn peers(&self, peers: u32) {
        self.lock().progress.peers = peers;
    }

    /// What its genuineness rests on.
    pub fn verified(&self, by: String) {
        self.lock().progress.verified = Some(by);
    }

    /// Something that the admin should hear.
    pub fn note(&self, text: String) {
        let mut seen = self.lock();
        if seen.notes.len() < 50 && !seen.notes.contains(&text) {
            seen.notes.push(text);
        }
    }

    /// End it. Errors: it is too late.
    pub fn cancel(&self) -> Result<()> {
        if self.lock().progress.state == FetchState::Importing {
            bail!("it is here, and becomes an image just now: remove the image afterwards");
        }
        self.cancel.send_replace(true);
        Ok(())
    }

    /// Whether it was told to end.
    pub fn is_cancelled(&self) -> bool {
        *self.cancel.borrow()
    }

    /// Comes when it is told to end.
    pub async fn cancelled(&self) {
        let mut told = self.cancel.subscribe();
        // The sender lives as long as we do.
        let _ = told.wait_for(|c| *c).await;
    }
}
