// SPDX-License-Identifier: GPL-3.0-or-later
//! What machines, servers, peers, disks and images may hand us, given bytes that nobody meant. Each
//! [`Target`] is a function that must come back, soon and with little memory, whatever it is given; most
//! say more: that a name stays in its folder, a text in its line, and a terminal as it was.
//!
//! `cargo test -p boottorrent-fuzz` runs them over the corpus and a few thousand changes of it;
//! `make fuzz` runs them with libFuzzer, guided by coverage, for as long as one likes.

mod agent;
mod http;
pub mod mutate;
mod peer;
mod server;
mod shape;
mod spec;
mod swarm;

/// Something that is fed.
pub struct Target {
    /// Its name: of its folder in the corpus, and of its program under libFuzzer.
    pub name: &'static str,
    /// What it reads.
    pub reads: &'static str,
    /// Inputs are no longer than this.
    pub max_len: usize,
    /// Feed it. Panics when something is not as it must be.
    pub run: fn(&[u8]),
}

/// All of them.
pub static TARGETS: &[Target] = &[
    Target { name: "announce", reads: "announces and scrapes", max_len: 4200, run: server::announce },
    Target { name: "boot", reads: "queries of /boot.ipxe and /grub.cfg", max_len: 2048, run: server::boot },
    Target { name: "cmdline", reads: "kernel command lines", max_len: 2048, run: spec::cmdline },
    Target { name: "dhcp", reads: "frames of DHCP servers", max_len: 1600, run: agent::dhcp },
    Target { name: "heartbeat", reads: "heartbeats", max_len: 4096, run: server::heartbeat },
    Target { name: "hosts", reads: "hosts.toml, and changes to it", max_len: 4096, run: server::hosts },
    Target { name: "http", reads: "HTTP requests", max_len: 4096, run: http::request },
    Target { name: "initrd", reads: "cpio archives", max_len: 8192, run: server::initrd },
    Target { name: "iso", reads: "what is on an ISO", max_len: 16384, run: server::iso },
    Target { name: "lease", reads: "what DHCP clients left", max_len: 2048, run: agent::lease },
    Target { name: "magnet", reads: "magnet links", max_len: 2048, run: swarm::magnet },
    Target { name: "manifest", reads: "manifests of images", max_len: 4096, run: spec::manifest },
    Target { name: "metainfo", reads: ".torrent files", max_len: 8192, run: swarm::metainfo },
    Target {
        name: "partition",
        reads: "partition tables, superblocks",
        max_len: 24576,
        run: spec::partition,
    },
    Target { name: "peer", reads: "what peers do, one after the other", max_len: 4096, run: peer::sequence },
    Target { name: "range", reads: "Range headers", max_len: 256, run: server::range },
    Target { name: "relay", reads: "requests for kernels and initrds", max_len: 4096, run: agent::relay },
    Target { name: "source", reads: "sources, settings, checksums", max_len: 4096, run: server::source },
    Target { name: "state", reads: "what a cache remembers", max_len: 4096, run: agent::state },
    Target { name: "statement", reads: "statements, signatures, keys", max_len: 9000, run: spec::statement },
    Target { name: "sums", reads: "sums of blocks", max_len: 16384, run: swarm::sums },
    Target { name: "wire", reads: "messages of peers", max_len: 8192, run: swarm::wire },
];

/// Feed a target. What is too long is cut: libFuzzer may be told otherwise.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|t| t.name == name).expect("a target of this name");
    (target.run)(&data[..data.len().min(target.max_len)]);
}
