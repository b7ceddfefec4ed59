// SPDX-License-Identifier: GPL-3.0-or-later
//! How many are served at once, and who is next.
//!
//! Who sends to all at once sends each piece slowly, and nobody can pass anything on
//! meanwhile: with 64 machines on one link, the first pieces all arrive together, late. So a few
//! are served at a time, piece by piece. How few, the link decides: more are let in for a
//! moment now and then, and stay if more gets out (slow receivers behind a fast link).
//! Torrents share by weight. Within one, turns are given to hosts, and by each host to its connections in the order in
//! which they ask: a hundred connections get what one gets. Who fetches the same again and again goes last, and gets a
//! little all the same: there may be many machines behind one address. Pure, as everything in [`super`].

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::Duration,
};

/// The fewest at once that there is room for.
const FEWEST: u32 = 3;
const MOST: u32 = 1024;
/// What is measured together.
const WINDOW: Duration = Duration::from_millis(200);
/// Windows between two tries.
const REST: u32 = 5;
/// More is worth it when the rate rises by this.
const WORTH: f64 = 1.15;
/// Fewer do when the rate keeps this.
const ENOUGH: f64 = 0.95;

/// Hosts and addresses of which is remembered how many turns they have had.
const REMEMBERED: usize = 4096;

/// Somebody who waits or is served.
pub type Ticket = u64;

/// Turns of others between two of those who fetch again and again, as long as others want any...
const PATIENCE: u32 = 8;
/// ...and how long nobody else has wanted one, until they share freely.
const ALONE: Duration = Duration::from_millis(200);

/// Who asks for a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// A host with all its addresses, as far as can be told: see [`crate::host`].
    pub host: u128,
    /// One of its addresses.
    pub address: u128,
    /// It fetches the same again and again.
    pub again: bool,
}

impl Asker {
    /// Somebody at an address.
    pub fn at(ip: std::net::IpAddr, again: bool) -> Self {
        let bits = |ip| match ip {
            std::net::IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
            std::net::IpAddr::V6(ip) => ip.to_bits(),
        };
        Self { host: bits(crate::host(ip)), address: bits(ip), again }
    }
}

struct Waiter {
    ticket: Ticket,
    asker: Asker,
}

/// A host or an address: how many turns it has had, on the clock of those that it shares with.
#[derive(Default)]
struct Turns {
    had: u64,
    /// What the last of those within it had before its turn.
    within: u64,
    busy: u32,
}

#[derive(Clone, Copy, PartialEq)]
enum Trial {
    None { windows: u32 },
    More { before: u32 },
    Fewer { before: u32 },
}

#[derive(Default)]
struct Class {
    waiting: VecDeque<Waiter>,
    weight: u64,
    /// Bytes served, over the weight.
    served: u64,
}

/// See the module's text.
pub struct Slots {
    classes: BTreeMap<u64, Class>,
    waiting: usize,
    /// Of them, those who do not fetch again and again.
    fresh: usize,
    /// Who is served.
    serving: HashMap<Ticket, Asker>,
    turns: HashMap<u128, Turns>,
    /// How many wait or are served of each host, of those who do not fetch again and again, and of those who do.
    active: [HashMap<u128, u32>; 2],
    /// What the last host had before its turn.
    had: u64,
    /// Turns since one who fetches again and again had one, and when anybody else last wanted one.
    others: u32,
    wanted: Option<Duration>,
    limit: u32,
    trial: Trial,
    try_more: bool,
    base: f64,
    began: Duration,
    bytes: u64,
    demand: bool,
}

impl Default for Slots {
    fn default() -> Self {
        Self {
            classes: BTreeMap::new(),
            waiting: 0,
            fresh: 0,
            serving: HashMap::new(),
            turns: HashMap::new(),
            active: Default::default(),
            had: 0,
            others: 0,
            wanted: None,
            limit: FEWEST,
            trial: Trial::None { windows: 0 },
            try_more: true,
            base: 0.0,
            began: Duration::ZERO,
            bytes: 0,
            demand: false,
        }
    }
}

impl Slots {
    /// Queue for a slot. `class`: a torrent; `weight`: its share when several want to send.
    pub fn ask(&mut self, ticket: Ticket, asker: Asker, class: u64, weight: u64) {
        // Who comes new, or comes back, begins with the one that was served least: silence saves nothing up.
        let floor = self.classes.values().filter(|c| !c.waiting.is_empty()).map(|c| c.served).min();
        let entry = self.classes.entry(class).or_default();
        if entry.waiting.is_empty() {
            entry.served = entry.served.max(floor.unwrap_or(0));
        }
        entry.weight = weight.max(1);
        entry.waiting.push_back(Waiter { ticket, asker });
        self.waiting += 1;
        self.fresh += usize::from(!asker.again);
        *self.active[usize::from(asker.again)].entry(asker.host).or_default() += 1;
    }

    /// An address is known now as one that fetches the same again and again: so is whoever waits there.
    pub fn fetches_again(&mut self, address: u128) {
        let waiting = self.classes.values_mut().flat_map(|c| &mut c.waiting);
        for waiter in waiting.filter(|w| w.asker.address == address && !w.asker.again) {
            waiter.asker.again = true;
            self.fresh -= 1;
            *self.active[1].entry(waiter.asker.host).or_default() += 1;
            take_one(&mut self.active[0], waiter.asker.host);
        }
    }

    /// Leave the queue.
    pub fn forget(&mut self, ticket: Ticket) {
        let left = self.classes.values_mut().find_map(|class| {
            let at = class.waiting.iter().position(|w| w.ticket == ticket)?;
            class.waiting.remove(at)
        });
        if let Some(Waiter { asker, .. }) = left {
            self.waiting -= 1;
            self.fresh -= usize::from(!asker.again);
            self.is_gone(asker);
        }
    }

    /// Who may begin now. To be called until it says `None`.
    pub fn admit(&mut self, now: Duration) -> Option<Ticket> {
        let fresh_busy = self.serving.values().any(|a| !a.again);
        if self.fresh > 0 || fresh_busy {
            self.wanted = Some(now);
        }
        if self.serving.len() >= self.limit as usize || self.waiting == 0 {
            return None;
        }
        let again = self.again_may(now);
        let order: &[bool] = match (self.others >= PATIENCE, again) {
            (true, true) => &[true, false],
            (false, true) => &[false, true],
            (_, false) => &[false],
        };
        let (class, at) = order.iter().find_map(|again| self.next(*again))?;
        let class = self.classes.get_mut(&class)?;
        let Waiter { ticket, asker } = class.waiting.remove(at)?;
        self.waiting -= 1;
        self.fresh -= usize::from(!asker.again);
        self.others = if asker.again { 0 } else { self.others + 1 };
        self.begin_turn(ticket, asker);
        Some(ticket)
    }

    /// Whether one of those who fetch again and again may have a turn.
    fn again_may(&self, now: Duration) -> bool {
        let busy = self.serving.values().any(|a| a.again);
        let alone = self.wanted.is_none_or(|at| now.saturating_sub(at) >= ALONE);
        alone || (self.others >= PATIENCE && !busy)
    }

    /// The class that has had least of its share, and in it the one whose host has had fewest turns: where it stands.
    fn next(&self, again: bool) -> Option<(u64, usize)> {
        let most = self.each(again);
        let may = |w: &Waiter| w.asker.again == again && self.busy(w.asker.host) < most;
        let classes = self.classes.iter().filter(|(_, c)| c.waiting.iter().any(may));
        let (number, class) = classes.min_by_key(|(_, c)| c.served)?;
        let mut best: Option<((u64, u64), usize)> = None;
        for (at, waiter) in class.waiting.iter().enumerate().filter(|(_, w)| may(w)) {
            let rank = self.rank(waiter.asker);
            if best.is_none_or(|b| rank < b.0) {
                best = Some((rank, at));
            }
            // Nobody has had fewer, and who comes later waits longer.
            if rank == (self.had, 0) {
                break;
            }
        }
        Some((*number, best?.1))
    }

    /// How many turns its host has had, no fewer than whoever had one last, and how many more its address than others of it.
    fn rank(&self, asker: Asker) -> (u64, u64) {
        let host = self.turns.get(&asker.host);
        let within = host.map_or(0, |h| h.within);
        let address = self.turns.get(&key(asker)).map_or(0, |t| t.had);
        (host.map_or(0, |h| h.had).max(self.had), address.saturating_sub(within))
    }

    fn busy(&self, host: u128) -> u32 {
        self.turns.get(&host).map_or(0, |t| t.busy)
    }

    /// How many of one host are served at once, when others want to be as well.
    fn each(&self, again: bool) -> u32 {
        let hosts = self.active[usize::from(again)].len();
        (self.limit / hosts.max(1) as u32).max(1)
    }

    /// One of a host's connections neither waits nor is served any more.
    fn is_gone(&mut self, asker: Asker) {
        take_one(&mut self.active[usize::from(asker.again)], asker.host);
    }

    fn begin_turn(&mut self, ticket: Ticket, asker: Asker) {
        if self.turns.len() >= REMEMBERED {
            // Whoever is not known begins with the fewest, as the others then do.
            self.turns.retain(|_, t| t.busy > 0);
        }
        let host = self.turns.entry(asker.host).or_default();
        self.had = host.had.max(self.had);
        (host.had, host.busy) = (self.had + 1, host.busy + 1);
        let within = host.within;
        let address = self.turns.entry(key(asker)).or_default();
        let before = address.had.max(within);
        address.had = before + 1;
        if let Some(host) = self.turns.get_mut(&asker.host) {
            host.within = before;
        }
        self.serving.insert(ticket, asker);
    }

    /// A slot is free again.
    pub fn free(&mut self, ticket: Ticket) {
        let Some(asker) = self.serving.remove(&ticket) else { return };
        self.is_gone(asker);
        if let Some(host) = self.turns.get_mut(&asker.host) {
            host.busy = host.busy.saturating_sub(1);
        }
    }

    /// Bytes of a torrent went out, at `now`.
    pub fn sent(&mut self, class: u64, bytes: u64, now: Duration) {
        if let Some(class) = self.classes.get_mut(&class) {
            class.served += bytes / class.weight;
        }
        self.bytes += bytes;
        // Only while somebody waits does the rate say anything about the link.
        self.demand &= self.waiting > 0;
        let elapsed = now.saturating_sub(self.began);
        if elapsed >= WINDOW {
            if self.demand && elapsed < WINDOW * 2 {
                self.learn(self.bytes as f64 / elapsed.as_secs_f64());
            }
            (self.began, self.bytes, self.demand) = (now, 0, true);
        }
    }

    /// How many are served at once now.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    fn learn(&mut self, rate: f64) {
        match self.trial {
            Trial::More { .. } if rate >= self.base * WORTH => {
                // Go on while it helps.
                self.base = rate;
                self.begin(true);
            }
            Trial::Fewer { .. } if rate >= self.base * ENOUGH => self.rest(),
            Trial::More { before } | Trial::Fewer { before } => {
                self.limit = before;
                self.rest();
            }
            Trial::None { windows } if windows < REST => {
                self.base = if windows == 0 { rate } else { (self.base + rate) / 2.0 };
                self.trial = Trial::None { windows: windows + 1 };
            }
            Trial::None { .. } => {
                self.base = (self.base + rate) / 2.0;
                self.begin(self.try_more || self.limit == FEWEST);
                self.try_more = !self.try_more;
            }
        }
    }

    fn rest(&mut self) {
        self.trial = Trial::None { windows: 0 };
    }

    fn begin(&mut self, more: bool) {
        let before = self.limit;
        (self.limit, self.trial) = match more {
            true => ((before + before / 2).clamp(FEWEST, MOST), Trial::More { before }),
            false => ((before * 3 / 4).max(FEWEST), Trial::Fewer { before }),
        };
    }
}

fn take_one(active: &mut HashMap<u128, u32>, host: u128) {
    if let Some(n) = active.get_mut(&host) {
        *n -= 1;
        if *n == 0 {
            active.remove(&host);
        }
    }
}

/// Under what an address is kept beside the hosts.
fn key(asker: Asker) -> u128 {
    !asker.address
}

#[cfg(test)]
#[path = "slots_tests.rs"]
mod tests;
