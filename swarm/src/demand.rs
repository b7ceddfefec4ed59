// SPDX-License-Identifier: GPL-3.0-or-later
//! A payload that is read before it is complete: what of it can be read, and what is waited for.

use crate::torrent::Shared;
use std::{ops::Range, sync::Arc};

/// A reader's side of a torrent. Cheap to clone; usable from any thread.
#[derive(Clone)]
pub struct Demand(pub(crate) Arc<Shared>);

impl Demand {
    /// Whether these bytes of the payload are verified and in its file.
    pub fn has(&self, bytes: &Range<u64>) -> bool {
        let pieces = self.pieces(bytes);
        let state = self.0.state();
        pieces.into_iter().all(|p| state.picker.have().has(p))
    }

    /// Somebody waits for these bytes: what is missing of them goes before everything else.
    pub fn want(&self, bytes: &Range<u64>) {
        let (pieces, now) = (self.pieces(bytes), self.0.now());
        let conns: Vec<_> = {
            let mut state = self.0.state();
            pieces.into_iter().for_each(|p| state.picker.want(p, now));
            state.conns.values().cloned().collect()
        };
        conns.iter().for_each(|c| self.0.want_from(c));
        self.0.wanted_now.notify_one();
    }

    /// Returns after a piece was verified, at once if one was since the last call. For one caller at a time.
    pub async fn arrived(&self) {
        self.0.arrived.notified().await;
    }

    /// Whether all is here.
    pub fn complete(&self) -> bool {
        self.0.complete()
    }

    fn pieces(&self, bytes: &Range<u64>) -> Range<u32> {
        let (layout, payload) = (self.0.store.layout(), self.0.setup.metainfo.payload());
        let end = payload.start.saturating_add(bytes.end).min(payload.end);
        let start = payload.start.saturating_add(bytes.start);
        if start >= end { 0..0 } else { layout.piece_at(start)..layout.piece_at(end - 1) + 1 }
    }
}
