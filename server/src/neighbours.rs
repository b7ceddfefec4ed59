// SPDX-License-Identifier: GPL-3.0-or-later
//! Who is on the same link: the kernel knows the card behind each address there (rtnetlink(7), RTM_GETNEIGH). An
//! address can be had by asking for it; a card's address is what switches go by.

use crate::{
    hosts::Mac,
    net::{Subnet, interfaces},
};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt, socket,
    sockopt::ReceiveTimeout,
};
use std::{
    io,
    net::IpAddr,
    os::fd::AsRawFd,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

const RTM_NEWNEIGH: u16 = 28;
const RTM_GETNEIGH: u16 = 30;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST_DUMP: u16 = 0x301;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
/// Bytes of all answers, at most: the kernel keeps some thousands of neighbours.
const MAX_TABLE: usize = 8 << 20;
/// How long what was read is used again: many ask at once after a power cut.
const FRESH: Duration = Duration::from_millis(200);
/// How long our own networks are.
const NETWORKS: Duration = Duration::from_secs(10);

/// What the link says of whoever speaks from an address in a machine's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkVerdict {
    /// The address belongs to that machine's card.
    Agrees,
    /// The address is not on a link of ours, nor is the machine: nobody here can say.
    Elsewhere,
    /// The address belongs to another card, or the card has another address here.
    Denies,
}

type Table = Vec<(IpAddr, Mac)>;

/// The kernel's table of neighbours.
#[derive(Default)]
pub struct Neighbours {
    table: Mutex<Option<(Instant, Table)>>,
    networks: Mutex<Option<(Instant, Vec<Subnet>)>>,
}

impl Neighbours {
    /// Whether `remote`, who has connected to our address `local`, may speak for the machine with the card `mac`.
    pub fn ask(&self, remote: IpAddr, local: IpAddr, mac: Mac) -> LinkVerdict {
        // Somebody on the server itself.
        if remote.is_loopback() || remote == local {
            return LinkVerdict::Elsewhere;
        }
        let table = self.table(remote);
        judge(&table, remote, mac, self.is_near(remote))
    }

    fn table(&self, wanted: IpAddr) -> Vec<(IpAddr, Mac)> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let usable =
            |(at, all): &(Instant, Table)| at.elapsed() < FRESH && all.iter().any(|(ip, _)| *ip == wanted);
        if let Some((_, all)) = table.as_ref().filter(|t| usable(t)) {
            return all.clone();
        }
        // Nobody can be asked: then nobody agrees.
        let all = read().unwrap_or_default();
        *table = Some((Instant::now(), all.clone()));
        all
    }

    /// Whether an address should have an entry. Of IPv6 no network is taken for somebody else's.
    fn is_near(&self, remote: IpAddr) -> bool {
        let IpAddr::V4(remote) = remote else { return true };
        let mut networks = self.networks.lock().unwrap_or_else(PoisonError::into_inner);
        if networks.as_ref().is_none_or(|(at, _)| at.elapsed() > NETWORKS) {
            let all = interfaces().unwrap_or_default().into_iter().map(|i| i.subnet).collect();
            *networks = Some((Instant::now(), all));
        }
        networks.iter().flat_map(|(_, all)| all).any(|subnet| subnet.has(remote))
    }
}

/// `near`: whether `remote` is in a network of ours.
fn judge(table: &[(IpAddr, Mac)], remote: IpAddr, mac: Mac, near: bool) -> LinkVerdict {
    match table.iter().find(|(ip, _)| *ip == remote) {
        Some((_, card)) if *card == mac => LinkVerdict::Agrees,
        Some(_) => LinkVerdict::Denies,
        None if near || table.iter().any(|(_, card)| *card == mac) => LinkVerdict::Denies,
        None => LinkVerdict::Elsewhere,
    }
}

fn read() -> io::Result<Vec<(IpAddr, Mac)>> {
    let fd =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    // The kernel answers at once. Should it not, nobody waits for it.
    setsockopt(&fd, ReceiveTimeout, &nix::sys::time::TimeVal::new(1, 0))?;
    // `struct nlmsghdr`, 16 bytes, and `struct ndmsg`, 12: all families.
    let mut ask = Vec::with_capacity(28);
    ask.extend_from_slice(&28_u32.to_ne_bytes());
    ask.extend_from_slice(&RTM_GETNEIGH.to_ne_bytes());
    ask.extend_from_slice(&NLM_F_REQUEST_DUMP.to_ne_bytes());
    ask.resize(28, 0);
    sendto(fd.as_raw_fd(), &ask, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let (mut all, mut seen, mut buf) = (Vec::new(), 0, vec![0; 64 << 10]);
    loop {
        let length = recv(fd.as_raw_fd(), &mut buf, MsgFlags::empty())?;
        seen += length;
        if take(&buf[..length], &mut all) || length == 0 || seen > MAX_TABLE {
            return Ok(all);
        }
    }
}

/// Take what is in some messages. `true`: it was the last.
fn take(mut messages: &[u8], all: &mut Vec<(IpAddr, Mac)>) -> bool {
    while let Some((head, _)) = messages.split_at_checked(16) {
        let length = u32::from_ne_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let kind = u16::from_ne_bytes([head[4], head[5]]);
        let Some(message) = messages.get(16..length) else { return true };
        match kind {
            NLMSG_DONE | NLMSG_ERROR => return true,
            RTM_NEWNEIGH => all.extend(message.get(12..).and_then(neighbour)),
            _ => {}
        }
        messages = messages.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    false
}

/// The attributes of one entry. One that is being asked for has no card yet.
fn neighbour(mut attributes: &[u8]) -> Option<(IpAddr, Mac)> {
    let (mut address, mut card) = (None, None);
    while let Some((head, _)) = attributes.split_at_checked(4) {
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let value = attributes.get(4..length)?;
        match u16::from_ne_bytes([head[2], head[3]]) {
            NDA_DST => {
                address = <[u8; 4]>::try_from(value)
                    .map(IpAddr::from)
                    .or_else(|_| <[u8; 16]>::try_from(value).map(IpAddr::from))
                    .ok();
            }
            NDA_LLADDR => card = <[u8; 6]>::try_from(value).map(Mac).ok(),
            _ => {}
        }
        attributes = attributes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some((address?, card.filter(|c| c.0 != [0; 6])?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_decides() {
        let ip = |a: &str| a.parse::<IpAddr>().unwrap();
        let (a, b): (Mac, Mac) = ("52:54:00:00:00:01".parse().unwrap(), "52:54:00:00:00:02".parse().unwrap());
        let table = [(ip("10.0.0.1"), a), (ip("10.0.0.2"), b)];
        assert_eq!(judge(&table, ip("10.0.0.1"), a, true), LinkVerdict::Agrees);
        assert_eq!(judge(&table, ip("10.0.0.1"), b, true), LinkVerdict::Denies);
        assert_eq!(judge(&table, ip("10.0.0.3"), a, true), LinkVerdict::Denies);
        // From behind a router: not in the name of a machine that is here.
        assert_eq!(judge(&table, ip("10.9.0.3"), a, false), LinkVerdict::Denies);
        assert_eq!(
            judge(&table, ip("10.9.0.3"), "52:54:00:00:00:03".parse().unwrap(), false),
            LinkVerdict::Elsewhere
        );
        let ask = |remote: &str, local: &str| Neighbours::default().ask(ip(remote), ip(local), a);
        assert_eq!(
            (ask("127.0.0.1", "127.0.0.1"), ask("192.0.2.1", "192.0.2.1")),
            (LinkVerdict::Elsewhere, LinkVerdict::Elsewhere)
        );
    }

    #[test]
    fn what_the_kernel_says_is_read() {
        read().unwrap();
        for cut in [&b""[..], &[1, 0, 0, 0], &[255; 20], &[0; 16], &[28, 0, 0, 0, 28, 0, 0, 0]] {
            take(cut, &mut Vec::new());
        }
    }
}
