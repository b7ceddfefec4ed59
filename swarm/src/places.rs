// SPDX-License-Identifier: GPL-3.0-or-later
//! Places that one host can take only some of, so that there are some for others.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Whose an address is: an IPv4 address is a host, and so is a /64 of IPv6, in which a host has as many addresses as it
/// likes. A room may be one /64 too, so nobody is refused for his /64 alone as long as there is room: see
/// [`crate::plan::displaced`].
pub fn host(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) if !ip.is_loopback() => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        other => other,
    }
}

/// So many places in all, and for each address.
pub struct Places {
    all: usize,
    each: usize,
    taken: Mutex<HashMap<IpAddr, usize>>,
}

/// A place that is taken; it is free when dropped.
pub struct Place {
    of: Arc<Places>,
    address: IpAddr,
}

impl Places {
    /// `all` places, `each` of them for one address at most. What comes from this machine itself is not counted apart.
    pub fn new(all: usize, each: usize) -> Arc<Self> {
        Arc::new(Self { all, each, taken: Mutex::default() })
    }

    /// Take one. None: there is none for this address, or none in its /64 of IPv6: that may be a room, and may be one host,
    /// which has half of all places at most.
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = address.to_canonical();
        let mut taken = self.taken();
        let each = if address.is_loopback() { self.all } else { self.each };
        let of =
            |which: &dyn Fn(&IpAddr) -> bool| taken.iter().filter(|t| which(t.0)).map(|t| t.1).sum::<usize>();
        let network = address.is_ipv6() && !address.is_loopback();
        let half = (self.all / 2).max(each);
        if of(&|_| true) >= self.all
            || of(&|a| *a == address) >= each
            || network && of(&|a| host(*a) == host(address)) >= half
        {
            return None;
        }
        *taken.entry(address).or_default() += 1;
        Some(Place { of: self.clone(), address })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.of.taken();
        if let Some(n) = taken.get_mut(&self.address) {
            *n -= 1;
            if *n == 0 {
                taken.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_leaves_some_for_others() {
        let places = Places::new(3, 2);
        let ip = |s: &str| s.parse::<IpAddr>().unwrap();
        let mut held =
            vec![places.take(ip("10.0.0.1")).unwrap(), places.take(ip("::ffff:10.0.0.1")).unwrap()];
        assert!(places.take(ip("10.0.0.1")).is_none(), "it has two");
        held.push(places.take(ip("10.0.0.2")).unwrap());
        assert!(places.take(ip("10.0.0.3")).is_none(), "there are three");
        held.remove(0);
        assert!(places.take(ip("10.0.0.1")).is_some(), "and given back at once");
        held.clear();
        assert!(places.taken().is_empty());
        let here: Vec<_> = (0..5).filter_map(|_| places.take(ip("127.0.0.1"))).collect();
        assert_eq!(here.len(), 3);
    }

    #[test]
    fn a_network_of_addresses_has_half_of_all() {
        let places = Places::new(10, 2);
        let six = |n: usize| format!("fd00::{n:x}").parse::<IpAddr>().unwrap();
        let held: Vec<_> = (0..100).filter_map(|n| places.take(six(n))).collect();
        assert_eq!(held.len(), 5);
        assert!(
            places.take("fd00:0:0:1::1".parse().unwrap()).is_some()
                && places.take([10, 0, 0, 1].into()).is_some()
        );
        drop(held);
        assert!(places.take(six(1)).is_some());
        assert_eq!(host(six(7)), host(six(99)));
        assert_eq!(host("::ffff:10.0.0.1".parse().unwrap()), IpAddr::from([10, 0, 0, 1]));
    }
}
