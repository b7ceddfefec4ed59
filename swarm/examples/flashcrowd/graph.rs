// SPDX-License-Identifier: GPL-3.0-or-later
//! Who is connected to whom, as `swarm/src/discover.rs` makes it: every machine calls others at
//! random until it has enough connections, and accepts calls until it has too many. Who comes first
//! finds few, and is found by those who come next: the graph is as random as the starts are close.

use rand::{Rng, rngs::SmallRng};
use std::time::Duration;

/// How many connections a machine looks for, and has at most; the one to the server is one of them.
#[derive(Clone, Copy, Debug)]
pub struct Degree {
    /// It calls until it has so many, at once.
    pub first: usize,
    /// And until it has so many, when it has listened for [`LISTENED`].
    pub wanted: usize,
    /// It accepts calls until it has so many.
    pub most: usize,
    /// From one call to the next.
    pub call: Duration,
}

/// As in `swarm/src/discover.rs`.
const LISTENED: Duration = Duration::from_secs(1);
/// A machine that has not found enough so long after its own start leaves it at that.
const END: Duration = Duration::from_secs(3);

/// The connections of machines, numbered from 0.
pub struct Graph {
    degree: Degree,
    /// Of each machine, besides the one to the server.
    connected: Vec<Vec<usize>>,
    here: Vec<usize>,
}

impl Graph {
    /// Nobody of these machines is here yet.
    pub fn new(degree: Degree, machines: usize) -> Self {
        Self { degree, connected: vec![Vec::new(); machines], here: Vec::new() }
    }

    /// A machine comes.
    pub fn arrive(&mut self, who: usize) {
        self.here.push(who);
    }

    /// A machine is gone, with its connections.
    pub fn leave(&mut self, who: usize) {
        self.here.retain(|h| *h != who);
        for other in std::mem::take(&mut self.connected[who]) {
            self.connected[other].retain(|c| *c != who);
        }
    }

    /// A machine calls somebody, so long after its own start. Whom it is connected to now, if anybody, and whether it
    /// will call again.
    pub fn call(&mut self, who: usize, age: Duration, rng: &mut SmallRng) -> (Option<usize>, bool) {
        let has = 1 + self.connected[who].len();
        if age > END || has >= self.degree.wanted {
            return (None, false);
        }
        if age < LISTENED && has >= self.degree.first {
            return (None, true);
        }
        let other = self.here[rng.random_range(0..self.here.len())];
        let room = 1 + self.connected[other].len() < self.degree.most;
        if other == who || !room || self.connected[who].contains(&other) {
            return (None, true);
        }
        self.connected[who].push(other);
        self.connected[other].push(who);
        (Some(other), true)
    }
}
