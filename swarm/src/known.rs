// SPDX-License-Identifier: GPL-3.0-or-later
//! Addresses that somebody has named (the admin, a tracker, local discovery, peer exchange), and which of them to call
//! next. Names are cheap to invent, so each source has a share of its own, and each host and each teller a share of
//! that; what was called in vain makes room, and is forgotten where anybody could have named it. What is better vouched
//! for is called first, and of what is anybody's word only so much in a second: nobody can make machines call others.

use crate::{
    networks::{Networks, canonical, on_the_link_of},
    places::host,
};
use rand::seq::IteratorRandom;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// Until an address is called again after a failure, doubled each time.
const RETRY: Duration = Duration::from_millis(500);
const MAX_RETRY: Duration = Duration::from_secs(60);
/// The server's, which is worth more.
const SERVER_RETRY: Duration = Duration::from_secs(1);
/// What anybody could have named is forgotten after so many calls that nobody answered.
const FORGOTTEN: u32 = 3;

/// Who has named an address, the most trusted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Source {
    /// The admin.
    Configured,
    /// A tracker.
    Tracker,
    /// A datagram from that address: its sender may be forged.
    Local,
    /// A peer.
    Gossip,
}

impl Source {
    /// Addresses that are remembered, of one host, and by one teller.
    fn shares(self) -> (usize, usize, usize) {
        match self {
            Self::Configured => (256, 256, 256),
            Self::Tracker => (1000, 16, 1000),
            Self::Local => (256, 4, 4),
            Self::Gossip => (500, 4, 100),
        }
    }

    /// Calls in a second, and at once.
    fn calls(self) -> f64 {
        match self {
            Self::Configured | Self::Tracker => 100.0,
            Self::Local | Self::Gossip => 20.0,
        }
    }

    fn is_anybodys(self) -> bool {
        self >= Self::Local
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// They talked.
    Worked,
    /// It is a peer, and had no room perhaps.
    Answered,
    /// Nobody is there.
    Failed,
}

#[derive(Clone)]
struct Address {
    source: Source,
    /// The host that named it.
    by: IpAddr,
    busy: bool,
    failures: u32,
    not_before: Instant,
}

#[derive(Default)]
struct All {
    addresses: HashMap<SocketAddr, Address>,
    /// Calls that may be made now, and when that was counted.
    calls: HashMap<Source, (f64, Instant)>,
}

/// See the module's text.
pub(crate) struct Known {
    all: Mutex<All>,
    servers: Vec<IpAddr>,
    networks: Networks,
    news: Notify,
}

impl Known {
    pub(crate) fn new(servers: Vec<IpAddr>) -> Self {
        Self { all: Mutex::default(), servers, networks: Networks::default(), news: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.all.lock().expect("no panic under the lock")
    }

    /// How many are remembered.
    pub(crate) fn len(&self) -> usize {
        self.lock().addresses.len()
    }

    /// What the admin has named.
    pub(crate) fn configured(&self, addresses: impl Iterator<Item = SocketAddr>) {
        self.add(Source::Configured, None, addresses);
    }

    /// What a tracker tells. `here`: it is on this machine, and so may others be.
    pub(crate) fn tracked(&self, address: SocketAddr, here: bool) {
        if here || !address.ip().to_canonical().is_loopback() {
            self.add(Source::Tracker, None, std::iter::once(address));
        }
    }

    /// Whom local discovery has heard.
    pub(crate) fn heard(&self, address: SocketAddr) {
        self.add(Source::Local, Some(address), std::iter::once(address));
    }

    /// Whom a peer at `teller` has named.
    pub(crate) fn gossip(&self, teller: SocketAddr, addresses: impl Iterator<Item = SocketAddr>) {
        self.add(Source::Gossip, Some(teller), addresses);
    }

    fn add(&self, source: Source, teller: Option<SocketAddr>, addresses: impl Iterator<Item = SocketAddr>) {
        let teller = teller.map(canonical);
        let mut all = self.lock();
        for address in addresses {
            let address = canonical(address);
            let address = teller.map_or(address, |t| on_the_link_of(address, t));
            let server = self.is_server(&address);
            if !callable(&address) || !(server || self.vouched(&address, source, teller)) {
                continue;
            }
            let by = host(teller.unwrap_or(address).ip());
            if let Some(known) = all.addresses.get_mut(&address) {
                if source < known.source {
                    (known.source, known.by) = (source, by);
                }
            } else if server || all.make_room(source, host(address.ip()), by) {
                let fresh = Address { source, by, busy: false, failures: 0, not_before: Instant::now() };
                all.addresses.insert(address, fresh);
            }
        }
        self.news.notify_one();
    }

    fn vouched(&self, address: &SocketAddr, source: Source, teller: Option<SocketAddr>) -> bool {
        match teller {
            Some(teller) if source.is_anybodys() => {
                address.port() >= 1024 && self.networks.may_call(address.ip(), teller.ip())
            }
            _ => true,
        }
    }

    /// Returns when there may be somebody new to call.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    fn is_server(&self, address: &SocketAddr) -> bool {
        self.servers.contains(&address.ip())
    }

    /// Whom to call now: the server first, and only it unless `others`; then those who were never called in vain and who
    /// are best vouched for, but those who are `here`. And whose word that is.
    pub(crate) fn next(&self, others: bool, here: &HashSet<SocketAddr>) -> Option<(SocketAddr, Source)> {
        let mut all = self.lock();
        let now = Instant::now();
        let free = |a: &Address| !a.busy && a.not_before <= now;
        let server = all.addresses.iter().find(|(at, a)| free(a) && self.is_server(at)).map(|(at, _)| *at);
        let address = match (server, others) {
            (Some(server), _) => server,
            (None, false) => return None,
            (None, true) => all.choose(|at, a| free(a) && !here.contains(at), now)?,
        };
        let chosen = all.addresses.get_mut(&address)?;
        chosen.busy = true;
        Some((address, chosen.source))
    }

    /// A call is over.
    pub(crate) fn over(&self, address: SocketAddr, how: Call) {
        let server = self.is_server(&address);
        let mut all = self.lock();
        let Some(a) = all.addresses.get_mut(&address) else { return };
        a.failures = if how == Call::Worked { 0 } else { a.failures + 1 };
        let most = if server { SERVER_RETRY } else { MAX_RETRY };
        a.busy = false;
        a.not_before = Instant::now() + (RETRY * (1 << a.failures.min(10))).min(most);
        if how == Call::Failed && a.failures >= FORGOTTEN && a.source.is_anybodys() && !server {
            all.addresses.remove(&address);
        }
    }
}

/// Whether it is an address that somebody can have.
fn callable(address: &SocketAddr) -> bool {
    let ip = address.ip();
    let linked = |a: &SocketAddr| match a {
        SocketAddr::V6(a) => !a.ip().is_unicast_link_local() || a.scope_id() != 0,
        SocketAddr::V4(_) => true,
    };
    address.port() != 0
        && !ip.is_unspecified()
        && !ip.is_multicast()
        && ip != IpAddr::from([255; 4])
        && linked(address)
}

impl All {
    /// Whether one more address fits: of this source, of this host, by this teller. What was called in vain makes room;
    /// when a source has none such, chance decides, so that who comes first does not stay for that alone.
    fn make_room(&mut self, source: Source, of: IpAddr, by: IpAddr) -> bool {
        let (all, each, told) = source.shares();
        let theirs = |at: &SocketAddr, a: &Address| a.source == source && host(at.ip()) == of;
        let teller = |_: &SocketAddr, a: &Address| a.source == source && a.by == by;
        let one = |_: &SocketAddr, a: &Address| a.source == source;
        self.fits(each, theirs, false) && self.fits(told, teller, false) && self.fits(all, one, true)
    }

    fn fits(&mut self, most: usize, which: impl Fn(&SocketAddr, &Address) -> bool, by_chance: bool) -> bool {
        let such = || self.addresses.iter().filter(|(at, a)| which(at, a));
        if such().count() < most {
            return true;
        }
        let vain = such().filter(|(_, a)| !a.busy && a.failures > 0).max_by_key(|(_, a)| a.failures);
        let gone = vain.map(|(at, _)| *at).or_else(|| {
            let idle = such().filter(|(_, a)| by_chance && !a.busy);
            idle.map(|(at, _)| *at).choose(&mut rand::rng())
        });
        gone.is_some_and(|at| self.addresses.remove(&at).is_some())
    }

    fn choose(&mut self, may: impl Fn(&SocketAddr, &Address) -> bool, now: Instant) -> Option<SocketAddr> {
        // By teller, so that who names a hundred hides nobody whom others name.
        let mut groups: BTreeMap<(bool, Source), HashMap<IpAddr, Vec<SocketAddr>>> = BTreeMap::new();
        for (at, a) in self.addresses.iter().filter(|(at, a)| may(at, a)) {
            groups.entry((a.failures > 0, a.source)).or_default().entry(a.by).or_default().push(*at);
        }
        for ((_, source), tellers) in groups {
            if self.may_call(source, now) {
                return tellers.into_values().choose(&mut rand::rng())?.into_iter().choose(&mut rand::rng());
            }
        }
        None
    }

    fn may_call(&mut self, source: Source, now: Instant) -> bool {
        let rate = source.calls();
        let (left, at) = self.calls.entry(source).or_insert((rate, now));
        *left = (*left + now.saturating_duration_since(*at).as_secs_f64() * rate).min(rate);
        *at = now;
        let may = *left >= 1.0;
        *left -= f64::from(u8::from(may));
        may
    }
}

#[cfg(test)]
#[path = "known_tests.rs"]
mod tests;
