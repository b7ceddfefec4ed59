// SPDX-License-Identifier: GPL-3.0-or-later
//! Wrong pieces: they are fetched again, and who has sent them is found and asked no more.

use crate::{
    plan::{Changes, PeerKey, Sent, Sum},
    torrent::{Shared, State},
};
use librqbit_peer_protocol::Request;
use std::{collections::HashMap, net::IpAddr, sync::atomic::Ordering};

/// Peers that are gone, and have sent something of a piece that is not verified yet.
const MAX_LEFT: usize = 256;

impl Shared {
    /// A piece was wrong, and all of it is still in the file.
    pub(crate) fn wrong(&self, piece: u32) {
        tracing::debug!("piece {piece} is wrong");
        self.counters.wrong.fetch_add(1, Ordering::Relaxed);
        let sent = self.state().picker.sent(piece);
        // Before others are asked for it, and write over it.
        let sums = self.sums(piece, sent.iter().map(|s| s.0));
        let mut guard = self.state();
        guard.picker.failed(piece);
        self.accuse(&mut guard, piece, &sent, &sums);
        guard.conns.values().for_each(|c| c.look());
    }

    /// Blocks of a piece that another source than peers is about to fetch whole, since they, or others, are wrong.
    pub(crate) fn doubt(&self, piece: u32, sent: &[(u32, PeerKey)]) {
        let sums = self.sums(piece, sent.iter().map(|s| s.0));
        self.accuse(&mut self.state(), piece, sent, &sums);
    }

    fn accuse(&self, state: &mut State, piece: u32, sent: &[(u32, PeerKey)], sums: &HashMap<u32, Sum>) {
        let known = |&(block, key): &(u32, PeerKey)| {
            let by = state.address(key)?;
            Some(Sent { block, by, sum: *sums.get(&block)? })
        };
        let sent: Vec<Sent> = sent.iter().filter_map(known).collect();
        if let Some(guilty) = state.blame.wrong(piece, self.store.layout().blocks(piece), sent) {
            return self.convict(state, guilty);
        }
        let suspects: Vec<PeerKey> =
            state.conns.values().filter(|c| state.blame.suspects(c.ip())).map(|c| c.key).collect();
        let changes = state.picker.suspect(suspects);
        self.carry_out(state, changes);
    }

    /// A piece is right: if it was wrong before, it tells who was to blame.
    pub(crate) fn right(&self, piece: u32) {
        let asked = self.state().blame.asks(piece);
        if asked.is_empty() {
            return;
        }
        let sums = self.sums(piece, asked.into_iter());
        let mut guard = self.state();
        let state = &mut *guard;
        for guilty in state.blame.right(piece, &sums) {
            self.convict(state, guilty);
        }
        let (blame, conns) = (&state.blame, &state.conns);
        state.picker.trust(|key| conns.get(&key).is_none_or(|c| !blame.suspects(c.ip())));
    }

    /// Whoever it was, it is banned, unless this was an accident, or our own memory is in doubt.
    fn convict(&self, state: &mut State, who: IpAddr) {
        let before = state.record.is_banned(who, self.now());
        if !state.record.wrong(who, self.now()) {
            tracing::debug!("{who} has sent a wrong piece, or our memory has made it wrong");
            return;
        }
        // Pieces that were verified meanwhile lengthen a ban, and are no other one.
        if !before {
            tracing::debug!("{who} has sent wrong pieces: banned");
        }
        let theirs: Vec<PeerKey> = state.conns.values().filter(|c| c.ip() == who).map(|c| c.key).collect();
        let gone = state.left.iter().filter(|(_, ip)| **ip == who).map(|(key, _)| *key);
        for key in theirs.iter().copied().chain(gone.collect::<Vec<_>>()) {
            let changes = state.picker.disown(key);
            self.carry_out(state, changes);
        }
        theirs.iter().filter_map(|k| state.conns.get(k)).for_each(|c| c.end.cancel());
    }

    fn carry_out(&self, state: &State, changes: Changes) {
        for (key, order) in &changes.less {
            if let Some(conn) = state.conns.get(key) {
                conn.cancel(self.requests(order));
                conn.look();
            }
        }
        for (key, order) in &changes.more {
            if let Some(conn) = state.conns.get(key) {
                conn.ask(self.requests(order).collect::<Vec<Request>>().into_iter());
            }
        }
    }

    /// SHA-1 of blocks as they are in the file. One that cannot be read accuses nobody.
    fn sums(&self, piece: u32, blocks: impl Iterator<Item = u32>) -> HashMap<u32, Sum> {
        blocks.filter_map(|b| Some((b, self.store.block_sum(piece, b).ok()?))).collect()
    }
}

impl State {
    /// Where a peer is, or was.
    fn address(&self, key: PeerKey) -> Option<IpAddr> {
        self.conns.get(&key).map(|c| c.ip()).or_else(|| self.left.get(&key).copied())
    }

    /// A piece is right: that speaks for those who have sent it.
    pub(crate) fn credit(&mut self, piece: u32) {
        let mut senders: Vec<IpAddr> =
            self.picker.sent(piece).into_iter().filter_map(|(_, key)| self.address(key)).collect();
        senders.sort_unstable();
        senders.dedup();
        senders.into_iter().for_each(|ip| self.record.right(ip));
    }

    /// A peer is gone: what it has sent may still turn out to be wrong.
    pub(crate) fn remember(&mut self, key: PeerKey, ip: IpAddr) {
        if !self.picker.has_sent(key) {
            return;
        }
        if self.left.len() >= MAX_LEFT {
            let picker = &self.picker;
            self.left.retain(|key, _| picker.has_sent(*key));
        }
        if self.left.len() < MAX_LEFT {
            self.left.insert(key, ip);
        }
    }
}
