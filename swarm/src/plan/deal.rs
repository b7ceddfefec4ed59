// SPDX-License-Identifier: GPL-3.0-or-later
//! What the server's seeder shows to whom.
//!
//! A seeder that shows everything to everybody sends many pieces several times in a
//! flash crowd: no machine knows what the others have just asked it for. This one
//! deals. Each piece is first shown to one machine alone, a few ahead of what that
//! machine fetches; the others get it from there. A piece that does not arrive is dealt
//! again.
//!
//! What machines hold, they give each other, and the server's link is free for other images and for kernels. A machine
//! that gets less than it could take ([`Pace`]) is shown as much as it lacks, the rarest first: so machines that
//! cannot reach each other, or only somebody who claims to have everything, are served as by any other seeder.
//! Clients that ask seldom are not measured, and are always shown some of the rarest.
//!
//! In the protocol's terms: no bitfield, then HAVEs (BEP 3). Every client understands
//! that. It differs from super-seeding (BEP 16) in that it waits for no proof of
//! spreading, only for the arrival of what it dealt.

use super::{Bits, Meter, Pace, PeerKey, budget::Budget};
use rand::{Rng, SeedableRng, rngs::SmallRng, seq::SliceRandom};
use std::{collections::HashMap, net::IpAddr, time::Duration};

/// Pieces that a machine is shown ahead of what it has fetched, and those that it fetches in [`RUN`] besides.
const AHEAD: u32 = 2;
/// The same for a client that asks only now and then (Transmission: twice a second).
const FAR_AHEAD: u32 = 16;
const RUN: Duration = Duration::from_millis(250);
/// What a machine was dealt that has fetched none of it for so long, or four times as long as usual, does not count.
const STALLED: Duration = Duration::from_secs(2);
/// How often is looked who has stalled.
const LOOKED: Duration = Duration::from_millis(100);
/// A piece that takes as many times as long as usual goes to somebody else.
const LATE: u32 = 4;
/// And the shortest time that is late; also what is taken as usual before anything has arrived.
const NEVER_LATE: Duration = Duration::from_millis(500);

/// After so long a machine that got nothing from others has nobody but us: a switch may keep machines apart.
const ALONE: Duration = Duration::from_secs(1);

struct Machine {
    host: IpAddr,
    /// It asks only now and then.
    seldom: bool,
    has: Bits,
    shown: Bits,
    /// Shown, and not fetched yet.
    open: u32,
    /// When it last fetched one of these, or was shown the first of them.
    moved: Duration,
    /// Whether `open` counts for all: not of one that has stalled, or asks seldom.
    counts: bool,
    /// Fetched of what was shown.
    fetched: Meter,
    /// Bytes sent of pieces that are on their way.
    sent: HashMap<u32, u32>,
    /// Whether its neighbours give it what it can take.
    pace: Pace,
    /// When it came, and whether it ever got something that we had not shown it: then it has neighbours.
    came: Duration,
    neighbours: bool,
}

impl Machine {
    /// How many pieces it is shown at a time.
    fn ahead(&mut self, now: Duration) -> u32 {
        let run = self.fetched.rising(now) * RUN.as_secs_f64();
        let ahead = if self.seldom { FAR_AHEAD } else { AHEAD };
        ahead + run as u32
    }

    /// What it has open, as far as it counts.
    fn counted(&self) -> u32 {
        if self.counts { self.open } else { 0 }
    }
}

struct Dealt {
    to: PeerKey,
    at: Duration,
    /// How many had it before, and were late. Each has half the time of the one before.
    times: u32,
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
    machines: HashMap<PeerKey, Machine>,
    /// From dealing to arrival, as of late.
    usual: Duration,
    /// What is shown and not fetched yet, and when it was last looked who counts.
    budget: Budget,
    looked: Duration,
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
            budget: Budget::default(),
            looked: Duration::ZERO,
            rng,
        }
    }

    /// A machine of a host ([`crate::host`]) comes, and has nothing yet.
    pub fn join(&mut self, key: PeerKey, host: IpAddr, now: Duration) {
        let none = || Bits::none(self.pieces);
        let machine = Machine {
            host,
            seldom: false,
            has: none(),
            shown: none(),
            open: 0,
            moved: now,
            counts: true,
            fetched: Meter::default(),
            sent: HashMap::new(),
            pace: Pace::new(self.pace(), now),
            came: now,
            neighbours: false,
        };
        self.machines.insert(key, machine);
        self.budget.join(host);
    }

    /// The usual pace of machines: the median, since what they say is nobody's word.
    fn pace(&self) -> Option<f64> {
        let mut all: Vec<f64> = self.machines.values().filter_map(|m| m.pace.known()).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied()
    }

    /// A machine is slow to ask for what it is shown: show it more at a time.
    pub fn is_slow_to_ask(&mut self, key: PeerKey) {
        if let Some(machine) = self.machines.get_mut(&key) {
            (machine.seldom, machine.counts) = (true, false);
            self.recount();
        }
    }

    /// A machine has got a piece, from us or from anybody.
    pub fn has(&mut self, key: PeerKey, piece: u32, now: Duration) {
        if let Some(machine) = self.machines.get_mut(&key).filter(|m| !m.has.has(piece)) {
            machine.neighbours |= !machine.shown.has(piece);
            machine.pace.arrived(now);
            self.had(key, piece, now);
        }
    }

    /// A machine has a piece, and it says nothing about its pace: it came with it.
    pub fn had(&mut self, key: PeerKey, piece: u32, now: Duration) {
        let Some(machine) = self.machines.get_mut(&key) else { return };
        if !machine.has.insert(piece) {
            return;
        }
        if machine.shown.has(piece) {
            self.budget.fetched(machine.host, machine.counts, now);
            machine.open -= 1;
            machine.moved = now;
            machine.fetched.add(now, 1);
        }
        self.holders[piece as usize] += 1;
        if let Some(dealt) = self.pending.remove(&piece) {
            self.usual = (self.usual * 3 + now.saturating_sub(dealt.at)) / 4;
        }
    }

    /// Bytes of a piece (of `len`) went out to a machine. With the last of them it has
    /// the piece: many clients do not announce to us what they have from us.
    pub fn sent(&mut self, key: PeerKey, piece: u32, bytes: u32, len: u32, now: Duration) {
        let Some(machine) = self.machines.get_mut(&key) else { return };
        let sent = machine.sent.entry(piece).or_default();
        *sent += bytes;
        if *sent >= len {
            machine.sent.remove(&piece);
            self.has(key, piece, now);
        }
    }

    /// A machine is gone. What only it had, or was dealt, is dealt again first.
    pub fn leave(&mut self, key: PeerKey) {
        let Some(machine) = self.machines.remove(&key) else { return };
        self.budget.leave(machine.host, machine.open, machine.counted());
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

    /// Whether a machine has any piece.
    pub fn holds_something(&self, key: PeerKey) -> bool {
        self.machines.get(&key).is_some_and(|m| !m.has.is_empty())
    }

    /// Whether a machine may ask for a piece.
    pub fn shown(&self, key: PeerKey, piece: u32) -> bool {
        self.machines.get(&key).is_some_and(|m| m.shown.has(piece))
    }

    /// What to show to a machine now.
    pub fn show(&mut self, key: PeerKey, now: Duration) -> Vec<u32> {
        let mut show = Vec::new();
        while let Some(machine) = self.machines.get_mut(&key) {
            if machine.open >= machine.ahead(now) || !self.may_show(key, now) {
                break;
            }
            let Some(piece) =
                self.next(key).or_else(|| self.late(key, now)).or_else(|| self.rarest(key, now))
            else {
                break;
            };
            if self.holders[piece as usize] == 0 {
                let times = self.pending.get(&piece).map_or(0, |d| d.times + 1);
                self.pending.insert(piece, Dealt { to: key, at: now, times });
            }
            let Some(machine) = self.machines.get_mut(&key) else { break };
            machine.shown.insert(piece);
            if machine.open == 0 {
                machine.moved = now;
            }
            machine.open += 1;
            self.budget.open(machine.host, machine.counts);
            show.push(piece);
        }
        show
    }

    /// Whether a machine may be shown one more, as far as the others go.
    fn may_show(&mut self, key: PeerKey, now: Duration) -> bool {
        if now.saturating_sub(self.looked) >= LOOKED {
            self.look(now);
        }
        let Some(machine) = self.machines.get(&key) else { return false };
        machine.seldom || self.budget.may(machine.host, self.usual, now)
    }

    /// See who has stalled.
    fn look(&mut self, now: Duration) {
        self.looked = now;
        let late = self.lateness().max(STALLED);
        for machine in self.machines.values_mut() {
            machine.counts = !machine.seldom && now.saturating_sub(machine.moved) <= late;
        }
        self.recount();
    }

    fn recount(&mut self) {
        self.budget.recount(self.machines.values().map(|m| (m.host, m.counted())));
    }

    /// The next that was never dealt.
    fn next(&mut self, key: PeerKey) -> Option<u32> {
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
        now.saturating_sub(dealt.at) > self.lateness() / 2_u32.saturating_pow(dealt.times)
            || self.machines.get(&dealt.to).is_some_and(|m| self.budget.leaves(m.host))
    }

    fn lateness(&self) -> Duration {
        (self.usual * LATE).max(NEVER_LATE)
    }

    /// The one that is overdue with somebody else longest.
    fn late(&self, key: PeerKey, now: Duration) -> Option<u32> {
        let shown = &self.machines.get(&key)?.shown;
        let overdue = self.pending.iter().filter(|(p, d)| !shown.has(**p) && self.is_late(d, now));
        overdue.min_by_key(|(_, d)| d.at).map(|(p, _)| *p)
    }

    /// What fewest have, once all are out. What is just arriving somewhere comes from there, and what others can give
    /// is given by them: by us only to a machine that they do not give enough.
    fn rarest(&mut self, key: PeerKey, now: Duration) -> Option<u32> {
        let machine = self.machines.get_mut(&key)?;
        let alone = !machine.neighbours && now.saturating_sub(machine.came) > ALONE;
        if !machine.seldom && !alone && machine.pace.missing(now) <= machine.open.into() {
            return None;
        }
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
