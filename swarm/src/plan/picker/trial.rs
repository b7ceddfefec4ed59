// SPDX-License-Identifier: GPL-3.0-or-later
//! After a wrong piece that several peers had part in: from whom the next ones come, so that it
//! soon is known who was to blame, and no more than a piece or two are wrong until then.
//!
//! The wrong piece is asked of one peer alone (it is *tried*), and so is everything else of those who
//! are suspected. Who then sends a wrong piece is guilty; and the right piece
//! tells whose blocks of the wrong one were others (see [`super::super::Blame`]).

use super::{Changes, Order, Picker};
use crate::plan::{PeerKey, flight::Flight};

fn order(piece: u32, blocks: Vec<u32>) -> Order {
    Order { piece, blocks, instead_of: None }
}

impl Picker {
    /// These peers have had part in a wrong piece: from now on a piece is asked of one of them alone.
    pub fn suspect(&mut self, keys: impl IntoIterator<Item = PeerKey>) -> Changes {
        self.suspects.extend(keys.into_iter().filter(|k| self.peers.contains_key(k)));
        let mut changes = Changes::default();
        for (piece, flight) in self.flights.iter_mut().filter(|(_, f)| f.missing > 0 && !f.alone) {
            let part = |k: &PeerKey| self.suspects.contains(k);
            if !flight.holders.iter().any(part) && !flight.senders.iter().any(part) {
                continue;
            }
            flight.alone = true;
            // Who has done most of it goes on; what others have sent comes again.
            let keep = flight.holders.iter().copied().max_by_key(|k| flight.share(*k));
            let missing = flight.missing();
            for other in flight.holders.iter().filter(|k| Some(**k) != keep) {
                if let Some(peer) = self.peers.get_mut(other) {
                    peer.asked = peer.asked.saturating_sub(flight.missing);
                }
                changes.less.push((*other, order(*piece, missing.clone())));
            }
            flight.holders.retain(|k| Some(*k) == keep);
            let again = flight.purge(|by| keep.is_some() && by == keep);
            if let (Some(key), false) = (keep, again.is_empty()) {
                if let Some(peer) = self.peers.get_mut(&key) {
                    peer.asked += again.len() as u32;
                }
                changes.more.push((key, order(*piece, again)));
            }
        }
        changes
    }

    /// These peers are suspected no longer.
    pub fn trust(&mut self, trusted: impl Fn(PeerKey) -> bool) {
        self.suspects.retain(|k| !trusted(*k));
    }

    /// A peer is guilty: what it has sent of unfinished pieces is asked of those who are at them too. It is
    /// gone soon ([`Picker::leave`]).
    pub fn disown(&mut self, key: PeerKey) -> Changes {
        self.drop_flights(key);
        if let Some(peer) = self.peers.get_mut(&key) {
            (peer.asked, peer.choking) = (0, true);
        }
        let mut changes = Changes::default();
        for (piece, flight) in self.flights.iter_mut().filter(|(_, f)| f.missing > 0) {
            let again = flight.purge(|by| by != Some(key));
            for holder in flight.holders.iter().filter(|_| !again.is_empty()) {
                if let Some(peer) = self.peers.get_mut(holder) {
                    peer.asked += again.len() as u32;
                }
                changes.more.push((*holder, order(*piece, again.clone())));
            }
        }
        changes
    }

    /// Who has sent which blocks of a piece.
    pub fn sent(&self, piece: u32) -> Vec<(u32, PeerKey)> {
        self.flights.get(&piece).map_or_else(Vec::new, Flight::sent)
    }

    /// Whether a peer, gone perhaps, has sent something of a piece that is not verified yet.
    pub fn has_sent(&self, key: PeerKey) -> bool {
        self.flights.values().any(|f| f.senders.contains(&key))
    }

    /// Whether a piece is asked of one peer only.
    pub(super) fn is_tried(&self, piece: u32, key: PeerKey) -> bool {
        let suspected = |f: &Flight| f.alone || f.senders.iter().any(|k| self.suspects.contains(k));
        self.suspects.contains(&key)
            || self.tried.contains(&piece)
            || self.flights.get(&piece).is_some_and(suspected)
    }
}
