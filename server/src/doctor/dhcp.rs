// SPDX-License-Identifier: GPL-3.0-or-later
//! Who answers a DHCPDISCOVER on each network (RFC 2131): asked as a machine that boots would, without taking an address.

use super::{
    finding::{Finding, SystemPaths},
    offers::{self, Offer},
    pxe,
};
use crate::{
    net::{Interface, Subnet},
    setup::survey::MAIN,
};
use std::{collections::BTreeSet, fs, net::Ipv4Addr};

/// Look at all networks.
pub fn look(at: &SystemPaths) -> Vec<Finding> {
    if !nix::unistd::geteuid().is_root() {
        return vec![Finding::skipped("dhcp", "only root may ask who else answers DHCP: run it as root")];
    }
    let networks = crate::net::interfaces().unwrap_or_default();
    // Virtual bridges of this machine's own have servers of their own, which is right.
    let snippet = fs::read_to_string(at.dnsmasq.join(MAIN)).unwrap_or_default();
    let named: Vec<&str> = snippet.lines().filter_map(|l| l.strip_prefix("interface=")).collect();
    let asked: Vec<&Interface> =
        networks.iter().filter(|n| named.is_empty() || named.contains(&n.name.as_str())).collect();
    let authoritative = snippet.lines().any(|l| l == "dhcp-authoritative");
    let own: BTreeSet<Ipv4Addr> = networks.iter().map(|n| n.address).collect();
    let served = |n: &Interface| serves(&snippet, n);
    let one = |n: &Interface| {
        let answer = offers::ask(n, None).map(|offers| addresses(&offers));
        let mut found = vec![match answer {
            Ok(servers) => judge(&n.name, &servers, &own, authoritative, !snippet.is_empty()),
            Err(e) => Finding::skipped("dhcp", format!("{}: {e:#}", n.name)),
        }];
        if served(n) {
            found.extend(pxe::look(n, &own));
        }
        found
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = asked.iter().map(|n| scope.spawn(|| one(n))).collect();
        threads.into_iter().filter_map(|t| t.join().ok()).flatten().collect()
    })
}

/// Whether what setup wrote has a range for a network.
fn serves(snippet: &str, network: &Interface) -> bool {
    let words = |l: &str| l.strip_prefix("dhcp-range=").map(|r| r.replace("set:bt-range", ""));
    let mut addresses = snippet
        .lines()
        .filter_map(words)
        .flat_map(|r| r.split(',').filter_map(|w| w.parse::<Ipv4Addr>().ok()).take(1).collect::<Vec<_>>());
    addresses.any(|a| Subnet::of(a, network.subnet.prefix) == network.subnet)
}

/// The servers that gave an address. A proxy offers none, so it is not among them.
fn addresses(offers: &[Offer]) -> BTreeSet<Ipv4Addr> {
    offers.iter().filter(|o| o.address).map(|o| o.server).collect()
}

/// What it means who answered.
fn judge(
    name: &str,
    servers: &BTreeSet<Ipv4Addr>,
    own: &BTreeSet<Ipv4Addr>,
    authoritative: bool,
    set_up: bool,
) -> Finding {
    let others: Vec<String> = servers.difference(own).map(|s| s.to_string()).collect();
    let list = others.join(" and ");
    match (authoritative, others.len()) {
        (true, 1..) => Finding::bad(
            "dhcp",
            format!("on {name} {list} answers DHCP too, and this server is set up as the only one"),
            "machines take the answer that comes first: some boot, and some do not",
            format!("switch the other one off, or boottorrent setup --interface {name} --mode proxy --write"),
        ),
        (false, 2..) => Finding::warning(
            "dhcp",
            format!("on {name} {list} answer DHCP"),
            "machines use whichever answer arrives first, so addresses may come from either server",
            "find out which one should be there, and switch the others off",
        ),
        (false, 0) if set_up => Finding::bad(
            "dhcp",
            format!("on {name} nobody gives addresses, and this server is set up beside another DHCP server"),
            "machines get no address, and say PXE-E51 or that there is no DHCP offer",
            format!("boottorrent setup --interface {name} --mode authoritative --range FROM,TO --write"),
        ),
        (false, 0) => Finding::good("dhcp", format!("nobody answers on {name}")),
        (true, 0) => Finding::good("dhcp", format!("nobody else answers on {name}")),
        (false, 1) => Finding::good("dhcp", format!("on {name} {list} gives addresses")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_offers_no_address_gives_none() {
        let offer = |n, address| Offer { server: Ipv4Addr::new(10, 0, 0, n), address, boots: false };
        assert_eq!(addresses(&[offer(1, true), offer(2, false)]), [Ipv4Addr::new(10, 0, 0, 1)].into());
    }

    #[test]
    fn what_it_means() {
        let set = |all: &[u8]| all.iter().map(|n| Ipv4Addr::new(10, 0, 0, *n)).collect::<BTreeSet<_>>();
        use crate::doctor::Severity::*;
        for (servers, authoritative, set_up, want) in [
            (&[1][..], true, true, Good),
            (&[1, 2], true, true, Bad),
            (&[2], false, true, Good),
            (&[2, 3], false, true, Warning),
            (&[], false, true, Bad),
            (&[], false, false, Good),
        ] {
            let f = judge("eth0", &set(servers), &set(&[1]), authoritative, set_up);
            assert_eq!(f.state, want, "{servers:?} {f:?}");
        }
    }
}
