// SPDX-License-Identifier: GPL-3.0-or-later
//! Wake-on-LAN: a magic packet to every network that this machine is in.

use crate::{
    clients::Client,
    hosts::{Asker, EntryKey, Hosts, Mac, choose},
    net::{Interface, interfaces},
};
use anyhow::{Context, Result, anyhow, bail};
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, UdpSocket},
};

/// The discard port, to which most senders send.
const PORT: u16 = 9;

/// Six bytes of ones, and the address sixteen times.
pub fn packet(mac: Mac) -> Vec<u8> {
    [&[0xff; 6][..], &mac.0.repeat(16)].concat()
}

/// The MAC addresses that a target stands for. A machine that is known by its UUID or serial number
/// is found when it has asked this server for its boot script.
pub fn resolve(target: &str, hosts: &Hosts, clients: &[Client]) -> Result<Vec<Mac>, String> {
    // A machine's own name counts as well as ours for it.
    let named = |c: &&Client| c.heartbeat.hostname.as_deref() == Some(target);
    let key = match hosts.find(target) {
        Ok(key) => key,
        Err(why) => {
            return match clients.iter().find(named).and_then(mac) {
                Some(mac) => Ok(vec![mac]),
                None => Err(why),
            };
        }
    };
    if let EntryKey::Mac(mac) = key {
        return Ok(vec![mac]);
    }
    let chosen = |c: &Client| choose(hosts, &asker(c));
    let known = hosts.entries.iter().filter_map(|(k, e)| match (k, &key) {
        (EntryKey::Mac(mac), EntryKey::Group(group))
            if e.group.as_ref().is_some_and(|g| hosts.is_within(g, group)) =>
        {
            Some(*mac)
        }
        _ => None,
    });
    let heard = clients.iter().filter(|c| match &key {
        EntryKey::Group(group) => chosen(c).group.is_some_and(|g| hosts.is_within(&g, group)),
        key => chosen(c).key.as_ref() == Some(key),
    });
    let all: BTreeSet<Mac> = known.chain(heard.filter_map(mac)).collect();
    match all.is_empty() {
        true => Err(format!(
            "no MAC address is known for '{target}': the machine must have asked this server for its boot script, or be \
             named by its MAC address"
        )),
        false => Ok(all.into_iter().collect()),
    }
}

fn mac(client: &Client) -> Option<Mac> {
    client.heartbeat.id.parse().ok()
}

/// A machine that is known, as it would ask.
pub fn asker(client: &Client) -> Asker {
    Asker {
        mac: mac(client),
        uuid: client.uuid.clone(),
        serial: client.serial.clone(),
        ip: client.heartbeat.address.as_deref().and_then(|a| a.parse().ok()).or(client.remote),
        hostname: client.heartbeat.hostname.clone(),
    }
}

/// Send for these machines, on every network.
pub fn send(macs: &[Mac]) -> Result<()> {
    let networks = interfaces()?;
    if networks.is_empty() {
        bail!("no interface of this machine has an IPv4 network: nobody can be woken");
    }
    let mut last = None;
    let mut sent = false;
    for network in &networks {
        match send_on(network, macs) {
            Ok(()) => sent = true,
            Err(e) => last = Some(e.context(format!("sending on {}", network.name))),
        }
    }
    match last {
        // One network that works may be the right one.
        _ if sent => Ok(()),
        e => Err(e.unwrap_or_else(|| anyhow!("nobody was woken"))),
    }
}

fn send_on(network: &Interface, macs: &[Mac]) -> Result<()> {
    let socket = UdpSocket::bind((IpAddr::V4(network.address), 0)).context("opening a socket")?;
    socket.set_broadcast(true).context("asking to send to everybody")?;
    let everybody = Ipv4Addr::from_bits(network.subnet.network.to_bits() | !network.subnet.mask().to_bits());
    for mac in macs {
        socket
            .send_to(&packet(*mac), (everybody, PORT))
            .with_context(|| format!("sending to {everybody}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bootspec::Heartbeat;

    #[test]
    fn the_packet() {
        let packet = packet(Mac([1, 2, 3, 4, 5, 6]));
        assert_eq!(
            (packet.len(), &packet[..8], &packet[100..]),
            (102, &[255, 255, 255, 255, 255, 255, 1, 2][..], &[5, 6][..])
        );
    }

    #[test]
    fn targets() {
        let hosts: Hosts = toml::from_str(
            "[\"group:r\"]\nsubnet=[\"10.0.1.0/24\"]\n[\"52:54:00:00:00:01\"]\nname=\"pc1\"\ngroup=\"r\"\n[\"serial:A\"]\nname=\"pc2\"\n\
             [\"serial:B\"]\n",
        )
        .unwrap();
        let client = |id: &str, address: &str, serial: Option<&str>, hostname: &str| Client {
            heartbeat: Heartbeat {
                id: id.into(),
                address: Some(address.into()),
                hostname: Some(hostname.into()),
                ..Default::default()
            },
            serial: serial.map(str::to_owned),
            ..Default::default()
        };
        let clients = [
            client("52:54:00:00:00:02", "10.0.2.2", Some("A"), "x"),
            client("52:54:00:00:00:03", "10.0.1.3", None, "guest"),
        ];
        for (target, want) in [
            ("52:54:00:00:00:99", Ok(vec![0x99])),
            ("pc1", Ok(vec![1])),
            ("pc2", Ok(vec![2])),
            ("r", Ok(vec![1, 3])),
            ("guest", Ok(vec![3])),
            (
                "serial:B",
                Err("no MAC address is known for 'serial:B': the machine must have asked this server for its boot script, \
                     or be named by its MAC address"
                    .to_owned()),
            ),
        ] {
            let want = want.map(|w: Vec<u8>| w.iter().map(|b| Mac([0x52, 0x54, 0, 0, 0, *b])).collect());
            assert_eq!(resolve(target, &hosts, &clients), want, "{target}");
        }
        assert!(
            resolve("nobody", &hosts, &clients).unwrap_err().starts_with("no machine and no group is called")
        );
    }
}
