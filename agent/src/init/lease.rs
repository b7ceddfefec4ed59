// SPDX-License-Identifier: GPL-3.0-or-later
//! What a DHCP server lends and says (RFC 2132). Parsing only.

use bootspec::is_host_name;
use std::net::Ipv4Addr;

/// An address, and what comes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// Bits of its network.
    pub prefix: u8,
    /// Routes: a network, its bits, the router; those of option 121, else the default one.
    pub routes: Vec<(Ipv4Addr, u8, Option<Ipv4Addr>)>,
    /// The next server (siaddr), else the DHCP server.
    pub server: Ipv4Addr,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// Time servers.
    pub ntp: Vec<Ipv4Addr>,
    /// The machine's name.
    pub hostname: Option<String>,
    /// Its domain.
    pub domain: Option<String>,
    /// The domains that names without a dot are looked up in.
    pub search: Vec<String>,
    /// The most that a packet may have, in bytes.
    pub mtu: Option<u16>,
    /// Seconds for which the address is lent.
    pub seconds: Option<u32>,
}

/// Of addresses and domains in one option.
const MANY: usize = 8;
/// RFC 791: what every link can carry.
const SMALLEST_MTU: u16 = 576;

impl Lease {
    /// Read the options (code, value); what cannot be used is left out. RFC 3396: an option that comes several times is one.
    pub fn read(address: Ipv4Addr, next: Ipv4Addr, server: Ipv4Addr, options: &[(u8, &[u8])]) -> Lease {
        let get = |code: u8| {
            let parts: Vec<u8> =
                options.iter().filter(|(c, _)| *c == code).flat_map(|(_, v)| *v).copied().collect();
            (!parts.is_empty()).then_some(parts)
        };
        let addresses = |code: u8| {
            let bytes = get(code).unwrap_or_default();
            let all = bytes.chunks_exact(4).map(|c| Ipv4Addr::new(c[0], c[1], c[2], c[3]));
            all.filter(|a| !a.is_unspecified()).take(MANY).collect::<Vec<_>>()
        };
        let text = |code: u8| {
            let bytes = get(code)?;
            Some(String::from_utf8_lossy(&bytes).trim_end_matches(['\0', '.']).to_owned())
                .filter(|t| is_host_name(t))
        };
        let number = |code: u8| get(code).and_then(|b| <[u8; 4]>::try_from(b).ok()).map(u32::from_be_bytes);
        let mask = number(1).map_or_else(|| class(address), |m| m.leading_ones() as u8);
        let routes = get(121).and_then(|b| classless(&b));
        let default =
            || addresses(3).first().map(|r| (Ipv4Addr::UNSPECIFIED, 0, Some(*r))).into_iter().collect();
        Lease {
            address,
            prefix: mask,
            routes: routes.unwrap_or_else(default),
            server: if next.is_unspecified() { server } else { next },
            dns: addresses(6),
            ntp: addresses(42),
            hostname: text(12),
            domain: text(15),
            search: get(119).map(|b| domains(&b)).unwrap_or_default(),
            mtu: get(26)
                .and_then(|b| <[u8; 2]>::try_from(b).ok())
                .map(u16::from_be_bytes)
                .filter(|m| *m >= SMALLEST_MTU),
            seconds: number(51),
        }
    }

    /// As klibc's ipconfig leaves it for the boot scripts, in `/run/net-IFACE.conf`: lines that a shell reads.
    pub fn conf(&self, interface: &str) -> String {
        let router =
            self.routes.iter().find(|(_, prefix, _)| *prefix == 0).and_then(|(_, _, router)| *router);
        let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
        let broadcast = u32::from(self.address) | !mask;
        let dns = |n: usize| self.dns.get(n).copied().unwrap_or(Ipv4Addr::UNSPECIFIED).to_string();
        let ntp: Vec<String> = self.ntp.iter().map(ToString::to_string).collect();
        let lines = [
            ("DEVICE", interface.to_owned()),
            ("PROTO", if self.seconds.is_some() { "dhcp" } else { "none" }.to_owned()),
            ("IPV4ADDR", self.address.to_string()),
            ("IPV4BROADCAST", Ipv4Addr::from(broadcast).to_string()),
            ("IPV4NETMASK", Ipv4Addr::from(mask).to_string()),
            ("IPV4GATEWAY", router.unwrap_or(Ipv4Addr::UNSPECIFIED).to_string()),
            ("IPV4DNS0", dns(0)),
            ("IPV4DNS1", dns(1)),
            ("IPV4NTP", ntp.join(" ")),
            ("HOSTNAME", self.hostname.clone().unwrap_or_default()),
            ("DNSDOMAIN", self.domain.clone().unwrap_or_default()),
            ("ROOTSERVER", self.server.to_string()),
            ("DHCPLEASETIME", self.seconds.map(|s| s.to_string()).unwrap_or_default()),
            ("DOMAINSEARCH", self.search.join(" ")),
        ];
        lines.iter().map(|(key, value)| format!("{key}='{value}'\n")).collect()
    }
}

/// The network that an address had before masks (RFC 791): for servers that say none.
fn class(address: Ipv4Addr) -> u8 {
    match address.octets()[0] {
        0..128 => 8,
        128..192 => 16,
        _ => 24,
    }
}

/// Option 121 (RFC 3442): bits, as many bytes as they take, a router. `None`: it is cut, and none of it counts.
fn classless(mut bytes: &[u8]) -> Option<Vec<(Ipv4Addr, u8, Option<Ipv4Addr>)>> {
    let mut routes = Vec::new();
    while let [prefix @ 0..=32, rest @ ..] = bytes {
        let (network, rest) = rest.split_at_checked(usize::from(prefix.div_ceil(8)))?;
        let (router, rest) = rest.split_at_checked(4)?;
        let mut octets = [0; 4];
        octets[..network.len()].copy_from_slice(network);
        let router = Ipv4Addr::new(router[0], router[1], router[2], router[3]);
        routes.push((Ipv4Addr::from(octets), *prefix, (!router.is_unspecified()).then_some(router)));
        bytes = rest;
    }
    (bytes.is_empty() && !routes.is_empty()).then_some(routes)
}

/// Option 119 (RFC 3397): names as DNS writes them (RFC 1035 §4.1.4), with pointers into the option itself.
fn domains(bytes: &[u8]) -> Vec<String> {
    let (mut all, mut at) = (Vec::new(), 0);
    while all.len() < MANY
        && let Some((name, next)) = domain(bytes, at)
    {
        if is_host_name(&name) {
            all.push(name);
        }
        at = next;
    }
    all
}

/// A name at a place, and where the next one begins.
fn domain(bytes: &[u8], at: usize) -> Option<(String, usize)> {
    let (mut labels, mut here, mut next) = (Vec::new(), at, None);
    // A pointer leads backwards, so it ends; labels are counted all the same.
    while labels.len() < 128 {
        match *bytes.get(here)? {
            0 => {
                let next = next.unwrap_or(here + 1);
                return Some((labels.join("."), next));
            }
            high @ 0xc0.. => {
                let to = usize::from(high & 0x3f) << 8 | usize::from(*bytes.get(here + 1)?);
                next.get_or_insert(here + 2);
                if to >= here {
                    return None;
                }
                here = to;
            }
            length => {
                let label = bytes.get(here + 1..here + 1 + usize::from(length))?;
                labels.push(String::from_utf8_lossy(label).into_owned());
                here += 1 + usize::from(length);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 23);
    const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

    fn read(options: &[(u8, &[u8])]) -> Lease {
        Lease::read(ADDRESS, Ipv4Addr::UNSPECIFIED, SERVER, options)
    }

    #[test]
    fn what_a_server_says() {
        let lease = read(&[
            (1, &[255, 255, 255, 0]),
            (3, &[10, 77, 0, 1, 10, 77, 0, 2]),
            (6, &[10, 77, 0, 1, 10, 77]),
            (6, &[0, 3]),
            (12, b"pc-7\0"),
            (15, b"lab.test"),
            (26, &[0x23, 0x28]),
            (42, &[10, 77, 0, 5]),
            (51, &[0, 0, 0, 120]),
            (119, b"\x03lab\x04test\0\x03dmz\xc0\x04"),
        ]);
        assert_eq!(
            (lease.prefix, lease.server, lease.mtu, lease.seconds),
            (24, SERVER, Some(9000), Some(120))
        );
        assert_eq!(lease.routes, [(Ipv4Addr::UNSPECIFIED, 0, Some(SERVER))]);
        assert_eq!(lease.dns, [SERVER, Ipv4Addr::new(10, 77, 0, 3)], "in two options");
        assert_eq!(lease.search, ["lab.test", "dmz.test"]);
        let net = crate::net::parse(&lease.conf("ens3")).unwrap();
        assert_eq!((net.interface.as_str(), net.hostname.as_deref()), ("ens3", Some("pc-7")));
        assert_eq!((net.address, net.lease), (Some(ADDRESS.into()), Some(120)));
        assert_eq!((&net.dns, &net.ntp), (&lease.dns, &lease.ntp));
        assert_eq!(net.searched, ["lab.test", "dmz.test"]);
        assert!(lease.conf("ens3").contains("IPV4BROADCAST='10.77.0.255'\nIPV4NETMASK='255.255.255.0'\n"));
    }

    #[test]
    fn classless_routes_come_before_the_router() {
        let option: &[u8] = &[24, 192, 168, 5, 10, 77, 0, 9, 0, 10, 77, 0, 1, 16, 172, 16, 0, 0, 0, 0];
        let lease = read(&[(3, &[10, 77, 0, 254]), (121, option)]);
        let routes = [
            (Ipv4Addr::new(192, 168, 5, 0), 24, Some(Ipv4Addr::new(10, 77, 0, 9))),
            (Ipv4Addr::UNSPECIFIED, 0, Some(SERVER)),
            (Ipv4Addr::new(172, 16, 0, 0), 16, None),
        ];
        assert_eq!(lease.routes, routes);
        for cut in 1..option.len() {
            let routes = read(&[(3, &[10, 77, 0, 254]), (121, &option[..cut])]).routes;
            assert!(routes.len() < 3 && !routes.is_empty(), "cut at {cut}: {routes:?}");
        }
    }

    #[test]
    fn nonsense_is_left_out() {
        let lease = read(&[(12, b"a'; reboot\n"), (26, &[0, 10]), (51, &[1]), (119, b"\xc0\x00\xc0\x00")]);
        assert_eq!((lease.mtu, lease.seconds, lease.search.len(), lease.prefix), (None, None, 0, 8));
        assert!(lease.conf("x").contains("HOSTNAME=''\n"));
        for bytes in [&b"\x03la"[..], b"\x3f", b"\xc0", b"\x01a\xc0\x02"] {
            assert_eq!(domains(bytes), Vec::<String>::new(), "{bytes:?}");
        }
    }
}
