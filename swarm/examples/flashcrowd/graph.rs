// SPDX-License-Identifier: GPL-3.0-or-later
//! Who is connected to whom, as `swarm/src/discover.rs` makes it: everybody calls others by
//! chance until it has enough, and takes calls until it has too many. Who comes first finds
//! few, and takes those who come next: the graph is as random as the starts are close.

use rand::{Rng, rngs::SmallRng};
use std::time::Duration;

/// How many connections a machine looks for, and has at most; the one to the server is one of them.
#[derive(Clone, Copy, Debug)]
pub struct Degree {
    /// It calls until it has so many.
    pub wanted: usize,
    /// It takes calls until it has so many.
    pub most: usize,
    /// From one call to the next.
    pub call: Duration,
}

/// After so long, who has not found enough leaves it at that.
const END: Duration = Duration::from_secs(3);

/// Connections between machines (numbers from 0), and when they are made. `starts`: ascending.
pub fn connections(starts: &[Duration], degree: Degree, rng: &mut SmallRng) -> Vec<(Duration, usize, usize)> {
    let mut all = Vec::new();
    // Besides the server.
    let mut connected = vec![Vec::new(); starts.len()];
    let (mut now, mut here, mut calling) = (Duration::ZERO, 0, Vec::new());
    while now < END && (here < starts.len() || !calling.is_empty()) {
        while here < starts.len() && starts[here] <= now {
            calling.push(here);
            here += 1;
        }
        calling.retain(|who| 1 + connected[*who].len() < degree.wanted);
        for who in &calling {
            let other = rng.random_range(0..here);
            let room = 1 + connected[other].len() < degree.most;
            if other != *who && room && !connected[*who].contains(&other) {
                connected[*who].push(other);
                connected[other].push(*who);
                all.push((now, *who, other));
            }
        }
        now += degree.call;
    }
    all
}
