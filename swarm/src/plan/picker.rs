// SPDX-License-Identifier: GPL-3.0-or-later
//! Which piece is fetched next, and from whom.
//!
//! A piece is asked of one peer (a *flight*), so that nothing is fetched twice and
//! whoever sends a wrong piece is known. What is rare goes first, ties by chance, so that
//! machines have something to give each other. When a flight takes too long, and
//! sooner at the very end, a second peer is asked too, beginning with the last block:
//! the two meet, and each block that comes from one is cancelled at the other.
//!
//! Pure: no I/O, and time is what the caller says, so tests and the flash crowd
//! simulator run it on a clock of their own.

mod slow;
mod trial;
mod urgent;

use super::{
    BLOCK, Bits, Layout, Meter, PeerKey,
    flight::{Block, Flight},
    wanted::Urgent,
};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    time::Duration,
};

/// Candidates that are compared for rarity; with more, a random stretch of them.
const COMPARED: usize = 512;
/// Blocks that are asked for ahead: what comes in this time.
const AHEAD: Duration = Duration::from_millis(100);
/// And at least, and at most.
const AHEAD_BLOCKS: std::ops::RangeInclusive<u32> = 2..=512;
/// All that is asked for: what comes in this time. With more, requests only wait in the peers'
/// queues, and what is rarest is decided long before it is fetched.
const QUEUED: Duration = Duration::from_millis(300);
/// And at least so many pieces, and so many blocks: peers that are busy answer late whatever is asked of them,
/// and who asks for little because little comes would never get out of that.
const FLIGHTS: u32 = 8;
const LEAST: u32 = 128;
/// A flight of which nothing has come for this long may go to anybody.
const STALLED: Duration = Duration::from_secs(2);
/// What asking a second peer costs: less is not worth it.
const PATIENCE: Duration = Duration::from_millis(50);
/// The same, where what the first has sent so far is lost.
const TRIED: Duration = Duration::from_secs(5);
/// What a piece takes, before one has come.
const USUAL: Duration = Duration::from_millis(300);
/// Peers that are asked for one piece at a time.
const HOLDERS: usize = 2;

/// Pieces that slow peers are asked for at a time, all together: each that one machine has fetched over a
/// narrow link, its neighbours get from there.
const SLOW_FLIGHTS: u32 = 2;

/// Blocks of one piece to ask a peer for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The piece.
    pub piece: u32,
    /// Its blocks that are missing, in the order in which they are asked for.
    pub blocks: Vec<u32>,
    /// Who was asked before, and must not send them any more.
    pub instead_of: Option<PeerKey>,
}

/// What is to be said to peers, since others are trusted no longer.
#[derive(Default)]
pub struct Changes {
    /// Blocks to ask for besides.
    pub more: Vec<(PeerKey, Order)>,
    /// Blocks that need not come any more.
    pub less: Vec<(PeerKey, Order)>,
}

/// What becomes of a block that has arrived and is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Landed {
    /// More are missing.
    Partial,
    /// It was the last: the piece can be verified.
    Whole,
}

struct Peer {
    has: Bits,
    /// The server: what it shows us it shows nobody else.
    server: bool,
    choking: bool,
    asked: u32,
    meter: Meter,
    /// Seconds from the first block of a piece to the last, for each byte. 0: unknown.
    pace: f64,
}

/// A piece that another source than peers fetches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// Which.
    pub piece: u32,
    /// Its blocks that are in the file already, not verified.
    pub here: Vec<u32>,
    /// Those of them that a peer has sent.
    pub sent: Vec<(u32, PeerKey)>,
}

/// See the module's text.
pub struct Picker {
    layout: Layout,
    have: Bits,
    /// What nobody is asked for now: it is asked for already, or never wanted.
    flying: Bits,
    unwanted: Bits,
    seen: Vec<u16>,
    peers: HashMap<PeerKey, Peer>,
    flights: HashMap<u32, Flight>,
    /// Blocks that are here of pieces that nobody has been asked for yet, not verified.
    begun: HashMap<u32, Vec<u32>>,
    /// Pieces that were wrong, and peers that had part in one: see [`trial`].
    tried: HashSet<u32>,
    suspects: HashSet<PeerKey>,
    /// Pieces that a reader waits for: see [`urgent`].
    urgent: Urgent,
    /// How long a piece took, as of late.
    usual: Duration,
    /// What comes from all.
    meter: Meter,
    /// The pace of the quicker peers, and when it was worked out.
    pace: (f64, Duration),
    rng: SmallRng,
}

impl Picker {
    /// `have`: pieces that are verified already. `seed`: of the random order.
    pub fn new(layout: Layout, have: Bits, seed: u64) -> Self {
        let pieces = layout.pieces();
        Self {
            layout,
            have,
            flying: Bits::none(pieces),
            unwanted: Bits::none(pieces),
            seen: vec![0; pieces as usize],
            peers: HashMap::new(),
            flights: HashMap::new(),
            begun: HashMap::new(),
            tried: HashSet::new(),
            suspects: HashSet::new(),
            urgent: Urgent::default(),
            usual: USUAL,
            meter: Meter::default(),
            pace: (0.0, Duration::ZERO),
            rng: SmallRng::seed_from_u64(seed),
        }
    }

    /// Only these pieces are wanted.
    pub fn only(&mut self, wanted: Range<u32>) {
        for piece in (0..wanted.start).chain(wanted.end..self.layout.pieces()) {
            self.unwanted.insert(piece);
            self.flying.insert(piece);
        }
    }

    /// The pieces that are verified.
    pub fn have(&self) -> &Bits {
        &self.have
    }

    /// A block is in the file already, not verified: the rest of its piece is asked for. Not all blocks of a piece:
    /// such a one is verified by the caller.
    pub fn begun(&mut self, piece: u32, block: u32) {
        let count = self.layout.blocks(piece) as usize;
        let here = self.begun.entry(piece).or_default();
        if block < count as u32 && !here.contains(&block) && here.len() + 1 < count {
            here.push(block);
        }
    }

    /// Whether a piece that is being fetched was here in part before: who sent the rest cannot tell that we have it.
    pub fn was_begun(&self, piece: u32) -> bool {
        self.flights.get(&piece).is_some_and(|f| f.begun)
    }

    /// A peer that has nothing yet, and lets us ask when it says so. `server`: it is the server's seeder.
    pub fn join(&mut self, key: PeerKey, server: bool) {
        let has = Bits::none(self.layout.pieces());
        let peer = Peer { has, server, choking: true, asked: 0, meter: Meter::default(), pace: 0.0 };
        self.peers.insert(key, peer);
    }

    /// A peer is gone. True: it held something that others can take now.
    pub fn leave(&mut self, key: PeerKey) -> bool {
        let Some(peer) = self.peers.remove(&key) else { return false };
        peer.has.iter().for_each(|i| self.seen[i as usize] -= 1);
        self.suspects.remove(&key);
        self.drop_flights(key)
    }

    /// A peer will answer no requests, or will again. True: it held something that others can take now.
    pub fn choke(&mut self, key: PeerKey, choking: bool) -> bool {
        let Some(peer) = self.peers.get_mut(&key) else { return false };
        peer.choking = choking;
        if choking {
            peer.asked = 0;
        }
        choking && self.drop_flights(key)
    }

    fn drop_flights(&mut self, key: PeerKey) -> bool {
        let mut any = false;
        for flight in self.flights.values_mut().filter(|f| f.holders.contains(&key)) {
            flight.holders.retain(|k| *k != key);
            any = true;
        }
        any
    }

    /// A peer has a piece. True: one that we lack.
    pub fn has(&mut self, key: PeerKey, piece: u32) -> bool {
        let Some(peer) = self.peers.get_mut(&key) else { return false };
        if peer.has.insert(piece) {
            self.seen[piece as usize] += 1;
        }
        piece < self.layout.pieces() && !self.have.has(piece) && !self.unwanted.has(piece)
    }

    /// Which of `pieces` it was not known that a peer has.
    pub fn news(&self, key: PeerKey, pieces: &Bits) -> Vec<u32> {
        let known = self.peers.get(&key).map(|p| &p.has);
        known.map_or_else(Vec::new, |has| pieces.without([has, has], 0).collect())
    }

    /// Whether a peer has a piece.
    pub fn peer_has(&self, key: PeerKey, piece: u32) -> bool {
        self.peers.get(&key).is_some_and(|p| p.has.has(piece))
    }

    /// Whether there is nothing that we could give a peer.
    pub fn peer_has_ours(&self, key: PeerKey) -> bool {
        self.peers.get(&key).is_some_and(|p| !self.have.exceeds(&p.has))
    }

    /// Whether a peer has something that we lack.
    pub fn interesting(&self, key: PeerKey) -> bool {
        self.peers.get(&key).is_some_and(|p| p.has.without([&self.have, &self.unwanted], 0).next().is_some())
    }

    /// Blocks that a peer was asked for, and still owes.
    pub fn asked(&self, key: PeerKey) -> u32 {
        self.peers.get(&key).map_or(0, |p| p.asked)
    }

    /// What to ask a peer for now: nothing while it owes enough.
    pub fn pick(&mut self, key: PeerKey, now: Duration) -> Option<Order> {
        if let Some(piece) = self.urgent_of(key, now) {
            return self.ask(piece, key, now);
        }
        if self.is_waited_for(now) {
            return None;
        }
        let peer = self.peers.get_mut(&key)?;
        let ahead = peer.meter.rising(now) * AHEAD.as_secs_f64() / f64::from(BLOCK);
        if peer.choking || peer.asked > (ahead as u32).clamp(*AHEAD_BLOCKS.start(), *AHEAD_BLOCKS.end()) {
            return None;
        }
        let (idle, server) = (peer.asked == 0, peer.server);
        let asked: u32 = self.peers.values().map(|p| p.asked).sum();
        let enough = self.meter.rate(now) * QUEUED.as_secs_f64() / f64::from(BLOCK);
        let enough = match self.read_lately(now) {
            true => self.little(now),
            false => (enough as u32).max(FLIGHTS * self.layout.blocks(0)).max(LEAST),
        };
        let slow = self.is_slow(key, now);
        let full = match slow {
            true => self.slow_asked(now) >= SLOW_FLIGHTS * self.layout.blocks(0),
            false => !server && asked >= enough,
        };
        let next = |this: &mut Self| {
            this.unfinished(key).or_else(|| this.soon(key)).or_else(|| this.rarest(key, slow))
        };
        let piece = match if full { None } else { next(self) } {
            // Only who has nothing else to do takes over.
            None if idle && !slow => self.slowest(key, now)?,
            piece => piece?,
        };
        self.ask(piece, key, now)
    }

    fn ask(&mut self, piece: u32, key: PeerKey, now: Duration) -> Option<Order> {
        let order = self.give(piece, key, now);
        self.peers.get_mut(&key)?.asked += order.blocks.len() as u32;
        Some(order)
    }

    /// A piece that somebody began and left.
    fn unfinished(&self, key: PeerKey) -> Option<u32> {
        let peer = self.peers.get(&key)?;
        let left = |(piece, f): (&u32, &Flight)| {
            (f.holders.is_empty() && f.missing > 0 && peer.has.has(*piece)).then_some(*piece)
        };
        self.flights.iter().find_map(left)
    }

    /// What fewest have. A slow one is not asked for what a quick one has.
    fn rarest(&mut self, key: PeerKey, slow: bool) -> Option<u32> {
        let from = self.rng.random_range(0..self.layout.pieces());
        let peer = self.peers.get(&key)?;
        // As long as it is not known who was to blame, many are asked for less than they could send.
        let tried = |p: &&u32| !self.flying.has(**p) && peer.has.has(**p);
        if let Some(piece) = self.tried.iter().find(tried) {
            return Some(*piece);
        }
        let pace = self.pace.0;
        let quick: Vec<&Peer> =
            self.peers.values().filter(|p| slow && !p.server && !p.choking && !p.is_slow(pace)).collect();
        let mut best: Option<(u16, u32, u32)> = None;
        let wanted = peer.has.without([&self.have, &self.flying], from);
        for piece in wanted.filter(|p| !quick.iter().any(|q| q.has.has(*p))).take(COMPARED) {
            let score = (self.seen[piece as usize], self.rng.random(), piece);
            if best.is_none_or(|b| score < b) {
                best = Some(score);
            }
        }
        best.map(|b| b.2)
    }

    /// The flight that will take longest, if this peer would be done much sooner.
    fn slowest(&mut self, key: PeerKey, now: Duration) -> Option<u32> {
        let rate = self.peers.get_mut(&key)?.meter.rate(now);
        let peer = self.peers.get(&key)?;
        // Nothing is left but what is asked for: then it only costs what is idle anyway.
        let endgame =
            self.flights.len() as u32 + self.unwanted.count() + self.have.count() == self.layout.pieces();
        let mut worst: Option<(Duration, u32)> = None;
        for (piece, flight) in &self.flights {
            if flight.missing == 0 || flight.holders.contains(&key) || !peer.has.has(*piece) {
                continue;
            }
            let ours = match rate {
                r if r < 1.0 => self.usual,
                r => Duration::from_secs_f64(f64::from(flight.missing) * f64::from(BLOCK) / r),
            };
            let ours = if endgame { ours } else { ours.max(self.usual) * 4 };
            let theirs = flight.expected(now);
            let stalled = now.saturating_sub(flight.last) >= STALLED.max(self.usual * 4);
            let patience = if self.is_tried(*piece, key) { TRIED } else { PATIENCE };
            if (stalled || theirs > ours + patience) && worst.is_none_or(|w| theirs > w.0) {
                worst = Some((theirs, *piece));
            }
        }
        worst.map(|w| w.1)
    }

    fn give(&mut self, piece: u32, key: PeerKey, now: Duration) -> Order {
        self.flying.insert(piece);
        let alone = self.is_tried(piece, key);
        let count = self.layout.blocks(piece);
        let begun = &mut self.begun;
        let flight = self.flights.entry(piece).or_insert_with(|| {
            let here = begun.remove(&piece).unwrap_or_default();
            Flight::new(count, &here, now)
        });
        flight.alone = alone;
        let mut instead_of = None;
        while flight.holders.len() >= if alone { 1 } else { HOLDERS } {
            let before = flight.holders.remove(0);
            if let Some(peer) = self.peers.get_mut(&before) {
                peer.asked = peer.asked.saturating_sub(flight.missing);
            }
            instead_of = Some(before);
        }
        if alone {
            flight.purge(|by| by == Some(key));
        }
        let mut blocks = flight.missing();
        if !flight.holders.is_empty() {
            blocks.reverse();
        }
        flight.holders.push(key);
        (flight.since, flight.last) = (now, now);
        Order { piece, blocks, instead_of }
    }

    /// A block has arrived and is about to be written. `None`: it is not wanted (of this peer: one
    /// that was not asked could spoil what others send, and have them blamed), or here already. Else who
    /// else was asked for it.
    pub fn claim(&mut self, key: PeerKey, piece: u32, block: u32, now: Duration) -> Option<Vec<PeerKey>> {
        let len = self.layout.block_len(piece, block);
        self.meter.add(now, len.into());
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.meter.add(now, len.into());
        }
        let flight = self.flights.get_mut(&piece).filter(|f| f.holders.contains(&key))?;
        if !flight.claim(key, block, now) {
            return None;
        }
        for holder in &flight.holders {
            if let Some(peer) = self.peers.get_mut(holder) {
                peer.asked = peer.asked.saturating_sub(1);
            }
        }
        Some(flight.holders.iter().copied().filter(|h| *h != key).collect())
    }

    /// A claimed block is written.
    pub fn landed(&mut self, piece: u32, block: u32) -> Landed {
        let Some(flight) = self.flights.get_mut(&piece) else { return Landed::Partial };
        flight.blocks[block as usize] = Block::Here;
        flight.here += 1;
        if flight.here == self.layout.blocks(piece) { Landed::Whole } else { Landed::Partial }
    }

    /// A piece that another source (HTTP) fetches: nobody else is asked for it
    /// meanwhile. One that nobody fetches, or that nobody has sent a block of for long.
    pub fn reserve(&mut self, now: Duration) -> Option<Reserved> {
        let from = self.rng.random_range(0..self.layout.pieces());
        let idle = Bits::in_neither(&self.have, &self.flying, from).next();
        if let Some(piece) = idle {
            self.flying.insert(piece);
            let here = self.begun.remove(&piece).unwrap_or_default();
            return Some(Reserved { piece, here, sent: Vec::new() });
        }
        let stalled = |f: &Flight| f.can_be_taken() && now.saturating_sub(f.last) >= STALLED;
        let piece = self.flights.iter().find_map(|(piece, f)| stalled(f).then_some(*piece))?;
        self.take(piece)
    }

    /// A flight ends: another source fetches the rest of its piece.
    fn take(&mut self, piece: u32) -> Option<Reserved> {
        let flight = self.flights.remove(&piece)?;
        for holder in &flight.holders {
            if let Some(peer) = self.peers.get_mut(holder) {
                peer.asked = peer.asked.saturating_sub(flight.missing);
            }
        }
        Some(Reserved { piece, here: flight.here(), sent: flight.sent() })
    }

    /// A piece is verified.
    pub fn verified(&mut self, piece: u32, now: Duration) {
        if let Some(flight) = self.flights.remove(&piece) {
            self.usual = (self.usual * 7 + now.saturating_sub(flight.since)) / 8;
            if let ([sender], false) = (&flight.senders[..], flight.begun) {
                let sender = *sender;
                self.timed(sender, flight.last.saturating_sub(flight.first.unwrap_or(now)), piece);
            }
        }
        self.tried.remove(&piece);
        self.urgent.verified(piece);
        self.flying.remove(piece);
        self.have.insert(piece);
    }

    /// A piece did not verify, or its source gave up: it is fetched again.
    pub fn failed(&mut self, piece: u32) {
        self.flying.remove(piece);
        self.urgent.failed(piece);
        if self.flights.remove(&piece).is_some() {
            self.tried.insert(piece);
        }
    }
}

#[cfg(test)]
#[path = "picker_tests.rs"]
mod tests;
