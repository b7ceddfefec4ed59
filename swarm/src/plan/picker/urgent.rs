// SPDX-License-Identifier: GPL-3.0-or-later
//! Pieces that a reader waits for, since the root is in use before it is complete: they go before all others, are asked
//! of two peers at once, and soon of another source. Nothing else is asked for while one of them is under way, and
//! little for a while after: it would stand before the next one in the peers' queues and on a narrow link. What lies
//! behind them is likely to be read next, and is fetched before what is rare.

use super::{HOLDERS, Picker, Reserved};
use crate::plan::{BLOCK, Bits, PeerKey, wanted::Piece};
use std::time::Duration;

/// Peers have had their time: the other source is asked too.
const PATIENCE: Duration = Duration::from_secs(1);
/// For so long other pieces stand back for one that does not come.
const STAND_BACK: Duration = Duration::from_secs(2);
/// Who has read something reads more within this time.
const LATELY: Duration = Duration::from_secs(2);
/// What is asked for meanwhile, as time that it takes to come, and at least so many blocks.
const QUEUED: Duration = Duration::from_millis(60);
const LEAST: u32 = 16;
/// Pieces behind one that is read, which are fetched next, and how many of them are remembered.
const AHEAD: u32 = 3;
const REMEMBERED: usize = 64;

impl Picker {
    /// A reader waits for a piece.
    pub fn want(&mut self, piece: u32, now: Duration) {
        if piece >= self.layout.pieces() || self.have.has(piece) || self.unwanted.has(piece) {
            return;
        }
        let urgent = &mut self.urgent;
        urgent.last = Some(now);
        if urgent.pieces.iter().all(|p| p.piece != piece) {
            urgent.pieces.push(Piece { piece, since: now, elsewhere: false });
        }
        for next in (piece + 1..self.layout.pieces()).take(AHEAD as usize) {
            if !urgent.soon.contains(&next) {
                urgent.soon.push_back(next);
            }
        }
        while urgent.soon.len() > REMEMBERED {
            urgent.soon.pop_front();
        }
    }

    /// The first piece that is waited for and that this peer can be asked for.
    pub(super) fn urgent_of(&mut self, key: PeerKey, now: Duration) -> Option<u32> {
        if self.urgent.pieces.is_empty() || self.is_slow(key, now) {
            return None;
        }
        let peer = self.peers.get(&key).filter(|p| !p.choking)?;
        let free = |piece: u32| match self.flights.get(&piece) {
            None => !self.flying.has(piece),
            Some(f) if self.is_tried(piece, key) || f.alone => f.holders.is_empty() && f.missing > 0,
            Some(f) => f.missing > 0 && f.holders.len() < HOLDERS && !f.holders.contains(&key),
        };
        self.urgent.pieces.iter().map(|p| p.piece).find(|p| peer.has.has(*p) && free(*p))
    }

    /// Whether one is under way, for which others stand back.
    pub(super) fn is_waited_for(&self, now: Duration) -> bool {
        let under_way = |p: &Piece| p.elsewhere || self.flights.contains_key(&p.piece);
        self.urgent.pieces.iter().any(|p| now.saturating_sub(p.since) < STAND_BACK && under_way(p))
    }

    /// Whether there are readers who do not wait for a complete payload.
    pub(super) fn read_lately(&self, now: Duration) -> bool {
        self.urgent.last.is_some_and(|t| now.saturating_sub(t) < LATELY)
    }

    /// Blocks that all peers together may owe meanwhile.
    pub(super) fn little(&mut self, now: Duration) -> u32 {
        ((self.meter.rate(now) * QUEUED.as_secs_f64() / f64::from(BLOCK)) as u32).max(LEAST)
    }

    /// What is likely to be read next, of what this peer has.
    pub(super) fn soon(&mut self, key: PeerKey) -> Option<u32> {
        let (have, flying): (&Bits, &Bits) = (&self.have, &self.flying);
        self.urgent.soon.retain(|p| !have.has(*p) && !flying.has(*p));
        let peer = self.peers.get(&key)?;
        self.urgent.soon.iter().copied().find(|p| peer.has.has(*p))
    }

    /// A piece that is waited for and that peers do not bring soon enough: another source fetches it, as with
    /// [`Picker::reserve`]. With nobody there but the server, which shows its pieces in an order of its own, that is at once.
    pub fn overdue(&mut self, now: Duration) -> Option<Reserved> {
        let alone = self.peers.values().all(|p| p.server);
        let due = |p: &&Piece| {
            let (shown, waited) = (self.seen[p.piece as usize] > 0, now.saturating_sub(p.since));
            let at_hand = self.flights.get(&p.piece).map_or(!self.flying.has(p.piece), |f| f.can_be_taken());
            !p.elsewhere && at_hand && (waited >= PATIENCE || alone && !shown)
        };
        let piece = self.urgent.pieces.iter().find(due)?.piece;
        self.urgent.pieces.iter_mut().filter(|p| p.piece == piece).for_each(|p| p.elsewhere = true);
        if self.flights.contains_key(&piece) {
            return self.take(piece);
        }
        self.flying.insert(piece);
        let here = self.begun.remove(&piece).unwrap_or_default();
        Some(Reserved { piece, here, sent: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Layout;

    const MS: Duration = Duration::from_millis(1);

    /// Pieces of 4 blocks. Peers 1 and 2 have all, 0 is the server and has shown nothing.
    fn picker(others: bool) -> Picker {
        let mut p = Picker::new(Layout::new(64 << 16, 1 << 16), Bits::none(64), 7);
        p.join(0, true);
        p.choke(0, false);
        for key in if others { 1..3 } else { 1..1 } {
            p.join(key, false);
            p.choke(key, false);
            (0..64).for_each(|i| _ = p.has(key, i));
        }
        p
    }

    #[test]
    fn what_is_waited_for_goes_first_from_two_sides_and_alone() {
        let mut p = picker(true);
        assert!(p.pick(1, MS).is_some(), "as ever");
        p.want(40, MS);
        p.want(40, MS);
        let (a, b) = (p.pick(1, MS).unwrap(), p.pick(2, MS).unwrap());
        assert_eq!((a.piece, a.blocks, b.piece, b.blocks), (40, vec![0, 1, 2, 3], 40, vec![3, 2, 1, 0]));
        assert!(p.pick(1, MS).is_none() && p.pick(2, MS).is_none(), "others stand back");
        assert!(p.is_waited_for(MS * 2000) && !p.is_waited_for(MS * 2001), "but not for ever");
        p.verified(40, MS * 2003);
        p.join(3, false);
        p.choke(3, false);
        (0..64).for_each(|i| _ = p.has(3, i));
        assert_eq!(p.pick(3, MS * 2004).unwrap().piece, 41, "what lies behind it is next");
        p.want(40, MS * 2005);
        p.want(1000, MS * 2005);
        assert!(p.urgent.pieces.is_empty(), "what is here, or cannot be");
    }

    #[test]
    fn little_is_asked_for_while_somebody_reads() {
        let asked = |p: &mut Picker, at: Duration| (0..).take_while(|_| p.pick(1, at).is_some()).count();
        let (mut usual, mut reading) = (picker(true), picker(true));
        usual.peers.get_mut(&1).unwrap().meter.add(MS, 1 << 27);
        reading.peers.get_mut(&1).unwrap().meter.add(MS, 1 << 27);
        reading.want(9, MS);
        reading.verified(9, MS);
        let (usual, few) = (asked(&mut usual, MS * 2), asked(&mut reading, MS * 2));
        assert!(few >= 1 && few * 4 <= usual, "{few} of {usual}");
    }

    #[test]
    fn another_source_helps_after_a_second_or_at_once_without_neighbours() {
        let mut p = picker(true);
        p.want(5, MS);
        p.pick(1, MS).unwrap();
        assert!(p.overdue(MS * 500).is_none());
        assert_eq!(p.overdue(MS * 1001).unwrap().piece, 5);
        assert!(p.overdue(MS * 1002).is_none() && p.pick(2, MS * 1002).is_none(), "it is fetched elsewhere");
        p.failed(5);
        assert_eq!(p.pick(2, MS * 1003).unwrap().piece, 5, "it was not there either");

        let mut lone = picker(false);
        lone.want(5, MS);
        assert_eq!(lone.overdue(MS).unwrap().piece, 5);
    }

    #[test]
    fn a_piece_that_was_wrong_is_asked_of_one_alone() {
        let mut p = picker(true);
        p.want(5, MS);
        p.pick(1, MS).unwrap();
        p.failed(5);
        assert_eq!(p.pick(1, MS).unwrap().piece, 5);
        assert!(p.pick(2, MS).is_none());
    }
}
