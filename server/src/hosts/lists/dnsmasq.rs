// SPDX-License-Identifier: GPL-3.0-or-later
//! dnsmasq's `dhcp-host=52:54:00:12:34:56,set:room1,pc1,10.0.1.5,12h`, and the same lines without their beginning, as in a
//! `dhcp-hostsfile`.

use super::listed::{Listed, left_out};
use crate::hosts::{
    entry::{HostEntry, Hosts},
    key::{EntryKey, Mac, Name},
};
use bootspec::HostName;
use std::{fmt::Write, net::IpAddr};

/// What is said of machines in dnsmasq's settings. Other settings of the file are passed over.
pub fn read(text: &str) -> Result<Listed, String> {
    let mut listed = Listed::default();
    let is_config = text.lines().any(|l| l.trim_start().starts_with("dhcp-host"));
    for (n, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let value = match line.split_once('=') {
            Some((key, value)) if key.trim() == "dhcp-host" => value.trim(),
            _ if is_config || line.is_empty() => continue,
            _ => line,
        };
        let at = |why: String| format!("line {}: {why}", n + 1);
        machine(value, &mut listed).map_err(at)?;
    }
    Ok(listed)
}

fn machine(value: &str, listed: &mut Listed) -> Result<(), String> {
    let (mut macs, mut entry, mut ignored) = (Vec::new(), HostEntry::default(), false);
    for word in value.split(',').map(str::trim).filter(|w| !w.is_empty()) {
        match () {
            () if word == "ignore" => ignored = true,
            () if word.strip_prefix("set:").is_some() || word.starts_with("net:") => {
                // dnsmasq may set several; the first one is the group.
                entry.group = entry.group.or(Some(word[4..].parse()?));
            }
            () if word.starts_with("id:") || word.starts_with("tag:") => {
                listed.notes.push(format!("{} is passed over", bootspec::text::printable(word, 80)));
            }
            () if is_address(word) || is_lease(word) => {}
            () => match mac(word) {
                Some(Ok(mac)) => macs.push(mac),
                Some(Err(why)) => return Err(why),
                None => entry.name = Some(host_name(word)?),
            },
        }
    }
    let shown = bootspec::text::printable(value, 80);
    match &macs[..] {
        _ if ignored => listed.notes.push(format!("'{shown}' is left out: dnsmasq ignores this machine")),
        [] => listed.notes.push(format!("'{shown}' is left out: it has no MAC address")),
        [mac] => listed.entries.push((EntryKey::Mac(*mac), entry)),
        [mac, ..] => {
            listed.notes.push(format!("'{shown}': only its first MAC address counts"));
            listed.entries.push((EntryKey::Mac(*mac), entry));
        }
    }
    Ok(())
}

/// A name, without the domain that dnsmasq allows behind it.
fn host_name(word: &str) -> Result<Name, String> {
    word.split('.').next().unwrap_or(word).parse()
}

/// An address of a card, with the type of its network before it or not. Some of them stand for several machines.
fn mac(word: &str) -> Option<Result<Mac, String>> {
    let pairs = word.split([':', '-']).count();
    let pieces = |w: &str| {
        w.split([':', '-'])
            .all(|p| p == "*" || (1..=2).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    let bare = match word.split_once('-') {
        Some((kind, rest)) if kind.len() == 2 && rest.contains(':') => rest,
        _ => word,
    };
    if pairs < 6 || !pieces(bare) {
        return None;
    }
    let padded: Vec<String> = bare.split([':', '-']).map(|p| format!("{p:0>2}")).collect();
    Some(padded.join(":").parse().map_err(|_| {
        let word = bootspec::text::printable(word, 80);
        format!("'{word}' is not the MAC address of one machine: write it as in 52:54:00:12:34:56")
    }))
}

fn is_address(word: &str) -> bool {
    let bare = word.trim_start_matches('[').trim_end_matches(']');
    bare.split('/').next().is_some_and(|a| a.parse::<IpAddr>().is_ok())
}

/// How long an address is lent: `infinite`, `12h`, `3600`.
fn is_lease(word: &str) -> bool {
    let number = word.trim_end_matches(['s', 'm', 'h', 'd', 'w', 'S', 'M', 'H', 'D', 'W']);
    let unit = word.len() - number.len();
    word == "infinite"
        || word == "deprecated"
        || (unit <= 1 && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// Machines that are known by an address, and have a name or a group.
pub fn write(hosts: &Hosts) -> (String, Vec<String>) {
    let (mut text, mut left) = (String::new(), 0);
    for (key, entry) in &hosts.entries {
        // What dnsmasq would read as something else is not a name for it.
        let name = entry.name.as_ref().map(Name::as_str);
        let name = name.filter(|n| n.parse::<HostName>().is_ok() && !is_lease(n) && !is_address(n));
        match (key, name, &entry.group) {
            (EntryKey::Mac(_), None, None) => left += 1,
            (EntryKey::Mac(mac), name, group) => {
                let group = group.as_ref().map(|g| format!(",set:{g}")).unwrap_or_default();
                let name = name.map(|n| format!(",{n}")).unwrap_or_default();
                writeln!(text, "dhcp-host={mac}{group}{name}").expect("a String");
            }
            _ => left += 1,
        }
    }
    (text, left_out(left, "dnsmasq's list has machines with a MAC address, and a host name or a group, only"))
}
