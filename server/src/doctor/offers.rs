// SPDX-License-Identifier: GPL-3.0-or-later
//! Asking who answers DHCP on a network (RFC 2131), as a machine that boots would, without taking an address.

use crate::net::Interface;
use anyhow::{Context, Result};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, recv, sendto, setsockopt, socket, sockopt,
};
use std::{
    ffi::OsString,
    net::Ipv4Addr,
    os::fd::{AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

/// How long an answer is waited for: servers look first whether an address is taken.
const WAIT: Duration = Duration::from_secs(4);
const COOKIE: [u8; 4] = [99, 130, 83, 99];
// Kinds of messages (RFC 2132 §9.6).
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;

/// An answer to our question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Who answers.
    pub server: Ipv4Addr,
    /// It gives an address.
    pub address: bool,
    /// It names something to boot: a file, or a menu of PXE that is not empty.
    pub boots: bool,
}

/// Ask, and hear who answers. `arch`: as PXE firmware of that architecture.
pub fn ask(network: &Interface, arch: Option<u16>) -> Result<Vec<Offer>> {
    let socket = open(&network.name)?;
    let id = rand::random::<u32>();
    send(&socket, 67, &message(DISCOVER, id, arch, Ipv4Addr::UNSPECIFIED))?;
    let mut offers = Vec::new();
    hear(&socket, |packet| {
        offers.extend(offer(packet, id));
        !offers.is_empty()
    })?;
    let asks_again = |o: &Offer| o.server == network.address && !o.boots;
    if arch.is_some() && offers.iter().any(asks_again) {
        let boots = boot_server(&socket, network, arch)?;
        offers.iter_mut().filter(|o| asks_again(o)).for_each(|o| o.boots = boots);
    }
    Ok(offers)
}

/// Whether our own boot server (PXE, port 4011) names a file, as UEFI asks it when the offer names none. It answers to
/// the address in the question: ours would leave by the card and never come back, so it is everybody's of that network.
fn boot_server(socket: &OwnedFd, network: &Interface, arch: Option<u16>) -> Result<bool> {
    let id = rand::random::<u32>();
    send(socket, 4011, &message(REQUEST, id, arch, network.subnet.broadcast()))?;
    let mut boots = false;
    hear(socket, |packet| {
        boots |= reply(packet, id, ACK).is_some_and(|o| o.boots);
        boots
    })?;
    Ok(boots)
}

fn send(socket: &OwnedFd, port: u16, packet: &[u8]) -> Result<()> {
    let everybody = SockaddrIn::new(255, 255, 255, 255, port);
    sendto(socket.as_raw_fd(), packet, &everybody, nix::sys::socket::MsgFlags::empty())
        .map(drop)
        .context("sending")
}

/// Hear packets for a while; shorter when `each` has something, since others that are there are about as quick.
fn hear(socket: &OwnedFd, mut each: impl FnMut(&[u8]) -> bool) -> Result<()> {
    let mut until = Instant::now() + WAIT;
    let mut buf = [0; 1500];
    while Instant::now() < until {
        match recv(socket.as_raw_fd(), &mut buf, nix::sys::socket::MsgFlags::empty()) {
            Ok(n) if each(&buf[..n]) => until = until.min(Instant::now() + WAIT / 2),
            Ok(_) | Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => {}
            Err(e) => return Err(e).context("waiting for an answer"),
        }
    }
    Ok(())
}

/// A socket that hears what is sent to clients on this interface, beside a client that runs here.
fn open(interface: &str) -> Result<OwnedFd> {
    let fd = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
        .context("opening a socket")?;
    setsockopt(&fd, sockopt::ReuseAddr, &true).context("sharing the port")?;
    setsockopt(&fd, sockopt::Broadcast, &true).context("asking to send to everybody")?;
    setsockopt(&fd, sockopt::BindToDevice, &OsString::from(interface)).context("binding to the interface")?;
    let wait = nix::sys::time::TimeVal::new(0, 200_000);
    setsockopt(&fd, sockopt::ReceiveTimeout, &wait).context("setting a time-out")?;
    bind(fd.as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, 68)).context("opening port 68")?;
    Ok(fd)
}

/// A question of a machine that nobody knows, answered to everybody unless it has the address `from`.
fn message(kind: u8, id: u32, arch: Option<u16>, from: Ipv4Addr) -> Vec<u8> {
    let mut packet = vec![0; 236];
    packet[..4].copy_from_slice(&[1, 1, 6, 0]);
    packet[4..8].copy_from_slice(&id.to_be_bytes());
    packet[10] = if from.is_unspecified() { 0x80 } else { 0 };
    packet[12..16].copy_from_slice(&from.octets());
    // An address that no maker has (locally administered).
    packet[28..34].copy_from_slice(&[
        0x02,
        0xb0,
        0x07,
        id.to_be_bytes()[1],
        id.to_be_bytes()[2],
        id.to_be_bytes()[3],
    ]);
    packet.extend(COOKIE);
    // Wanted: mask, router, and of PXE its own options, the server and the file.
    packet.extend([53, 1, kind, 55, 6, 1, 3, 43, 60, 66, 67]);
    if let Some(arch) = arch {
        let class = format!("PXEClient:Arch:{arch:05}:UNDI:003016");
        packet.extend([60, class.len() as u8]);
        packet.extend(class.as_bytes());
        packet.extend([93, 2]);
        packet.extend(arch.to_be_bytes());
        packet.extend([94, 3, 1, 3, 16]);
        // A UUID, which PXE has to send.
        packet.extend([97, 17, 0]);
        packet.extend([0xb0; 12]);
        packet.extend(id.to_be_bytes());
    }
    packet.push(255);
    packet.resize(packet.len().max(300), 0);
    packet
}

/// An offer to our question.
fn offer(packet: &[u8], id: u32) -> Option<Offer> {
    reply(packet, id, OFFER)
}

fn reply(packet: &[u8], id: u32, kind: u8) -> Option<Offer> {
    let ours = packet.len() > 240
        && packet[0] == 2
        && packet[4..8] == id.to_be_bytes()
        && packet[236..240] == COOKIE;
    let mut rest = packet.get(240..).filter(|_| ours)?;
    let (mut wanted, mut server, address) = (false, None, packet[16..20] != [0; 4]);
    // The field `file`, or option 67 in its place.
    let mut boots = packet[108] != 0;
    while let [code @ 1..=254, len, tail @ ..] = rest {
        let value = tail.get(..usize::from(*len))?;
        match (code, value) {
            (53, [k]) => wanted = *k == kind,
            (54, [a, b, c, d]) => server = Some(Ipv4Addr::new(*a, *b, *c, *d)),
            (67, [_, ..]) => boots = true,
            (43, value) => boots |= has_menu(value),
            _ => {}
        }
        rest = &tail[value.len()..];
    }
    server.filter(|_| wanted).map(|server| Offer { server, address, boots })
}

/// Whether PXE's own options have boot servers (8) or a menu (9).
fn has_menu(mut options: &[u8]) -> bool {
    while let [code @ 1..=254, len, tail @ ..] = options {
        let Some(value) = tail.get(..usize::from(*len)) else { return false };
        if matches!(code, 8 | 9) && !value.is_empty() {
            return true;
        }
        options = &tail[value.len()..];
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers() {
        let mut packet = message(DISCOVER, 7, None, Ipv4Addr::UNSPECIFIED);
        assert_eq!((packet.len(), offer(&packet, 7)), (300, None));
        packet[0] = 2;
        packet[16..20].copy_from_slice(&[10, 0, 0, 5]);
        packet.truncate(240);
        packet.extend([53, 1, 2, 54, 4, 10, 0, 0, 1, 255]);
        let server = Ipv4Addr::new(10, 0, 0, 1);
        assert_eq!(offer(&packet, 7), Some(Offer { server, address: true, boots: false }));
        assert_eq!(offer(&packet, 8), None, "somebody else's");
        let mut proxy = packet.clone();
        proxy[16..20].fill(0);
        assert!(!offer(&proxy, 7).unwrap().address, "a proxy offers none");
        // With an empty menu, as dnsmasq answers who has none of its tags (server.md F3), and with one.
        let boots = |more: &[u8]| {
            let mut packet = [&packet[..250], more].concat();
            packet[249] = more[0];
            packet.remove(250);
            offer(&packet, 7).unwrap().boots
        };
        assert!(!boots(&[43, 10, 6, 1, 8, 10, 4, 0, b'P', b'X', b'E', 255, 255]));
        assert!(boots(&[43, 9, 6, 1, 3, 9, 3, 0x80, 0, 1, 255, 255]));
        assert!(boots(&[67, 1, b'x', 255]));
        packet.truncate(246);
        assert_eq!(offer(&packet, 7), None, "cut off");
    }
}
