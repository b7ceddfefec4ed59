// SPDX-License-Identifier: GPL-3.0-or-later
//! Machines that are switched off, and others that come late.

use super::{
    Scenario, Seen,
    room::{IDENTICAL, agents, completed, hosts, identical, room},
};
use crate::Peer;
use anyhow::{Result, ensure};
use std::time::{Duration, Instant};

pub(super) const ALL: [Scenario; 1] = [Scenario::full(
    "machines-come-and-go",
    "30 machines, of which 10 are switched off at random times, while 10 more join late",
    come_and_go,
)];

fn come_and_go() -> Result<Seen> {
    room("come-and-go", 16, &[], |lab, server| {
        server.seeding()?;
        lab.limit(lab.server(), 20)?;
        let mut hosts = hosts(lab, 40, 20)?;
        let mut late = hosts.split_off(30);
        let begun = Instant::now();
        let mut all = agents(hosts, server, &[])?;
        // Where each of the ten is in its boot when its power goes differs from run to run.
        let (mut killed, mut joined, mut dice) = (0, Vec::new(), Dice::new());
        while killed < 10 || !late.is_empty() {
            std::thread::sleep(Duration::from_millis(100 + dice.below(600)));
            if killed < 10 && dice.below(2) == 0 {
                drop(all.remove(dice.below(all.len() as u64) as usize));
                killed += 1;
            } else if let Some(host) = late.pop() {
                joined.extend(agents(vec![host], server, &[])?);
            }
        }
        let done = all.iter().filter(|p| p.is_complete()).count();
        all.append(&mut joined);
        let took = completed(&mut all, server, begun)?;
        ensure!(all.len() == 30 && all.iter().all(Peer::is_complete), "{} machines: {IDENTICAL}", all.len());
        identical(30, format!("{took:.1} s; {done} were complete when the last of the ten went"))
    })
}

/// Numbers by chance, without one more crate: the standard library seeds its hashes by it.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        use std::hash::{BuildHasher, Hasher};
        Self(std::collections::hash_map::RandomState::new().build_hasher().finish() | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
