// SPDX-License-Identifier: GPL-3.0-or-later
//! What the server's seeder shows to whom.
//!
//! A seeder that shows everything to everybody sends many pieces several times in a
//! flash crowd: no machine knows what the others have just asked it for. This one
//! deals. Each piece is first shown to one machine alone, a few ahead of what that
//! machine fetches; the others get it from there. A piece that does not arrive is dealt
//! again. When all are out, each machine is shown what is rarest, a few at a time, so that
//! machines which cannot reach each other are served as by any other seeder.
//!
//! In the protocol's terms: no bitfield, then HAVEs (BEP 3). Every client understands
//! that. It differs from super-seeding (BEP 16) in that it waits for no proof of
//! spreading, only for the arrival of what it dealt.

use super::{Bits, Key, Meter};
use rand::{Rng, SeedableRng, rngs::SmallRng, seq::SliceRandom};
use std::{collections::HashMap, time::Duration};

/// Pieces that a machine is shown ahead of what it has fetched, and those that it fetches in [`RUN`] besides.
const AHEAD: u32 = 2;
/// The same for a client that asks only now and then (Transmission: twice a second).
const FAR_AHEAD: u32 = 16;
const RUN: Duration = Duration::from_millis(250);
/// A piece that takes as many times as long as usual goes to somebody else.
const LATE: u32 = 4;
/// And the shortest time that is late; also what is taken as usual before anything has arrived.
const NEVER_LATE: Duration = Duration::from_millis(500);

struct Machine {
    ahead: u32,
    has: Bits,
    shown: Bits,
    /// Shown, and not fetched yet.
    open: u32,
    /// Fetched of what was shown.
    fetched: Meter,
    /// Bytes sent of pieces that are on their way.
    sent: HashMap<u32, u32>,
}

struct Dealt {
    to: Key,
    at: Duration,
}

/// See the module's text.
pub struct Deal {
    pieces: u32,
    /// Not dealt yet, the next at the end.
    stack: Vec<u32>,
    /// Dealt, and nobody has them yet.
    pending: HashMap<u32, Dealt>,
    /// How many machines have each.
    holders: Vec<u16>,
    machines: HashMap<Key, Machine>,
    /// From dealing to arrival, as of late.
    usual: Duration,
    rng: SmallRng,
}

impl Deal {
    /// A deck of `pieces`, shuffled by `seed`.
    pub fn new(pieces: u32, seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut stack: Vec<u32> = (0..pieces).collect();
        stack.shuffle(&mut rng);
        Self {
            pieces,
            stack,
            pending: HashMap::new(),
            holders: vec![0; pieces as usize],
            machines: HashMap::new(),
            usual: NEVER_LATE,
            rng,
        }
    }

    /// A machine that has nothing yet.
    pub fn join(&mut self, key: Key) {
        let none = || Bits::none(self.pieces);
        let (fetched, sent) = (Meter::default(), HashMap::new());
        self.machines
            .insert(key, Machine { ahead: AHEAD, has: none(), shown: none(), open: 0, fetched, sent });
    }

    /// A machine is slow to ask for what it is shown: show it more at a time.
    pub fn is_slow_to_ask(&mut self, key: Key) {
        if let Some(machine) = self.machines.get_mut(&key) {
            machine.ahead = FAR_AHEAD;
        }
    }

    /// A machine has a piece, from us or from anybody.
    pub fn has(&mut self, key: Key, piece: u32, now: Duration) {
        let Some(machine) = self.machines.get_mut(&key) else { return };
        if !machine.has.insert(piece) {
            return;
        }
        if machine.shown.has(piece) {
            machine.open -= 1;
            machine.fetched.add(now, 1);
        }
        self.holders[piece as usize] += 1;
        if let Some(dealt) = self.pending.remove(&piece) {
            self.usual = (self.usual * 3 + now.saturating_sub(dealt.at)) / 4;
        }
    }

    /// Bytes of a piece (of `len`) went out to a machine. With the last of them it has
    /// the piece: many clients do not announce to us what they have from us.
    pub fn sent(&mut self, key: Key, piece: u32, bytes: u32, len: u32, now: Duration) {
        let Some(machine) = self.machines.get_mut(&key) else { return };
        let sent = machine.sent.entry(piece).or_default();
        *sent += bytes;
        if *sent >= len {
            machine.sent.remove(&piece);
            self.has(key, piece, now);
        }
    }

    /// A machine is gone. What only it had, or was dealt, is dealt again first.
    pub fn leave(&mut self, key: Key) {
        let Some(machine) = self.machines.remove(&key) else { return };
        for piece in machine.has.iter() {
            self.holders[piece as usize] -= 1;
            if self.holders[piece as usize] == 0 {
                self.stack.push(piece);
            }
        }
        let stack = &mut self.stack;
        self.pending.retain(|piece, dealt| {
            if dealt.to == key {
                stack.push(*piece);
            }
            dealt.to != key
        });
    }

    /// Whether a machine may ask for a piece.
    pub fn shown(&self, key: Key, piece: u32) -> bool {
        self.machines.get(&key).is_some_and(|m| m.shown.has(piece))
    }

    /// What to show to a machine now.
    pub fn show(&mut self, key: Key, now: Duration) -> Vec<u32> {
        let mut show = Vec::new();
        while let Some(machine) = self.machines.get_mut(&key) {
            let run = machine.fetched.rate(now) * RUN.as_secs_f64();
            if machine.open >= machine.ahead + run as u32 {
                break;
            }
            let Some(piece) =
                self.next(key).or_else(|| self.late(key, now)).or_else(|| self.rarest(key, now))
            else {
                break;
            };
            if self.holders[piece as usize] == 0 {
                self.pending.insert(piece, Dealt { to: key, at: now });
            }
            let Some(machine) = self.machines.get_mut(&key) else { break };
            machine.shown.insert(piece);
            machine.open += 1;
            show.push(piece);
        }
        show
    }

    /// The next that was never dealt.
    fn next(&mut self, key: Key) -> Option<u32> {
        // Pieces that machines had from elsewhere need no dealing.
        while self.stack.last().is_some_and(|p| self.holders[*p as usize] > 0) {
            self.stack.pop();
        }
        // Shown to this machine before: when a machine has left that held it for the others.
        let shown = &self.machines.get(&key)?.shown;
        let at = self.stack.iter().rposition(|p| !shown.has(*p) && self.holders[*p as usize] == 0)?;
        Some(self.stack.remove(at))
    }

    fn is_late(&self, dealt: &Dealt, now: Duration) -> bool {
        now.saturating_sub(dealt.at) > (self.usual * LATE).max(NEVER_LATE)
    }

    /// The one that is overdue with somebody else longest.
    fn late(&self, key: Key, now: Duration) -> Option<u32> {
        let shown = &self.machines.get(&key)?.shown;
        let overdue = self.pending.iter().filter(|(p, d)| !shown.has(**p) && self.is_late(d, now));
        overdue.min_by_key(|(_, d)| d.at).map(|(p, _)| *p)
    }

    /// What fewest have, once all are out. What is just arriving somewhere comes from there.
    fn rarest(&mut self, key: Key, now: Duration) -> Option<u32> {
        if !self.stack.is_empty() || self.pending.values().any(|d| !self.is_late(d, now)) {
            return None;
        }
        let machine = self.machines.get(&key)?;
        let from = self.rng.random_range(0..self.pieces);
        Bits::in_neither(&machine.has, &machine.shown, from).min_by_key(|p| self.holders[*p as usize])
    }
}

#[cfg(test)]
#[path = "deal_tests.rs"]
mod tests;
