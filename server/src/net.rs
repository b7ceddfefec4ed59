// SPDX-License-Identifier: GPL-3.0-or-later
//! This machine's interfaces and their networks.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    str::FromStr,
};

/// An IPv4 network: `192.168.1.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    /// Its first address.
    pub network: Ipv4Addr,
    /// Bits of the network part.
    pub prefix: u8,
}

impl Subnet {
    /// The network that `address` is in.
    pub fn of(address: Ipv4Addr, prefix: u8) -> Subnet {
        let subnet = Subnet { network: address, prefix };
        Subnet { network: (address.to_bits() & subnet.mask().to_bits()).into(), prefix }
    }

    /// As dnsmasq wants it: `255.255.255.0`.
    pub fn mask(self) -> Ipv4Addr {
        u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0).into()
    }

    /// The address of all machines in it.
    pub fn broadcast(self) -> Ipv4Addr {
        (self.network.to_bits() | !self.mask().to_bits()).into()
    }

    /// Whether a machine in it can have this address.
    pub fn has(self, address: Ipv4Addr) -> bool {
        let (bits, mask) = (address.to_bits(), self.mask().to_bits());
        bits & mask == self.network.to_bits() && bits & !mask != 0 && bits & !mask != !mask
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let bad = || format!("'{s}' is not a valid subnet: write ADDRESS/PREFIX, as in 192.168.1.0/24");
        let (address, prefix) = s.split_once('/').ok_or_else(bad)?;
        let prefix = prefix.parse().ok().filter(|p| (8..=30).contains(p)).ok_or_else(bad)?;
        Ok(Subnet::of(address.parse().map_err(|_| bad())?, prefix))
    }
}

impl TryFrom<String> for Subnet {
    type Error = String;
    fn try_from(s: String) -> Result<Self, String> {
        s.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> String {
        subnet.to_string()
    }
}

/// What counts as one host: an IPv4 address, or the /64 that a host with IPv6 chooses its addresses from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Host(IpAddr);

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Host {
        Host(swarm::host(address))
    }
}

/// An interface with an IPv4 address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Our address on it.
    pub address: Ipv4Addr,
    /// Its network.
    pub subnet: Subnet,
}

/// The interfaces of this machine that have IPv4, without loopback.
pub fn interfaces() -> Result<Vec<Interface>> {
    let all = nix::ifaddrs::getifaddrs().context("asking for the network interfaces")?;
    let one = |i: nix::ifaddrs::InterfaceAddress| {
        let address = i.address?.as_sockaddr_in()?.ip();
        let prefix = i.netmask?.as_sockaddr_in()?.ip().to_bits().count_ones() as u8;
        let subnet = Subnet::of(address, prefix);
        (!address.is_loopback()).then_some(Interface { name: i.interface_name, address, subnet })
    };
    Ok(all.filter_map(one).collect())
}

/// Names that this machine has by itself: its host name, and what /etc/hosts calls it.
pub fn own_names() -> Vec<String> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let host = read("/proc/sys/kernel/hostname").trim().to_ascii_lowercase();
    let hosts = read("/etc/hosts").to_ascii_lowercase();
    let lines = hosts.lines().map(|l| l.split('#').next().unwrap_or_default());
    let ours = lines.filter(|l| l.split_whitespace().skip(1).any(|name| name == host));
    let mut names: Vec<String> =
        ours.flat_map(|l| l.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>()).collect();
    names.push(host);
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets() {
        let subnet: Subnet = "192.168.1.77/24".parse().unwrap();
        assert_eq!(
            (subnet.to_string().as_str(), subnet.mask().to_string().as_str()),
            ("192.168.1.0/24", "255.255.255.0")
        );
        let has = |a: &str| subnet.has(a.parse().unwrap());
        assert!(has("192.168.1.1") && has("192.168.1.254"));
        assert!(!has("192.168.1.0") && !has("192.168.1.255") && !has("192.168.2.1"));
        for bad in ["", "192.168.1.0", "192.168.1.0/", "192.168.1.0/33", "192.168.1/24", "10.0.0.0/7"] {
            assert!(bad.parse::<Subnet>().is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_of_one_host() {
        let host = |a: &str| Host::from(a.parse::<IpAddr>().unwrap());
        assert_eq!(host("2001:db8::1"), host("2001:db8::ffff:1:2:3"));
        assert_ne!(host("2001:db8::1"), host("2001:db8:0:1::1"));
        assert_eq!(host("::ffff:10.0.0.1"), host("10.0.0.1"));
        assert_ne!(host("10.0.0.1"), host("10.0.0.2"));
    }
}
