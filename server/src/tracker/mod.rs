// SPDX-License-Identifier: GPL-3.0-or-later
//! The tracker: who is in which swarm. Only torrents of the catalogue are
//! tracked, and everything is bounded. Time and chance come from outside, so
//! that tests hold them.

pub mod near;
pub mod query;
pub mod reply;

use crate::setup::net::Subnet;
use bootspec::InfoHash;
use query::{Announce, Event};
use rand::Rng;
use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

/// Peers that a client gets when it does not say how many it wants.
const DEFAULT_WANT: usize = 50;
/// And at most.
const MAX_WANT: usize = 200;
/// Peers remembered for one torrent, and for all of them.
const MAX_PEERS: usize = 10_000;
const MAX_TOTAL: usize = 50_000;
/// Peers of one torrent behind one address.
const MAX_PER_HOST: usize = 16;

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
    peers: HashMap<SocketAddr, Peer>,
    downloaded: u64,
}

impl Swarm {
    /// One host cannot fill the table with ports of its own.
    fn room_for(&self, ip: IpAddr) -> bool {
        self.peers.keys().filter(|at| at.ip() == ip).count() < MAX_PER_HOST
    }
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
        self.swarms.retain(|hash, swarm| used(hash) || !swarm.peers.is_empty());
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
        let total: usize = self.swarms.values().map(|s| s.peers.len()).sum();
        let seeded = self.seeded.contains(&ask.infohash);
        let Some(swarm) = self.swarms.get_mut(&ask.infohash) else {
            return Err(format!("no image here has the infohash {}", ask.infohash));
        };
        let asker = SocketAddr::new(from.to_canonical(), ask.port);
        let complete = ask.left == Some(0) || ask.event == Event::Completed;
        if ask.event == Event::Completed && swarm.peers.get(&asker).is_some_and(|p| !p.complete) {
            swarm.downloaded += 1;
        }
        if ask.event == Event::Stopped {
            swarm.peers.remove(&asker);
        } else if swarm.peers.contains_key(&asker)
            || (swarm.peers.len() < MAX_PEERS && total < MAX_TOTAL && swarm.room_for(asker.ip()))
        {
            // A full tracker still answers: the newcomer finds others, who then tell of it.
            swarm.peers.insert(asker, Peer { id: ask.peer_id, complete, seen: now });
        }
        let done = swarm.peers.values().filter(|p| p.complete).count();
        let mut out = Peers {
            peers: Vec::new(),
            complete: done + usize::from(seeded),
            incomplete: swarm.peers.len() - done,
        };
        if ask.event == Event::Stopped {
            return Ok(out);
        }
        let want = ask.numwant.unwrap_or(DEFAULT_WANT).min(MAX_WANT);
        // Who has everything has no use for others that do.
        if seeded && !complete {
            out.peers.push((seeder, None));
        }
        let others = swarm.peers.iter().filter(|(at, p)| **at != asker && !(complete && p.complete));
        let room = want.saturating_sub(out.peers.len());
        let is_near = |peer: &(&SocketAddr, &Peer)| near::near(asker.ip(), peer.0.ip(), &self.subnets);
        let chosen = near::choose(others, is_near, room, random);
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
            let done = swarm.peers.values().filter(|p| p.complete).count();
            Counts {
                infohash: *hash,
                complete: done + usize::from(self.seeded.contains(hash)),
                incomplete: swarm.peers.len() - done,
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
            swarm.peers.retain(|_, p| now.saturating_duration_since(p.seen) < self.forget_after);
        }
        self.forget_swarms();
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
