// SPDX-License-Identifier: GPL-3.0-or-later
//! ethers(5): `52:54:00:12:34:56 pc1`.

use super::listed::{Listed, left_out};
use crate::hosts::{
    entry::{HostEntry, Hosts},
    key::{EntryKey, Mac},
};
use std::{fmt::Write, net::IpAddr};

/// As glibc and dnsmasq read it: bytes of one or two digits, what follows a `#` is a remark.
pub fn read(text: &str) -> Result<Listed, String> {
    let mut listed = Listed::default();
    for (n, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(address) = words.next() else { continue };
        let at = |why: String| format!("line {}: {why}", n + 1);
        let mac = mac(address).map_err(at)?;
        let Some(name) = words.next() else {
            return Err(at(format!("'{address}' has no name behind it")));
        };
        if let Some(more) = words.next() {
            let more = bootspec::text::printable(more, 80);
            return Err(at(format!("'{more}' is too much: write an address and a name")));
        }
        let mut entry = HostEntry::default();
        match name.parse::<IpAddr>() {
            Ok(ip) => {
                listed.notes.push(format!("{mac} has the address {ip} and no name: addresses come from DHCP"))
            }
            Err(_) => entry.name = Some(name.parse().map_err(at)?),
        }
        listed.entries.push((EntryKey::Mac(mac), entry));
    }
    Ok(listed)
}

/// An address whose bytes may have one digit.
fn mac(word: &str) -> Result<Mac, String> {
    let parts: Vec<String> = word.split(':').map(|p| format!("{p:0>2}")).collect();
    parts.join(":").parse().map_err(|_| {
        let word = bootspec::text::printable(word, 80);
        format!("'{word}' is not a valid MAC address: write it as in 52:54:00:12:34:56")
    })
}

/// Machines that are known by an address and have a name.
pub fn write(hosts: &Hosts) -> (String, Vec<String>) {
    let (mut text, mut left) = (String::new(), 0);
    for (key, entry) in &hosts.entries {
        match (key, &entry.name) {
            (EntryKey::Mac(mac), Some(name)) => writeln!(text, "{mac} {name}").expect("a String"),
            _ => left += 1,
        }
    }
    (text, left_out(left, "ethers has machines with a MAC address and a name only"))
}
