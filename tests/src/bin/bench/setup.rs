// SPDX-License-Identifier: GPL-3.0-or-later
//! The setups: how much, over which links, to how many machines.

use anyhow::{Result, bail};
use std::time::Duration;

const MIB: u64 = 1 << 20;

/// One network and one payload on it.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Its name in the results.
    pub name: &'static str,
    /// What it is, for the page.
    pub what: &'static str,
    /// Bytes of the payload.
    pub size: u64,
    /// How many machines, one race for each number.
    pub machines: &'static [usize],
    /// Mbit/s of the server's link, both ways unless [`Setup::up_only`].
    pub server: Option<u64>,
    /// Mbit/s of each machine's link, both ways.
    pub machine: Option<u64>,
    /// Mbit/s between two switches; the second half of the machines is on the second one.
    pub trunk: Option<u64>,
    /// The server's link is limited away from the server only.
    pub up_only: bool,
    /// One machine more starts when half of the bound is over.
    pub late: bool,
    /// Machines start one after another, evenly over so many seconds; otherwise all at once.
    pub spread: Option<u64>,
    /// What each machine loads over HTTP before it joins the swarm.
    pub phase_one: Option<PhaseOne>,
    /// Relays on links like the server's, which have the payload; each machine goes to one of them.
    pub relays: usize,
}

/// Kernel and initrd of a Debian 12, in bytes (docs/images.md).
#[derive(Clone, Copy, Debug)]
pub struct PhaseOne {
    /// The kernel.
    pub kernel: u64,
    /// The initrd.
    pub initrd: u64,
}

impl PhaseOne {
    /// Both.
    pub fn size(self) -> u64 {
        self.kernel + self.initrd
    }
}

const KERNEL: u64 = 8_247_232;
/// Made by the server for an e1000; by initramfs-tools with NETBOOT=yes; by initramfs-tools as it comes.
const OWN: PhaseOne = PhaseOne { kernel: KERNEL, initrd: 1_800_000 };
/// A fifth of it.
const SMALL: PhaseOne = PhaseOne { kernel: KERNEL / 5, initrd: 360_000 };
const NETBOOT: PhaseOne = PhaseOne { kernel: KERNEL, initrd: 10_427_056 };
const STOCK: PhaseOne = PhaseOne { kernel: KERNEL, initrd: 32_169_240 };

const PLAIN: Setup = Setup {
    name: "warm-up",
    what: "",
    size: 16 * MIB,
    machines: &[2],
    server: None,
    machine: None,
    trunk: None,
    up_only: false,
    late: false,
    spread: None,
    phase_one: None,
    relays: 0,
};

const E20: Setup =
    Setup { size: 20 * MIB, server: Some(20), machine: Some(20), phase_one: Some(SMALL), ..PLAIN };

/// Not measured: programs and files come into memory, and who is not installed is found out.
pub const WARM_UP: Setup = PLAIN;

const A: Setup = Setup {
    name: "A",
    what: "256 MiB to 8 machines; the server sends 200 Mbit/s, machines are not limited",
    size: 256 * MIB,
    machines: &[8],
    server: Some(200),
    up_only: true,
    ..PLAIN
};

const B: Setup = Setup {
    name: "B",
    what: "64 MiB to 1–64 machines; every link has 50 Mbit/s, both ways",
    size: 64 * MIB,
    machines: &[1, 2, 4, 8, 16, 32, 64],
    server: Some(50),
    machine: Some(50),
    ..PLAIN
};

const S: Setup = Setup {
    name: "S-80",
    what: "97 MiB to machines that start evenly over 30 s; every link has 80 Mbit/s, both ways",
    size: 97 * MIB,
    machines: &[11, 32],
    server: Some(80),
    machine: Some(80),
    spread: Some(30),
    ..PLAIN
};

const E: Setup = Setup {
    name: "E-own-100",
    what: "kernel and initrd made by the server (10 MB) over HTTP, then 97 MiB; every link has 100 Mbit/s, both ways",
    size: 97 * MIB,
    machines: &[1, 8, 16, 23, 32, 64],
    server: Some(100),
    machine: Some(100),
    phase_one: Some(OWN),
    ..PLAIN
};

/// All that are measured, in this order.
pub const ALL: [Setup; 18] = [
    A,
    B,
    Setup {
        name: "B-late",
        what: "as B with 16 machines, and one more that starts when half of the bound is over",
        machines: &[16],
        late: true,
        ..B
    },
    Setup {
        name: "C",
        what: "64 MiB to two switches of 8 machines; 50 Mbit/s between them, 200 Mbit/s everywhere else",
        size: 64 * MIB,
        machines: &[16],
        server: Some(200),
        machine: Some(200),
        trunk: Some(50),
        ..PLAIN
    },
    Setup {
        name: "D",
        what: "1 GiB to one machine, links not limited",
        size: 1024 * MIB,
        machines: &[1],
        ..PLAIN
    },
    Setup {
        name: "D-1G",
        what: "1 GiB to one machine; the server's link has 1 Gbit/s",
        size: 1024 * MIB,
        machines: &[1],
        server: Some(1000),
        ..PLAIN
    },
    S,
    Setup {
        name: "S-300",
        what: "97 MiB to machines that start evenly over 30 s; every link has 300 Mbit/s, both ways",
        server: Some(300),
        machine: Some(300),
        ..S
    },
    Setup {
        name: "S-1G",
        what: "97 MiB to machines that start evenly over 30 s; every link has 1 Gbit/s, both ways",
        server: Some(1000),
        machine: Some(1000),
        ..S
    },
    E,
    Setup {
        name: "E-netboot-100",
        what: "the same with the initrd of NETBOOT=yes (19 MB with the kernel)",
        machines: &[1, 8, 23],
        phase_one: Some(NETBOOT),
        ..E
    },
    Setup {
        name: "E-stock-100",
        what: "the same with the stock initrd (40 MB with the kernel)",
        machines: &[1, 8, 23],
        phase_one: Some(STOCK),
        ..E
    },
    Setup {
        name: "E-relays-100",
        what: "as E-own-100, through four relays that have the image, on links like the server's",
        machines: &[1, 16, 64],
        relays: 4,
        ..E
    },
    Setup {
        name: "E-own-20",
        what: "a fifth of E-own-100, which two processors can do for 64 machines: 20 MiB, kernel and initrd of 2 MB, links of \
               20 Mbit/s",
        machines: &[1, 32, 64],
        ..E20
    },
    Setup {
        name: "E-relays-20",
        what: "as E-own-20, through four relays that have the image, on links like the server's",
        machines: &[1, 16, 64],
        relays: 4,
        ..E20
    },
    Setup {
        name: "E-relays-1G",
        what: "as E-relays-100; every link has 1 Gbit/s, both ways",
        server: Some(1000),
        machine: Some(1000),
        machines: &[1, 16, 64],
        relays: 4,
        ..E
    },
    Setup {
        name: "E-own-1G",
        what: "as E-own-100; every link has 1 Gbit/s, both ways",
        server: Some(1000),
        machine: Some(1000),
        machines: &[1, 16, 64],
        ..E
    },
    Setup {
        name: "E-stock-1G",
        what: "as E-stock-100; every link has 1 Gbit/s, both ways",
        server: Some(1000),
        machine: Some(1000),
        machines: &[1, 16, 64],
        phase_one: Some(STOCK),
        ..E
    },
];

/// The part that a setup belongs to: `B` of `B-late`.
pub fn part(name: &str) -> &str {
    name.split('-').next().unwrap_or(name)
}

impl Setup {
    /// The setup of a name.
    pub fn named(name: &str) -> Result<Setup> {
        match ALL.into_iter().find(|s| s.name == name) {
            Some(setup) => Ok(setup),
            None => bail!("there is no setup {name}"),
        }
    }

    /// The setup for daily use, and who races in it: in A with half of the payload.
    pub fn quick(self) -> Option<(Setup, &'static [&'static str])> {
        match self.name {
            "A" => Some((Setup { size: self.size / 2, ..self }, &["ours", "http", "libtorrent"])),
            "B" => Some((Setup { machines: &[1, 8, 32], ..self }, &["ours"])),
            "D" => Some((self, &["ours"])),
            "S-1G" => Some((Setup { machines: &[11], ..self }, &["ours"])),
            _ => None,
        }
    }

    /// When each machine starts, after the first one. With `n` machines there may be one more, which is late.
    pub fn starts(&self, n: usize) -> Vec<Duration> {
        let seconds = |s: f64| Duration::from_secs_f64(s);
        let step = self.spread.map_or(0.0, |s| s as f64 / n.saturating_sub(1).max(1) as f64);
        let late = self.late.then(|| self.bound(n)).flatten().map(|bound| seconds(bound / 2.0));
        (0..n).map(|i| seconds(i as f64 * step)).chain(late).collect()
    }

    /// Bytes of kernel and initrd that each machine loads first.
    pub fn phase_one(&self) -> u64 {
        self.phase_one.map_or(0, PhaseOne::size)
    }

    /// Seconds that no way of sending the payload to `n` machines can beat, if any link is limited:
    /// every byte leaves the server once, enters each machine once, and is sent `n` times by somebody. Kernel and initrd
    /// leave the server, or one of the relays, once for each machine.
    pub fn bound(&self, n: usize) -> Option<f64> {
        let first = self.phase_one() as f64;
        let seconds = |copies: f64, mbit: u64| copies * self.size as f64 * 8.0 / (mbit as f64 * 1e6);
        let with = |machines: f64, mbit: u64| seconds(1.0 + machines * first / self.size as f64, mbit);
        let senders = self.relays.max(1);
        let all = match (self.server, self.machine) {
            (Some(server), Some(machine)) => {
                // A machine that gets the last byte can send it to nobody, but all others can.
                Some(seconds(n as f64, senders as u64 * server + n as u64 * machine))
            }
            _ => None,
        };
        [
            self.server.map(|mbit| match self.relays {
                0 => with(n as f64, mbit),
                relays => seconds(n.div_ceil(relays) as f64 * first / self.size as f64, mbit),
            }),
            self.machine.map(|mbit| with(1.0, mbit)),
            self.trunk.map(|mbit| seconds(1.0, mbit)),
            all,
        ]
        .into_iter()
        .flatten()
        .reduce(f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_the_narrowest_link() {
        let near = |setup: &str, n, seconds: f64| {
            let bound = Setup::named(setup).unwrap().bound(n).unwrap();
            assert!((bound - seconds).abs() < 0.01, "{setup} {n}: {bound}");
        };
        near("A", 8, 10.74);
        near("B", 1, 10.74);
        near("B", 64, 10.74);
        near("C", 16, 10.74);
        near("D-1G", 1, 8.59);
        near("E-own-100", 1, 8.94);
        near("E-own-100", 23, 26.62);
        near("E-relays-100", 1, 8.94);
        near("E-relays-100", 64, 12.86);
        near("E-own-20", 64, 59.83);
        near("E-relays-20", 64, 12.86);
        assert_eq!(Setup::named("D").unwrap().bound(1), None);
    }

    #[test]
    fn slow_machines_bind_too() {
        let setup = Setup { server: Some(100), machine: Some(10), size: 10_000_000, ..WARM_UP };
        assert_eq!(setup.bound(1), Some(8.0));
        let narrow = Setup { server: Some(10), machine: Some(1000), ..setup };
        assert_eq!(narrow.bound(8), Some(8.0));
    }

    #[test]
    fn machines_start_at_once_or_one_after_another() {
        let starts = |setup: &str, n| -> Vec<f64> {
            Setup::named(setup).unwrap().starts(n).iter().map(Duration::as_secs_f64).collect()
        };
        assert_eq!(starts("B", 3), [0.0; 3]);
        assert_eq!(starts("S-1G", 11)[..3], [0.0, 3.0, 6.0]);
        assert_eq!((starts("S-80", 11)[10], starts("S-80", 1).len()), (30.0, 1));
        let late = starts("B-late", 16);
        assert!(late.len() == 17 && late[15] == 0.0 && (5.0..6.0).contains(&late[16]));
    }

    #[test]
    fn names() {
        assert_eq!(part("B-late"), "B");
        assert_eq!(part("D"), "D");
        assert!(Setup::named("E").is_err());
        assert!(ALL.iter().filter_map(|s| s.quick()).count() == 4);
    }
}
