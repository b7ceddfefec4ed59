// SPDX-License-Identifier: GPL-3.0-or-later
//! Addresses that somebody has named (tracker, local discovery, peer exchange,
//! the admin), and which of them to call next. Bounded: names are cheap to invent.

use rand::seq::IteratorRandom;
use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// Addresses that are remembered.
const MAX: usize = 2000;
/// Until an address is called again after a failure, doubled each time.
const RETRY: Duration = Duration::from_millis(500);
const MAX_RETRY: Duration = Duration::from_secs(60);
/// The server's, which is worth more.
const SERVER_RETRY: Duration = Duration::from_secs(1);

#[derive(Clone)]
struct Address {
    busy: bool,
    failures: u32,
    not_before: Instant,
}

/// See the module's text.
pub(crate) struct Known {
    addresses: Mutex<HashMap<SocketAddr, Address>>,
    servers: Vec<IpAddr>,
    news: Notify,
}

impl Known {
    pub(crate) fn new(servers: Vec<IpAddr>) -> Self {
        Self { addresses: Mutex::default(), servers, news: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, Address>> {
        self.addresses.lock().expect("no panic under the lock")
    }

    /// Remember addresses.
    pub(crate) fn add(&self, addresses: impl Iterator<Item = SocketAddr>) {
        let mut all = self.lock();
        for address in addresses {
            let address = SocketAddr::new(address.ip().to_canonical(), address.port());
            let ip = address.ip();
            if address.port() == 0 || ip.is_unspecified() || ip.is_multicast() {
                continue;
            }
            if all.len() < MAX || self.is_server(&address) {
                let fresh = Address { busy: false, failures: 0, not_before: Instant::now() };
                all.entry(address).or_insert(fresh);
            }
        }
        self.news.notify_one();
    }

    /// Returns when there may be somebody new to call.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    fn is_server(&self, address: &SocketAddr) -> bool {
        self.servers.contains(&address.ip())
    }

    /// Whom to call now: the server first, and only it unless `others`; then anybody, by chance, but those who are `here`.
    pub(crate) fn next(&self, others: bool, here: &HashSet<SocketAddr>) -> Option<SocketAddr> {
        let mut all = self.lock();
        let now = Instant::now();
        let free = |a: &Address| !a.busy && a.not_before <= now;
        let server = all.iter().find(|(at, a)| free(a) && self.is_server(at)).map(|(at, _)| *at);
        let anybody = || {
            let callable = all.iter().filter(|(at, a)| free(a) && !here.contains(at)).map(|(at, _)| *at);
            callable.choose(&mut rand::rng())
        };
        let address = server.or_else(|| if others { anybody() } else { None })?;
        all.get_mut(&address)?.busy = true;
        Some(address)
    }

    /// A call is over. `worked`: they shook hands.
    pub(crate) fn over(&self, address: SocketAddr, worked: bool) {
        let server = self.is_server(&address);
        if let Some(a) = self.lock().get_mut(&address) {
            a.failures = if worked { 0 } else { a.failures + 1 };
            let most = if server { SERVER_RETRY } else { MAX_RETRY };
            a.busy = false;
            a.not_before = Instant::now() + (RETRY * (1 << a.failures.min(10))).min(most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(last: u8) -> SocketAddr {
        ([10, 0, 0, last], 6981).into()
    }

    #[test]
    fn the_server_first_then_each_once() {
        let (known, nobody) = (Known::new(vec![at(1).ip()]), HashSet::new());
        known.add([at(2), at(1), at(3), at(3)].into_iter());
        assert_eq!(known.next(false, &nobody), Some(at(1)));
        assert_eq!(known.next(false, &nobody), None);
        let mut rest = [known.next(true, &nobody).unwrap(), known.next(true, &nobody).unwrap()];
        rest.sort();
        assert_eq!(rest, [at(2), at(3)]);
        assert_eq!(known.next(true, &nobody), None);
        known.over(at(2), false);
        assert_eq!(known.next(true, &nobody), None, "not at once");
    }

    #[test]
    fn remembers_no_end_of_addresses() {
        let known = Known::new(vec![]);
        known.add((0..60_000u16).map(|port| ([10, 0, 0, 1], port).into()));
        assert_eq!(known.lock().len(), MAX);
    }
}
