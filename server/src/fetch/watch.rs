// SPDX-License-Identifier: GPL-3.0-or-later
//! How a fetch is doing: told by who works, looked at by who waits.

use crate::fetch::request::{FetchRow, FetchState};
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
    /// Where it is.
    pub state: FetchState,
    /// The image that it becomes.
    pub image: Option<ImageName>,
    /// Bytes that are here.
    pub have: u64,
    /// Bytes that there are.
    pub total: Option<u64>,
    /// Bytes a second.
    pub rate: u64,
    /// Peers.
    pub peers: u32,
    /// What its genuineness rests on.
    pub verified: Option<String>,
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
        (seen.state, seen.rate, seen.since) = (state, 0, None);
    }

    /// What it becomes.
    pub fn image(&self, name: &ImageName) {
        self.lock().image = Some(name.clone());
    }

    /// So many bytes are here.
    pub fn have(&self, have: u64, total: Option<u64>) {
        let (mut seen, now) = (self.lock(), Instant::now());
        (seen.have, seen.total) = (have, total);
        let Some((since, before)) = seen.since else {
            seen.since = Some((now, have));
            return;
        };
        let time = now - since;
        if time >= WINDOW {
            let rate = (have.saturating_sub(before) as f64 / time.as_secs_f64()) as u64;
            // What was before counts a little: a rate that jumps cannot be read.
            seen.rate = if seen.rate == 0 { rate } else { (seen.rate + 3 * rate) / 4 };
            seen.since = Some((now, have));
        }
    }

    /// So many peers help.
    pub fn peers(&self, peers: u32) {
        self.lock().peers = peers;
    }

    /// What its genuineness rests on.
    pub fn verified(&self, by: String) {
        self.lock().verified = Some(by);
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
        if self.lock().state == FetchState::Importing {
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

impl FetchStatus {
    /// Into a row of the API.
    pub fn fill(self, row: &mut FetchRow) {
        row.state = self.state;
        row.image = self.image.or(row.image.take());
        (row.have, row.total, row.rate, row.peers) = (self.have, self.total, self.rate, self.peers);
        row.verified = self.verified;
    }
}
