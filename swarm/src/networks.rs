// SPDX-License-Identifier: GPL-3.0-or-later
//! Addresses, and which of those that strangers name may be called. What arrives by multicast or peer exchange is
//! anybody's word: it may name machines of our own networks, and of the network of whoever says it. Nobody can have us
//! call into networks behind a router, or programs on this machine itself. A room of several subnets is put together
//! by its tracker.

use nix::ifaddrs::getifaddrs;
use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Interfaces change: DHCP, a cable.
const FRESH: Duration = Duration::from_secs(5);
/// What is taken for somebody's network when nobody says how large it is.
const USUAL_V4: u32 = 24;
const USUAL_V6: u32 = 64;

/// An address as it is compared and called: IPv4 as IPv4, and the link of a link-local one.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(a) if a.ip().to_ipv4_mapped().is_none() => {
            SocketAddrV6::new(*a.ip(), a.port(), 0, link(a.ip(), a.scope_id())).into()
        }
        other => SocketAddr::new(other.ip().to_canonical(), other.port()),
    }
}

/// Only a link-local address needs to say on which link it is.
fn link(ip: &Ipv6Addr, scope: u32) -> u32 {
    if ip.is_unicast_link_local() { scope } else { 0 }
}

/// `port` at the same host.
pub(crate) fn with_port(mut address: SocketAddr, port: u16) -> SocketAddr {
    address.set_port(port);
    address
}

/// An address that a host names of its own link has that host's link.
pub(crate) fn on_the_link_of(address: SocketAddr, teller: SocketAddr) -> SocketAddr {
    match (address, teller) {
        (SocketAddr::V6(a), SocketAddr::V6(t)) if a.scope_id() == 0 => {
            SocketAddrV6::new(*a.ip(), a.port(), 0, link(a.ip(), t.scope_id())).into()
        }
        (other, _) => other,
    }
}

/// A network: its address, and how many of its bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network(IpAddr, u32);

impl Network {
    fn has(self, ip: IpAddr) -> bool {
        match (self.0, ip) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                (net.to_bits() ^ ip.to_bits()).checked_shr(32 - self.1).unwrap_or(0) == 0
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                (net.to_bits() ^ ip.to_bits()).checked_shr(128 - self.1).unwrap_or(0) == 0
            }
            _ => false,
        }
    }

    fn around(ip: IpAddr) -> Self {
        Self(ip, if ip.is_ipv4() { USUAL_V4 } else { USUAL_V6 })
    }
}

/// Our own networks, as they were a moment ago.
#[derive(Default)]
pub(crate) struct Networks(Mutex<Option<(Instant, Vec<Network>)>>);

impl Networks {
    /// Whether `ip` may be called because a stranger at `teller` says so.
    pub(crate) fn may_call(&self, ip: IpAddr, teller: IpAddr) -> bool {
        if ip.is_loopback() || teller.is_loopback() {
            return ip.is_loopback() && teller.is_loopback();
        }
        Network::around(teller).has(ip) || self.ours(ip)
    }

    fn ours(&self, ip: IpAddr) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_none_or(|k| k.0.elapsed() >= FRESH) {
            *known = Some((Instant::now(), interfaces()));
        }
        known.iter().flat_map(|k| &k.1).any(|n| n.has(ip))
    }
}

fn interfaces() -> Vec<Network> {
    let all = getifaddrs().map(Iterator::collect::<Vec<_>>).unwrap_or_default();
    let network = |i: &nix::ifaddrs::InterfaceAddress| {
        let (address, mask) = (i.address.as_ref()?, i.netmask.as_ref()?);
        if let (Some(a), Some(m)) = (address.as_sockaddr_in(), mask.as_sockaddr_in()) {
            return Some(Network(a.ip().into(), m.ip().to_bits().leading_ones()));
        }
        let (a, m) = (address.as_sockaddr_in6()?, mask.as_sockaddr_in6()?);
        Some(Network(a.ip().into(), m.ip().to_bits().leading_ones()))
    };
    all.iter().filter_map(network).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(s: &str) -> IpAddr {
        s.parse().unwrap()
    }

    #[test]
    fn networks_are_as_large_as_their_mask() {
        for (network, bits, of_it, not) in [
            ("10.1.2.3", 16, "10.1.255.9", "10.2.0.1"),
            ("10.1.2.3", 32, "10.1.2.3", "10.1.2.4"),
            ("fd00:1::7", 64, "fd00:1::ffff", "fd00:1:0:1::7"),
        ] {
            let network = Network(ip(network), bits);
            assert!(
                network.has(ip(of_it)) && !network.has(ip(not)) && !network.has(ip("::1")),
                "{network:?}"
            );
        }
        assert!(Network(ip("10.0.0.1"), 0).has(ip("203.0.113.1")));
    }

    #[test]
    fn strangers_name_their_own_network_and_ours_and_never_this_machine() {
        let known = |networks: &[Network]| Networks(Mutex::new(Some((Instant::now(), networks.to_vec()))));
        let networks = known(&[Network(ip("10.0.0.5"), 16), Network(ip("127.0.0.1"), 8)]);
        for (address, teller, may) in [
            ("10.0.200.1", "10.0.0.9", true),
            ("10.7.0.8", "10.7.0.9", true),
            ("10.7.1.8", "10.7.0.9", false),
            ("203.0.113.1", "10.0.0.9", false),
            ("127.0.0.1", "10.0.0.9", false),
            ("127.0.0.1", "127.0.0.9", true),
            ("10.0.0.1", "127.0.0.9", false),
            ("::1", "fe80::1", false),
        ] {
            assert_eq!(networks.may_call(ip(address), ip(teller)), may, "{address} by {teller}");
        }
    }

    #[test]
    fn this_machine_is_in_a_network() {
        assert!(interfaces().iter().any(|n| n.has(ip("127.0.0.1"))));
    }

    #[test]
    fn a_link_local_address_keeps_its_link() {
        let scoped: SocketAddr = "[fe80::1%3]:6981".parse().unwrap();
        assert_eq!(canonical(scoped), scoped);
        assert_eq!(with_port(scoped, 7), "[fe80::1%3]:7".parse().unwrap());
        assert_eq!(canonical("[fd00::1%3]:1".parse().unwrap()), "[fd00::1]:1".parse().unwrap());
        assert_eq!(canonical("[::ffff:10.0.0.1]:1".parse().unwrap()), "10.0.0.1:1".parse().unwrap());
        let named = on_the_link_of("[fe80::2]:1".parse().unwrap(), scoped);
        assert_eq!(named, "[fe80::2%3]:1".parse().unwrap());
    }
}
