// SPDX-License-Identifier: GPL-3.0-or-later
//! The network of a setup: the server, machines, one switch or two, and tbf on
//! every link that is limited.

use crate::setup::Setup;
use anyhow::{Context, Result, ensure};
use boottorrent_tests::{Cmd, Host, Lab, Netns};
use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// The port of the first switch to the second.
const TRUNK: &str = "trunk0";

/// The kernel keeps one table of link addresses for all namespaces, and 64 hosts that all know each
/// other overflow what it holds by default: then connections hang that would not between real machines.
pub fn make_room_for_neighbours() -> Result<()> {
    const ENTRIES: u32 = 16_384;
    let path = "/proc/sys/net/ipv4/neigh/default/gc_thresh3";
    let now: u32 = std::fs::read_to_string(path).context(path)?.trim().parse().context(path)?;
    if now < ENTRIES {
        std::fs::write(path, ENTRIES.to_string()).context(path)?;
    }
    Ok(())
}

/// Hosts with their links shaped.
pub struct Network {
    /// The switch and the server's host.
    pub lab: Lab,
    /// The machines.
    pub hosts: Vec<Host>,
    /// The relays.
    pub relays: Vec<Host>,
    trunk: bool,
}

impl Network {
    /// Build it for `n` machines.
    pub fn new(setup: &Setup, n: usize) -> Result<Self> {
        let lab = Lab::new("bench")?;
        let hosts = (0..n).map(|i| lab.host(&port(i))).collect::<Result<Vec<_>>>()?;
        let relay = |i| lab.host(&format!("r{i}"));
        let relays = (0..setup.relays).map(relay).collect::<Result<Vec<_>>>()?;
        for host in hosts.iter().chain([lab.server()]) {
            // udpcast and local peer discovery speak to groups.
            host.netns().ip("route add 224.0.0.0/4 dev eth0")?;
        }
        let switch = lab.switch();
        if let Some(mbit) = setup.server {
            shape(lab.server().netns(), "eth0", mbit)?;
            if !setup.up_only {
                shape(switch, "server", mbit)?;
            }
            for relay in &relays {
                shape(relay.netns(), "eth0", mbit)?;
                shape(switch, relay.name(), mbit)?;
            }
        }
        if let Some(mbit) = setup.machine {
            for (i, host) in hosts.iter().enumerate() {
                shape(host.netns(), "eth0", mbit)?;
                shape(switch, &port(i), mbit)?;
            }
        }
        if let Some(mbit) = setup.trunk {
            switch.ip("link add br1 type bridge forward_delay 0 mcast_snooping 0")?;
            switch.ip("link set br1 up")?;
            switch.ip(&format!("link add {TRUNK} type veth peer name trunk1"))?;
            for (port, bridge) in [(TRUNK, "br0"), ("trunk1", "br1")] {
                switch.ip(&format!("link set dev {port} master {bridge} up"))?;
                shape(switch, port, mbit)?;
            }
            for i in n / 2..n {
                switch.ip(&format!("link set dev {} master br1", port(i)))?;
            }
        }
        for host in hosts.iter().chain(&relays) {
            until_reached(host)?;
        }
        Ok(Self { lab, hosts, relays, trunk: setup.trunk.is_some() })
    }

    /// Bytes that the server has sent on its link, heads of packets included.
    pub fn sent_by_server(&self) -> Result<u64> {
        Ok(counters(self.lab.server().netns(), "eth0")?.sent)
    }

    /// Bytes that the machines have received on their links.
    pub fn received(&self) -> Result<u64> {
        self.hosts.iter().map(|h| Ok(counters(h.netns(), "eth0")?.received)).sum()
    }

    /// Bytes that went from the first switch to the second, away from the server.
    pub fn crossed(&self) -> Result<Option<u64>> {
        self.trunk.then(|| Ok(counters(self.lab.switch(), TRUNK)?.sent)).transpose()
    }
}

/// The switch's port of a machine.
fn port(i: usize) -> String {
    format!("h{i}")
}

/// Wait until a host reaches the server: for up to a second the kernel drops what is sent on a
/// cable that was just plugged in, and whoever does not repeat it soon would be measured with that.
fn until_reached(host: &Host) -> Result<()> {
    let start = Instant::now();
    let nobody = SocketAddr::new(Lab::SERVER.parse()?, 9);
    // The refusal comes from the server's host.
    while !host.netns().run(move || {
        TcpStream::connect_timeout(&nobody, Duration::from_millis(50))
            .is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused)
    }) {
        ensure!(start.elapsed() < Duration::from_secs(10), "{} does not reach the server", host.address());
    }
    Ok(())
}

/// Limit what leaves by an interface.
fn shape(ns: &Netns, interface: &str, mbit: u64) -> Result<()> {
    // The bucket holds what comes between two ticks of the timer; at 1 Gbit/s 256 KiB is 2 ms.
    let burst = if mbit >= 1000 { "1m" } else { "256k" };
    let words = format!("qdisc add dev {interface} root tbf rate {mbit}mbit burst {burst} latency 50ms");
    let cmd = Cmd::new("tc").args(words.split(' '));
    ns.run(move || cmd.run()).map(drop)
}

struct Counters {
    received: u64,
    sent: u64,
}

fn counters(ns: &Netns, interface: &str) -> Result<Counters> {
    let text = ns.run(|| std::fs::read_to_string("/proc/thread-self/net/dev"))?;
    parse(&text, interface).with_context(|| format!("no counters of {interface}"))
}

fn parse(text: &str, interface: &str) -> Option<Counters> {
    let line = text.lines().find_map(|l| l.trim().strip_prefix(interface)?.strip_prefix(':'))?;
    let mut columns = line.split_ascii_whitespace().map(str::parse);
    Some(Counters { received: columns.next()?.ok()?, sent: columns.nth(7)?.ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_an_interface() {
        let text = "Inter-| Receive | Transmit\n eth01: 1 2\n  eth0:  11  2 0 0 0 0 0 0  33  4 0 0 0 0 0 0\n";
        let found = parse(text, "eth0").unwrap();
        assert_eq!((found.received, found.sent), (11, 33));
        assert!(parse(text, "eth2").is_none());
    }
}
