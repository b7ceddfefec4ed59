// SPDX-License-Identifier: GPL-3.0-or-later
//! A seeder's payload is hashed piece by piece as machines ask for it, so that a server seeds at once after a power
//! cut, however large its images are. No piece is sent that has not been hashed since the program started. What nobody
//! asks for is hashed in the background: a payload that is not what its torrent says is found soon.

use crate::torrent::Shared;
use anyhow::{Context, ensure};
use std::{sync::Arc, time::Instant};
use tokio::{task::spawn_blocking, time::sleep};

impl Shared {
    /// Returns when a piece has been hashed. Errors: it is wrong, or cannot be read, and nothing more is seeded.
    pub(crate) async fn vouch(self: &Arc<Self>, piece: u32) -> anyhow::Result<()> {
        if !self.unhashed.lock().has(piece) {
            return Ok(());
        }
        let this = self.clone();
        let right = spawn_blocking(move || this.store.verify(piece)).await.context("hashing the payload")?;
        let checked = right.context("reading the payload").and_then(|right| {
            ensure!(right, "the payload does not match its torrent (piece {piece})");
            Ok(())
        });
        match &checked {
            Ok(()) => drop(self.unhashed.lock().remove(piece)),
            Err(e) => self.give_up(format!("{e:#}")),
        }
        checked
    }

    /// Hash what nobody has asked for, no more than half of the time.
    pub(crate) async fn vouch_for_all(self: Arc<Self>) {
        for piece in 0..self.store.layout().pieces() {
            let began = Instant::now();
            if self.setup.end.is_cancelled() || self.vouch(piece).await.is_err() {
                return;
            }
            sleep(began.elapsed()).await;
        }
        tracing::debug!("all of the payload is hashed");
    }
}
