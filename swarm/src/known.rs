// SPDX-License-Identifier: GPL-3.0-or-later
//! Addresses that somebody has named (the admin, a tracker, local discovery, peer exchange), and which of them to call
//! next. Names are cheap to invent, so each source has a share of its own, and each host and each teller a share of
//! that; what was called in vain makes room, and is forgotten where anybody could have named it. What is better vouched
//! for is called first, and of what is anybody's word only so much in a second: nobody can make machines call others.

use crate::{
    networks::{Networks, canonical, on_the_link_of},
    places::host,
};
use parking_lot::{Mutex, MutexGuard};
use rand::seq::IteratorRandom;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::{IpAddr, SocketAddr},
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

    fn is_anybodys(self) -> bool {
        self >= Self::Local
    }
}

/// What is bounded in a second, and as much at once.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Rate {
    /// Calls to those whom a source has named.
    Calls(Source),
    /// Datagrams that are looked at.
    Heard,
}

impl Rate {
    fn in_a_second(self) -> f64 {
        match self {
            Self::Calls(source) if source.is_anybodys() => 20.0,
            Self::Calls(_) => 100.0,
            Self::Heard => 500.0,
        }
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
    /// The host that named it.
    by: IpAddr,
    busy: bool,
    failures: u32,
    not_before: Instant,
}

#[derive(Default)]
struct All {
    /// By source.
    addresses: BTreeMap<Source, HashMap<SocketAddr, Address>>,
    /// How many of each may happen now, and when that was counted.
    rates: HashMap<Rate, (f64, Instant)>,
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
        self.all.lock()
    }

    /// How many are remembered.
    pub(crate) fn len(&self) -> usize {
        self.lock().addresses.values().map(HashMap::len).sum()
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
        // Datagrams are cheap to send: more than this are not worth a look.
        if !self.lock().may(Rate::Heard, Instant::now()) {
            return;
        }
        self.add(Source::Local, Some(address), std::iter::once(address));
    }

    /// Whom a peer at `teller` has named.
    pub(crate) fn gossip(&self, teller: SocketAddr, addresses: impl Iterator<Item = SocketAddr>) {
        self.add(Source::Gossip, Some(teller), addresses);
    }

    fn add(&self, source: Source, teller: Option<SocketAddr>, addresses: impl Iterator<Item = SocketAddr>) {
        let teller = teller.map(canonical);
        let (mut all, mut news) = (self.lock(), false);
        for address in addresses {
            let address = canonical(address);
            let address = teller.map_or(address, |t| on_the_link_of(address, t));
            let server = self.is_server(&address);
            if !callable(&address) || !(server || self.vouched(&address, source, teller)) {
                continue;
            }
            let by = host(teller.unwrap_or(address).ip());
            match all.source_of(&address) {
                Some(known) if known <= source => {}
                Some(known) => {
                    // Better vouched for than before.
                    let moved = all.of(known).remove(&address);
                    all.of(source).extend(moved.map(|a| (address, Address { by, ..a })));
                }
                None if server || all.make_room(source, host(address.ip()), by) => {
                    let fresh = Address { by, busy: false, failures: 0, not_before: Instant::now() };
                    all.of(source).insert(address, fresh);
                    news = true;
                }
                None => {}
            }
        }
        drop(all);
        if news {
            self.news.notify_one();
        }
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
        let mut servers = all.addresses.values().flatten().filter(|(at, _)| self.is_server(at));
        let server = servers.find(|(_, a)| free(a)).map(|(at, _)| *at);
        let address = match (server, others) {
            (Some(server), _) => server,
            (None, false) => return None,
            (None, true) => all.choose(|at, a| free(a) && !here.contains(at), now)?,
        };
        let source = all.source_of(&address)?;
        all.of(source).get_mut(&address)?.busy = true;
        Some((address, source))
    }

    /// A call is over.
    pub(crate) fn over(&self, address: SocketAddr, how: Call) {
        let server = self.is_server(&address);
        let mut all = self.lock();
        let Some(source) = all.source_of(&address) else { return };
        let Some(a) = all.of(source).get_mut(&address) else { return };
        a.failures = if how == Call::Worked { 0 } else { a.failures + 1 };
        let most = if server { SERVER_RETRY } else { MAX_RETRY };
        a.busy = false;
        a.not_before = Instant::now() + (RETRY * (1 << a.failures.min(10))).min(most);
        if how == Call::Failed && a.failures >= FORGOTTEN && source.is_anybodys() && !server {
            all.of(source).remove(&address);
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
    fn of(&mut self, source: Source) -> &mut HashMap<SocketAddr, Address> {
        self.addresses.entry(source).or_default()
    }

    fn source_of(&self, address: &SocketAddr) -> Option<Source> {
        self.addresses.iter().find(|(_, those)| those.contains_key(address)).map(|(source, _)| *source)
    }

    /// Whether one more address fits: of this source, of this host, by this teller. What was called in vain makes room;
    /// when a source has none such, chance decides, so that who comes first does not stay for that alone.
    fn make_room(&mut self, source: Source, of: IpAddr, by: IpAddr) -> bool {
        let (all, each, told) = source.shares();
        let those = self.of(source);
        fits(those, each, |at, _| host(at.ip()) == of, false)
            && fits(those, told, |_, a| a.by == by, false)
            && fits(those, all, |_, _| true, true)
    }

    fn choose(&mut self, may: impl Fn(&SocketAddr, &Address) -> bool, now: Instant) -> Option<SocketAddr> {
        // By teller, so that who names a hundred hides nobody whom others name.
        let mut groups: BTreeMap<(bool, Source), HashMap<IpAddr, Vec<SocketAddr>>> = BTreeMap::new();
        for (source, those) in &self.addresses {
            for (at, a) in those.iter().filter(|(at, a)| may(at, a)) {
                groups.entry((a.failures > 0, *source)).or_default().entry(a.by).or_default().push(*at);
            }
        }
        for ((_, source), tellers) in groups {
            if self.may(Rate::Calls(source), now) {
                return tellers.into_values().choose(&mut rand::rng())?.into_iter().choose(&mut rand::rng());
            }
        }
        None
    }

    /// Whether one more of these may happen now.
    fn may(&mut self, what: Rate, now: Instant) -> bool {
        let rate = what.in_a_second();
        let (left, at) = self.rates.entry(what).or_insert((rate, now));
        *left = (*left + now.saturating_duration_since(*at).as_secs_f64() * rate).min(rate);
        *at = now;
        let may = *left >= 1.0;
        *left -= f64::from(u8::from(may));
        may
    }
}

/// Whether there are fewer than `most` of those. One that was called in vain makes room; else, if `by_chance`, any.
fn fits(
    those: &mut HashMap<SocketAddr, Address>,
    most: usize,
    which: impl Fn(&SocketAddr, &Address) -> bool,
    by_chance: bool,
) -> bool {
    let such = || those.iter().filter(|(at, a)| which(at, a));
    if such().count() < most {
        return true;
    }
    let vain = such().filter(|(_, a)| !a.busy && a.failures > 0).max_by_key(|(_, a)| a.failures);
    let gone = vain.map(|(at, _)| *at).or_else(|| {
        let idle = such().filter(|(_, a)| by_chance && !a.busy);
        idle.map(|(at, _)| *at).choose(&mut rand::rng())
    });
    gone.is_some_and(|at| those.remove(&at).is_some())
}

#[cfg(test)]
#[path = "known_tests.rs"]
mod tests;
