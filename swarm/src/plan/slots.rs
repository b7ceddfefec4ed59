// SPDX-License-Identifier: GPL-3.0-or-later
//! How many are served at once, and who is next.
//!
//! Who sends to all at once sends each piece slowly, and nobody can pass anything on
//! meanwhile: with 64 machines on one link, the first pieces all arrive together, late. So a few
//! are served at a time, piece by piece. How few, the link decides: more are let in for a
//! moment now and then, and stay if more gets out (slow receivers behind a fast link).
//! Torrents share by weight. Pure, as everything in [`super`].

use std::{
    collections::{BTreeMap, VecDeque},
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

/// Somebody who waits or is served.
pub type Ticket = u64;

#[derive(Clone, Copy, PartialEq)]
enum Trial {
    None { windows: u32 },
    More { before: u32 },
    Fewer { before: u32 },
}

#[derive(Default)]
struct Class {
    waiting: VecDeque<Ticket>,
    weight: u64,
    /// Bytes served, over the weight.
    served: u64,
}

/// See the module's text.
pub struct Slots {
    classes: BTreeMap<u64, Class>,
    waiting: usize,
    busy: u32,
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
            busy: 0,
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
    pub fn ask(&mut self, ticket: Ticket, class: u64, weight: u64) {
        // Who comes new, or comes back, begins with the one that was served least: silence saves nothing up.
        let floor = self.classes.values().filter(|c| !c.waiting.is_empty()).map(|c| c.served).min();
        let entry = self.classes.entry(class).or_default();
        if entry.waiting.is_empty() {
            entry.served = entry.served.max(floor.unwrap_or(0));
        }
        entry.weight = weight.max(1);
        entry.waiting.push_back(ticket);
        self.waiting += 1;
    }

    /// Leave the queue.
    pub fn forget(&mut self, ticket: Ticket) {
        for class in self.classes.values_mut() {
            let before = class.waiting.len();
            class.waiting.retain(|t| *t != ticket);
            self.waiting -= before - class.waiting.len();
        }
    }

    /// Who may begin now. To be called until it says `None`.
    pub fn admit(&mut self) -> Option<Ticket> {
        if self.busy >= self.limit {
            return None;
        }
        let class = self.classes.values_mut().filter(|c| !c.waiting.is_empty()).min_by_key(|c| c.served)?;
        let ticket = class.waiting.pop_front()?;
        self.waiting -= 1;
        self.busy += 1;
        Some(ticket)
    }

    /// A slot is free again.
    pub fn free(&mut self) {
        self.busy = self.busy.saturating_sub(1);
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

#[cfg(test)]
#[path = "slots_tests.rs"]
mod tests;
