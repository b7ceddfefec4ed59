// SPDX-License-Identifier: GPL-3.0-or-later
//! What is simulated: the payload, the machines and their links.

use super::graph::Degree;
use std::time::Duration;
use swarm::plan::Layout;

/// Who sends what to how many, over which links.
#[derive(Clone, Copy, Debug)]
pub struct Params {
    /// The payload.
    pub layout: Layout,
    /// How many machines.
    pub machines: usize,
    /// Mbit/s of the server's link.
    pub server: f64,
    /// Mbit/s of each machine's link, both ways.
    pub machine: f64,
    /// The server deals; else it shows everything to everybody.
    pub dealing: bool,
    /// From one machine to another.
    pub latency: Duration,
    /// Bytes of a connection that the kernel takes before they are sent; what is said waits behind them.
    pub kernel: u32,
    /// How often HAVEs go out.
    pub flush: Duration,
    /// All machines start within this time...
    pub spread: Duration,
    /// ...one after another, with the same time between them, rather than at random.
    pub even: bool,
    /// Heads of packets, as a part of what they carry.
    pub overhead: f64,
    /// Connections of a machine.
    pub degree: Degree,
    /// Blocks that are sent together: more are faster to compute, and less exact.
    pub grain: usize,
    /// Mbit/s between two switches; the second half of the machines is on the second one.
    pub trunk: Option<f64>,
    /// What a machine loads from the server over HTTP before it joins.
    pub phase_one: u64,
    /// How long a machine stays when it has everything, if not for ever.
    pub stay: Option<Duration>,
    /// Of everything that is by chance.
    pub seed: u64,
}

impl Params {
    /// 64 MiB, every link 50 Mbit/s both ways.
    pub fn b(machines: usize) -> Self {
        Self {
            // Pieces as `swarm::create` chooses them.
            layout: Layout::new(64 << 20, 64 << 10),
            machines,
            server: 50.0,
            machine: 50.0,
            dealing: true,
            latency: Duration::from_micros(500),
            kernel: 64 << 10,
            flush: Duration::from_millis(25),
            spread: Duration::from_millis(200),
            even: false,
            overhead: 0.04,
            degree: Degree { first: 6, wanted: 18, most: 32, call: Duration::from_millis(3) },
            grain: if machines > 2000 { 4 } else { 1 },
            trunk: None,
            phase_one: 0,
            stay: None,
            seed: 1,
        }
    }

    /// 256 MiB, the server sends 200 Mbit/s, machines are hardly limited.
    pub fn a(machines: usize) -> Self {
        let layout = Layout::new(256 << 20, 256 << 10);
        Self { layout, server: 200.0, machine: 5000.0, ..Self::b(machines) }
    }

    /// 64 MiB to two switches with 50 Mbit/s between them, 200 Mbit/s everywhere else.
    pub fn c(machines: usize) -> Self {
        Self { server: 200.0, machine: 200.0, trunk: Some(50.0), ..Self::b(machines) }
    }

    /// 97 MiB, every link 1 Gbit/s, and machines come over 30 s.
    pub fn s(machines: usize) -> Self {
        let (layout, spread) = (Layout::new(97 << 20, 64 << 10), Duration::from_secs(30));
        Self { layout, server: 1000.0, machine: 1000.0, spread, ..Self::b(machines) }
    }

    /// Seconds that the payload takes over a machine's link.
    pub fn link(&self) -> f64 {
        self.layout.size() as f64 * 8.0 / (self.machine.min(self.server) * 1e6)
    }
}
