// SPDX-License-Identifier: GPL-3.0-or-later
//! The network of the booted system. The initramfs has brought the boot card up; from here on the image's own network
//! manager looks after it, as if the machine had booted from disk, with the lease that the machine has already: it is
//! told to identify itself by the card's address, as the firmware and the initramfs did. Where the image has nobody
//! for that card, the agent renews the lease ([`crate::lease`]).

use super::{machine_id, tree::Tree};
use crate::net::Net;
use std::path::Path;

/// Who looks after the boot card in the booted system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    /// NetworkManager.
    NetworkManager,
    /// systemd-networkd.
    Networkd,
    /// ifupdown, with a DHCP client.
    Ifupdown,
    /// Nobody: it stays as the initramfs left it.
    Nobody,
}

impl Manager {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Manager::NetworkManager => "NetworkManager",
            Manager::Networkd => "systemd-networkd",
            Manager::Ifupdown => "ifupdown",
            Manager::Nobody => "nobody",
        }
    }

    /// Who it is in this image. In Debian NetworkManager leaves alone what ifupdown has a stanza for.
    fn of(tree: &Tree, net: &Net, networkd_asked: bool) -> Manager {
        let enabled = |unit: &str| {
            ["multi-user.target.wants", "network-online.target.wants", "sysinit.target.wants"]
                .iter()
                .any(|wants| tree.exists(&format!("etc/systemd/system/{wants}/{unit}")))
        };
        let ifup = tree.exists("usr/sbin/ifup") || tree.exists("sbin/ifup");
        match () {
            () if ifup && stanzas(tree).iter().any(|s| s.interface == net.interface) => Manager::Ifupdown,
            () if enabled("NetworkManager.service") => Manager::NetworkManager,
            () if (networkd_asked || enabled("systemd-networkd.service"))
                && networks(tree).iter().any(|(_, text)| matches_card(text, net)) =>
            {
                Manager::Networkd
            }
            () => Manager::Nobody,
        }
    }
}

/// Write what the image's network manager must know, and say who it is. `run`: what is /run in the booted system.
pub fn write(tree: &Tree, net: &Net, run: &Path, networkd_asked: bool) -> anyhow::Result<Manager> {
    name_servers(tree, net)?;
    time_servers(tree, net, run)?;
    if net.interface.is_empty() {
        return Ok(Manager::Nobody);
    }
    let manager = Manager::of(tree, net, networkd_asked);
    match manager {
        Manager::NetworkManager => network_manager(tree, net, run)?,
        Manager::Networkd => {
            for (name, _) in networks(tree) {
                tree.put(
                    &format!("etc/systemd/network/{name}.d/50-boottorrent.conf"),
                    &format!("{HEAD}[DHCPv4]\nClientIdentifier=mac\n"),
                )?;
            }
        }
        Manager::Ifupdown => {
            // Debian's ifupdown starts dhclient with -i: a client id that is made anew at each boot.
            append(
                tree,
                "etc/dhcp/dhclient.conf",
                "send dhcp-client-identifier",
                "send dhcp-client-identifier = hardware;\n",
            )?;
            append(tree, "etc/dhcpcd.conf", "clientid", "clientid\n")?;
        }
        Manager::Nobody => {}
    }
    Ok(manager)
}

const HEAD: &str = "# Written by boottorrent-agent.\n";

/// The name servers that DHCP named: in resolv.conf, or where it is a link to systemd-resolved, in its settings.
fn name_servers(tree: &Tree, net: &Net) -> anyhow::Result<()> {
    if net.dns.is_empty() {
        return Ok(());
    }
    let servers: Vec<String> = net.dns.iter().map(ToString::to_string).collect();
    let domains = net.search();
    match tree.link("etc/resolv.conf") {
        None => {
            let search =
                if domains.is_empty() { String::new() } else { format!("search {}\n", domains.join(" ")) };
            let lines: String = servers.iter().map(|s| format!("nameserver {s}\n")).collect();
            tree.put("etc/resolv.conf", &format!("{search}{lines}"))
        }
        Some(to) if to.contains("systemd/resolve") => {
            let domains =
                if domains.is_empty() { String::new() } else { format!("Domains={}\n", domains.join(" ")) };
            let text = format!("{HEAD}[Resolve]\nDNS={}\n{domains}", servers.join(" "));
            tree.put("etc/systemd/resolved.conf.d/boottorrent.conf", &text)
        }
        // Another resolver's own (NetworkManager, resolvconf): it is told by the network manager.
        Some(_) => Ok(()),
    }
}

/// The time servers that DHCP named, for systemd-timesyncd and chrony, whichever the image has. (Where a network manager asks
/// again, it tells them the same.)
fn time_servers(tree: &Tree, net: &Net, run: &Path) -> anyhow::Result<()> {
    if net.ntp.is_empty() {
        return Ok(());
    }
    let servers: Vec<String> = net.ntp.iter().map(ToString::to_string).collect();
    if tree.exists("usr/lib/systemd/systemd-timesyncd") || tree.exists("lib/systemd/systemd-timesyncd") {
        let text = format!("{HEAD}[Time]\nNTP={}\n", servers.join(" "));
        tree.put("etc/systemd/timesyncd.conf.d/boottorrent.conf", &text)?;
    }
    if tree.exists("usr/sbin/chronyd") {
        // The folder that Debian's chrony.conf reads for what DHCP says.
        let lines: String = servers.iter().map(|s| format!("server {s} iburst\n")).collect();
        Tree::new(run).put("chrony-dhcp/boottorrent.sources", &format!("{HEAD}{lines}"))?;
    }
    Ok(())
}

/// A connection of its own, with the state file by which NetworkManager takes over a card that is up
/// (NetworkManager(8), /run/NetworkManager/devices): it would only watch it otherwise.
fn network_manager(tree: &Tree, net: &Net, run: &Path) -> anyhow::Result<()> {
    let id = machine_id::uuid(&format!("NetworkManager {}", net.mac));
    tree.put_private(
        "etc/NetworkManager/system-connections/boottorrent.nmconnection",
        &format!(
            "{HEAD}[connection]\nid=boottorrent\nuuid={id}\ntype=ethernet\nautoconnect-priority=999\n\n\
             [ethernet]\nmac-address={}\n\n[ipv4]\nmethod=auto\ndhcp-client-id=mac\n\n[ipv6]\nmethod=auto\n",
            net.mac.to_uppercase()
        ),
    )?;
    let Some(index) = net.index else { return Ok(()) };
    Tree::new(run).put(
        &format!("NetworkManager/devices/{index}"),
        &format!("[device]\nmanaged=true\nconnection-uuid={id}\nnm-owned=false\n"),
    )
}

/// Add a line to a file that is there, unless one begins like it: comments do not.
fn append(tree: &Tree, file: &str, begins: &str, line: &str) -> anyhow::Result<()> {
    match tree.read(file) {
        Some(text) if !text.lines().any(|l| l.trim_start().starts_with(begins)) => {
            tree.put(file, &format!("{}\n{HEAD}{line}", text.trim_end()))
        }
        _ => Ok(()),
    }
}

/// A stanza of interfaces(5).
#[derive(Debug, PartialEq, Eq)]
struct Stanza {
    interface: String,
}

/// The interfaces that ifupdown brings up by itself. Files are read as `source` and `source-directory` name them by
/// default.
fn stanzas(tree: &Tree) -> Vec<Stanza> {
    let mut texts: Vec<String> = tree.read("etc/network/interfaces").into_iter().collect();
    for name in tree.names("etc/network/interfaces.d") {
        texts.extend(tree.read(&format!("etc/network/interfaces.d/{name}")));
    }
    let mut found = Vec::new();
    for text in &texts {
        let joined = text.replace("\\\n", " ");
        let begun = |l: &&str| ["iface"].iter().any(|w| l.split_whitespace().next() == Some(w));
        let up: Vec<&str> = joined
            .lines()
            .filter(|l| matches!(l.split_whitespace().next(), Some("auto" | "allow-hotplug" | "allow-auto")))
            .flat_map(|l| l.split_whitespace().skip(1))
            .collect();
        for line in joined.lines().filter(begun) {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let [_, name, "inet", "dhcp", ..] = words[..]
                && up.contains(&name)
            {
                found.push(Stanza { interface: name.to_owned() });
            }
        }
    }
    found
}

/// systemd-networkd's files of this image, each with what the file that counts says: /etc before /usr/lib.
fn networks(tree: &Tree) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for folder in ["etc/systemd/network", "usr/lib/systemd/network", "lib/systemd/network"] {
        for name in tree.names(folder) {
            let fits = name.ends_with(".network") && !found.iter().any(|(n, _)| *n == name);
            if let Some(text) = fits.then(|| tree.read(&format!("{folder}/{name}"))).flatten() {
                found.push((name, text));
            }
        }
    }
    found.sort();
    found
}

/// Whether a .network file (systemd.network(5)) is for the boot card, and asks DHCP. A condition that is not known
/// here does not hold.
fn matches_card(text: &str, net: &Net) -> bool {
    let (mut section, mut any, mut all, mut dhcp) = ("", false, true, false);
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        }
        let Some((key, value)) = line.split_once('=').map(|(k, v)| (k.trim(), v.trim())) else { continue };
        match (section, key) {
            ("[Match]", "Name") => {
                any = true;
                all &= value.split_whitespace().any(|glob| fits(glob, &net.interface));
            }
            ("[Match]", "MACAddress" | "PermanentMACAddress") => {
                any = true;
                all &= value.split_whitespace().any(|m| m.replace('-', ":").eq_ignore_ascii_case(&net.mac));
            }
            ("[Match]", "Type") => {
                any = true;
                all &= value.split_whitespace().any(|t| t == "ether");
            }
            // True of a card.
            ("[Match]", "Kind") => all &= value.starts_with('!'),
            ("[Match]", _) => all = false,
            ("[Network]", "DHCP") => dhcp = matches!(value, "yes" | "ipv4" | "true" | "both" | "v4"),
            _ => {}
        }
    }
    any && all && dhcp
}

/// Shell patterns with `*` and `?`, and `!` in front.
fn fits(pattern: &str, name: &str) -> bool {
    fn glob(p: &[u8], n: &[u8]) -> bool {
        match (p.first(), n.first()) {
            (None, None) => true,
            (Some(b'*'), _) => glob(&p[1..], n) || (!n.is_empty() && glob(p, &n[1..])),
            (Some(b'?'), Some(_)) => glob(&p[1..], &n[1..]),
            (Some(a), Some(b)) if a == b => glob(&p[1..], &n[1..]),
            _ => false,
        }
    }
    match pattern.strip_prefix('!') {
        Some(rest) => !glob(rest.as_bytes(), name.as_bytes()),
        None => glob(pattern.as_bytes(), name.as_bytes()),
    }
}

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;
