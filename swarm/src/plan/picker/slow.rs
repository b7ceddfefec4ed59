// SPDX-License-Identifier: GPL-3.0-or-later
//! Peers that are slow, behind a narrow link perhaps, by the pace of the pieces that each has sent alone.

use super::{Peer, Picker};
use crate::plan::{BLOCK, PeerKey};
use std::time::Duration;

/// A peer is slow, behind a narrow link perhaps, when a piece takes it so many times as long as the quicker ones.
const SLOW: f64 = 8.0;
/// No piece is counted as quicker: what comes in one burst says nothing about the way, and
/// peers that are only busier than others are not behind a narrow link.
const BURST: Duration = Duration::from_millis(100);
/// How often peers are compared.
const LOOKED: Duration = Duration::from_millis(250);
/// Peers whose pace is known, before any of them is called slow.
const COMPARABLE: usize = 4;

impl Picker {
    pub(super) fn is_slow(&mut self, key: PeerKey, now: Duration) -> bool {
        let pace = self.quick_pace(now);
        self.peers.get(&key).is_some_and(|p| p.is_slow(pace))
    }

    pub(super) fn slow_asked(&mut self, now: Duration) -> u32 {
        let pace = self.quick_pace(now);
        self.peers.values().filter(|p| p.is_slow(pace)).map(|p| p.asked).sum()
    }

    /// The lower quartile: half of the peers may be behind the same narrow link. 0: not known yet.
    pub(super) fn quick_pace(&mut self, now: Duration) -> f64 {
        if now.saturating_sub(self.pace.1) >= LOOKED {
            let known = self.peers.values().filter(|p| !p.server && p.pace > 0.0);
            let mut all: Vec<f64> = known.map(|p| p.pace).collect();
            all.sort_by(f64::total_cmp);
            self.pace = (if all.len() < COMPARABLE { 0.0 } else { all[all.len() / 4] }, now);
        }
        self.pace.0
    }

    /// A peer alone has sent a piece, in this time.
    pub(super) fn timed(&mut self, key: PeerKey, took: Duration, piece: u32) {
        let len = self.layout.len(piece);
        let Some(peer) = self.peers.get_mut(&key).filter(|_| len > BLOCK) else { return };
        let pace = took.max(BURST).as_secs_f64() / f64::from(len - BLOCK);
        peer.pace = if peer.pace == 0.0 { pace } else { peer.pace * 0.7 + pace * 0.3 };
    }
}

impl Peer {
    pub(super) fn is_slow(&self, quick: f64) -> bool {
        !self.server && quick > 0.0 && self.pace > quick * SLOW
    }
}
