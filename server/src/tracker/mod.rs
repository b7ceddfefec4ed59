// SPDX-License-Identifier: GPL-3.0-or-later
//! The tracker: who is in which swarm. Only torrents of the catalogue are
//! tracked, and everything is bounded. Time and chance come from outside, so
//! that tests hold them.

pub mod near;
pub mod query;
pub mod reply;

use crate::net::Subnet;
use bootspec::InfoHash;
use query::{Announce, Event};
use rand::Rng;
use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};
use swarm::host;

/// Peers that a client gets when it does not say how many it wants.
const DEFAULT_WANT: usize = 50;
/// And at most.
const MAX_WANT: usize = 200;
/// Peers remembered for one torrent, and for all of them.
const MAX_PEERS: usize = 10_000;
const MAX_TOTAL: usize = 50_000;
/// Peers of one torrent behind one address, and in one /64 of IPv6, which may be a room, and may be one host.
const MAX_PER_ADDRESS: usize = 16;
const MAX_PER_HOST: usize = 2000;

/// A peer as it was last heard.
#[derive(Clone, Debug)]
struct Peer {
    id: [u8; 20],
    complete: bool,
    seen: Instant,
}

/// One torrent's swarm.
#[derive(Default, Debug)]
struct Swarm {
    /// By host: an IPv4 address, or a /64 of IPv6. None is empty.
    hosts: HashMap<IpAddr, HashMap<SocketAddr, Peer>>,
    downloaded: u64,
}

impl Swarm {
    fn len(&self) -> usize {
        self.hosts.values().map(HashMap::len).sum()
    }

    fn complete(&self) -> usize {
        self.hosts.values().flat_map(HashMap::values).filter(|p| p.complete).count()
    }

    fn get(&self, at: &SocketAddr) -> Option<&Peer> {
        self.hosts.get(&host(at.ip()))?.get(at)
    }

    /// Somebody has announced. `full`: there are as many in all swarms as may be.
    fn heard(&mut self, at: SocketAddr, peer: Peer, full: bool) {
        if self.get(&at).is_some() || self.make_room(at.ip(), full) {
            self.hosts.entry(host(at.ip())).or_default().insert(at, peer);
        }
    }

    /// One host cannot fill the table with ports or addresses of its own: who was heard longest ago makes room, of its
    /// own kind, and in a full table of those of whom there are most.
    fn make_room(&mut self, ip: IpAddr, full: bool) -> bool {
        let full = full || self.len() >= MAX_PEERS;
        if let Some(theirs) = self.hosts.get_mut(&host(ip)) {
            if theirs.keys().filter(|at| at.ip() == ip).count() >= MAX_PER_ADDRESS {
                return forget_oldest(theirs, |at| at.ip() == ip);
            }
            if theirs.len() >= MAX_PER_HOST {
                return forget_oldest(theirs, |_| true);
            }
        }
        if !full {
            return true;
        }
        let most = self.hosts.iter().max_by_key(|(_, peers)| peers.len()).map(|(host, _)| *host);
        let Some(most) = most else { return false };
        self.hosts.get_mut(&most).is_some_and(|peers| forget_oldest(peers, |_| true)) && {
            self.hosts.retain(|_, peers| !peers.is_empty());
            true
        }
    }

    /// Somebody goes. Not somebody else, who has the same address by now or shares it.
    fn leaves(&mut self, at: SocketAddr, id: [u8; 20]) {
        if self.get(&at).is_some_and(|p| p.id == id) {
            self.retain(|other, _| *other != at);
        }
    }

    fn retain(&mut self, keep: impl Fn(&SocketAddr, &Peer) -> bool) {
        self.hosts.values_mut().for_each(|peers| peers.retain(|at, p| keep(at, p)));
        self.hosts.retain(|_, peers| !peers.is_empty());
    }
}

fn forget_oldest(peers: &mut HashMap<SocketAddr, Peer>, which: impl Fn(&SocketAddr) -> bool) -> bool {
    let oldest = peers.iter().filter(|(at, _)| which(at)).min_by_key(|(_, p)| p.seen).map(|(at, _)| *at);
    oldest.is_some_and(|at| peers.remove(&at).is_some())
}

/// What an announce is answered with.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Peers {
    /// Addresses, each with its peer id where it is known.
    pub peers: Vec<(SocketAddr, Option<[u8; 20]>)>,
    /// Machines that have all pieces.
    pub complete: usize,
    /// Machines that do not.
    pub incomplete: usize,
}

/// What a scrape tells of one torrent.
#[derive(Debug, PartialEq, Eq)]
pub struct Counts {
    /// Which.
    pub infohash: InfoHash,
    /// Machines that have all pieces.
    pub complete: usize,
    /// Machines that do not.
    pub incomplete: usize,
    /// Times that a machine became complete.
    pub downloaded: u64,
}

/// All swarms.
#[derive(Debug)]
pub struct Tracker {
    swarms: HashMap<InfoHash, Swarm>,
    /// Torrents of the catalogue as it is now.
    current: HashSet<InfoHash>,
    /// Torrents that our own seeder has.
    seeded: HashSet<InfoHash>,
    /// The networks that this machine is in.
    subnets: Vec<Subnet>,
    forget_after: Duration,
    cleaned: Option<Instant>,
}

impl Tracker {
    /// A tracker whose peers announce each `interval`. `subnets`: the networks that this machine is in.
    pub fn new(interval: Duration, subnets: Vec<Subnet>) -> Tracker {
        // Two announces may get lost.
        let forget_after = interval * 2 + interval / 2;
        Tracker {
            swarms: HashMap::new(),
            current: HashSet::new(),
            seeded: HashSet::new(),
            subnets,
            forget_after,
            cleaned: None,
        }
    }

    /// From now on these torrents are in the catalogue. Others are tracked no
    /// longer than they are seeded, or somebody is in their swarm: a machine that
    /// is half way through when its image is replaced can finish.
    pub fn track(&mut self, torrents: HashSet<InfoHash>) {
        for hash in &torrents {
            self.swarms.entry(*hash).or_default();
        }
        self.current = torrents;
        self.forget_swarms();
    }

    fn forget_swarms(&mut self) {
        let used = |hash: &InfoHash| self.current.contains(hash) || self.seeded.contains(hash);
        self.swarms.retain(|hash, swarm| used(hash) || !swarm.hosts.is_empty());
    }

    /// From now on our own seeder has these torrents.
    pub fn seeding(&mut self, torrents: HashSet<InfoHash>) {
        self.seeded = torrents;
    }

    /// How many torrents our own seeder has.
    pub fn seeded(&self) -> usize {
        self.seeded.len()
    }

    /// Whether our own seeder has this torrent.
    pub fn seeds(&self, torrent: &InfoHash) -> bool {
        self.seeded.contains(torrent)
    }

    /// Answer an announce that came from `from`: our own seeder first (`seeder`: how it is reached from
    /// there), then those of the asker's network, then others.
    pub fn announce(
        &mut self,
        ask: &Announce,
        from: IpAddr,
        seeder: SocketAddr,
        now: Instant,
        random: &mut impl Rng,
    ) -> Result<Peers, String> {
        self.expire(now);
        let total: usize = self.swarms.values().map(Swarm::len).sum();
        let seeded = self.seeded.contains(&ask.infohash);
        let Some(swarm) = self.swarms.get_mut(&ask.infohash) else {
            return Err(format!("no image here has the infohash {}", ask.infohash));
        };
        let asker = SocketAddr::new(from.to_canonical(), ask.port);
        let complete = ask.left == Some(0) || ask.event == Event::Completed;
        if ask.event == Event::Completed && swarm.get(&asker).is_some_and(|p| !p.complete) {
            swarm.downloaded += 1;
        }
        if ask.event == Event::Stopped {
            swarm.leaves(asker, ask.peer_id);
        } else {
            swarm.heard(asker, Peer { id: ask.peer_id, complete, seen: now }, total >= MAX_TOTAL);
        }
        let done = swarm.complete();
        let mut out =
            Peers { peers: Vec::new(), complete: done + usize::from(seeded), incomplete: swarm.len() - done };
        if ask.event == Event::Stopped {
            return Ok(out);
        }
        let want = ask.numwant.unwrap_or(DEFAULT_WANT).min(MAX_WANT);
        // Who has everything has no use for others that do.
        if seeded && !complete {
            out.peers.push((seeder, None));
        }
        let room = want.saturating_sub(out.peers.len());
        let wanted = |(at, p): &(&SocketAddr, &Peer)| **at != asker && !(complete && p.complete);
        let hosts = swarm
            .hosts
            .iter()
            .map(|(host, peers)| (near::near(asker.ip(), *host, &self.subnets), peers.iter().filter(wanted)));
        let chosen = near::choose(hosts, room, random);
        out.peers.extend(chosen.into_iter().map(|(at, p)| (*at, Some(p.id))));
        out.peers.truncate(want);
        Ok(out)
    }

    /// Answer a scrape; no torrents: all.
    pub fn scrape(&mut self, torrents: &[InfoHash], now: Instant) -> Vec<Counts> {
        self.expire(now);
        let mut known: Vec<_> =
            self.swarms.iter().filter(|(h, _)| torrents.is_empty() || torrents.contains(h)).collect();
        known.sort_by_key(|(hash, _)| **hash);
        let counts = known.into_iter().take(query::MAX_SCRAPE).map(|(hash, swarm)| {
            let done = swarm.complete();
            Counts {
                infohash: *hash,
                complete: done + usize::from(self.seeded.contains(hash)),
                incomplete: swarm.len() - done,
                downloaded: swarm.downloaded,
            }
        });
        counts.collect()
    }

    /// Forget who has not been heard for long. Once a second is enough.
    fn expire(&mut self, now: Instant) {
        if self.cleaned.is_some_and(|c| now.saturating_duration_since(c) < Duration::from_secs(1)) {
            return;
        }
        self.cleaned = Some(now);
        for swarm in self.swarms.values_mut() {
            swarm.retain(|_, p| now.saturating_duration_since(p.seen) < self.forget_after);
        }
        self.forget_swarms();
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
