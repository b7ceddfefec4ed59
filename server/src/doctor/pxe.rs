// SPDX-License-Identifier: GPL-3.0-or-later
//! What a machine's firmware would be told on each network: asked as it asks (PXE specification 2.1, RFC 4578), and
//! judged by the answer that really comes.

use super::{
    finding::Finding,
    offers::{self, Offer},
};
use crate::net::Interface;
use std::{collections::BTreeSet, net::Ipv4Addr};

/// The firmware that setup serves: its name, and its architecture (RFC 4578, option 93).
const FIRMWARE: [(&str, u16); 2] = [("BIOS", 0), ("UEFI", 7)];

/// Ask on a network that setup serves, with each firmware.
pub fn look(network: &Interface, own: &BTreeSet<Ipv4Addr>) -> Vec<Finding> {
    let asked = FIRMWARE.map(|(name, arch)| (name, offers::ask(network, Some(arch))));
    let mut found = Vec::new();
    let mut told = Vec::new();
    for (firmware, offers) in asked {
        match offers {
            Ok(offers) => match judge(&network.name, firmware, &offers, own) {
                Ok(()) => told.push(firmware),
                Err(bad) => found.push(bad),
            },
            Err(e) => found.push(Finding::skipped("pxe", format!("{}: {e:#}", network.name))),
        }
    }
    if found.is_empty() {
        let what = format!("on {} this server tells {} what to boot", network.name, told.join(" and "));
        found.push(Finding::good("pxe", what));
    }
    found
}

fn judge(name: &str, firmware: &str, offers: &[Offer], own: &BTreeSet<Ipv4Addr>) -> Result<(), Finding> {
    let ours = || offers.iter().filter(|o| own.contains(&o.server));
    if ours().any(|o| o.boots) {
        return Ok(());
    }
    let (what, cure) = match ours().next() {
        None => (
            format!(
                "on {name} this server does not answer a machine with {firmware} that boots from the network"
            ),
            "boottorrent setup shows which line of dnsmasq's other files keeps machines out; then systemctl restart \
             dnsmasq, and journalctl -u dnsmasq",
        ),
        Some(_) => (
            format!("on {name} this server answers a machine with {firmware}, but names nothing to boot"),
            "boottorrent setup --write with every --interface that machines are on",
        ),
    };
    Err(Finding::bad("pxe", what, "machines on this network do not boot from here", cure))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_answers_mean() {
        let own: BTreeSet<Ipv4Addr> = [Ipv4Addr::new(10, 0, 0, 1)].into();
        let offer = |n, boots| Offer { server: Ipv4Addr::new(10, 0, 0, n), address: true, boots };
        let said = |offers: &[Offer]| judge("eth0", "BIOS", offers, &own).map_err(|f| f.what);
        assert_eq!(said(&[offer(2, false), offer(1, true)]), Ok(()));
        let silent = "on eth0 this server does not answer a machine with BIOS that boots from the network";
        assert_eq!(said(&[offer(2, true)]).unwrap_err(), silent);
        assert_eq!(said(&[]).unwrap_err(), silent);
        let empty = "on eth0 this server answers a machine with BIOS, but names nothing to boot";
        assert_eq!(said(&[offer(1, false)]).unwrap_err(), empty);
    }
}
