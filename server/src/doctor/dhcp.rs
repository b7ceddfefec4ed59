// SPDX-License-Identifier: GPL-3.0-or-later
//! Who answers a DHCPDISCOVER on each network (RFC 2131): asked as a machine that boots would, without taking an address.

use super::{Finding, Where};
use crate::setup::{dnsmasq::MAIN, net::Interface};
use anyhow::{Context, Result};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, recv, sendto, setsockopt, socket, sockopt,
};
use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    net::Ipv4Addr,
    os::fd::{AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

/// How long an answer is waited for: servers look first whether an address is taken.
const WAIT: Duration = Duration::from_secs(4);
const COOKIE: [u8; 4] = [99, 130, 83, 99];

/// Look at all networks.
pub fn look(at: &Where) -> Vec<Finding> {
    if !nix::unistd::geteuid().is_root() {
        return vec![Finding::skipped("dhcp", "only root may ask who else answers DHCP: run it as root")];
    }
    let networks = crate::setup::net::interfaces().unwrap_or_default();
    // Virtual bridges of this machine's own have servers of their own, which is right.
    let snippet = fs::read_to_string(at.dnsmasq.join(MAIN)).unwrap_or_default();
    let ours = snippet.lines().find_map(|l| l.strip_prefix("interface="));
    let asked: Vec<&Interface> = networks.iter().filter(|n| ours.is_none_or(|i| i == n.name)).collect();
    let authoritative = snippet.lines().any(|l| l == "dhcp-authoritative");
    let answers: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = asked.iter().map(|n| scope.spawn(|| (n.name.clone(), ask(n)))).collect();
        threads.into_iter().filter_map(|t| t.join().ok()).collect()
    });
    let own: BTreeSet<Ipv4Addr> = networks.iter().map(|n| n.address).collect();
    answers
        .into_iter()
        .map(|(name, answer)| match answer {
            Ok(servers) => judge(&name, &servers, &own, authoritative, !snippet.is_empty()),
            Err(e) => Finding::skipped("dhcp", format!("{name}: {e:#}")),
        })
        .collect()
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
            "machines take the answer that comes first: addresses may be of two plans",
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

/// Ask, and hear who answers.
fn ask(network: &Interface) -> Result<BTreeSet<Ipv4Addr>> {
    let socket = open(&network.name)?;
    let id = rand::random::<u32>();
    let everybody = SockaddrIn::new(255, 255, 255, 255, 67);
    let packet = discover(id);
    sendto(socket.as_raw_fd(), &packet, &everybody, nix::sys::socket::MsgFlags::empty())
        .context("sending")?;
    let (mut until, mut servers) = (Instant::now() + WAIT, BTreeSet::new());
    let mut buf = [0; 1500];
    while Instant::now() < until {
        match recv(socket.as_raw_fd(), &mut buf, nix::sys::socket::MsgFlags::empty()) {
            Ok(n) => {
                servers.extend(server(&buf[..n], id));
                // Others that are there are about as quick.
                until = if servers.is_empty() { until } else { until.min(Instant::now() + WAIT / 2) };
            }
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => {}
            Err(e) => return Err(e).context("waiting for an answer"),
        }
    }
    Ok(servers)
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

/// A DHCPDISCOVER of a machine that nobody knows, answered to everybody.
fn discover(id: u32) -> Vec<u8> {
    let mut packet = vec![0; 236];
    packet[..4].copy_from_slice(&[1, 1, 6, 0]);
    packet[4..8].copy_from_slice(&id.to_be_bytes());
    packet[10] = 0x80;
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
    // Discover; address wanted: mask, router; the end.
    packet.extend([53, 1, 1, 55, 2, 1, 3, 255]);
    packet.resize(300, 0);
    packet
}

/// The server of an offer to our question.
fn server(packet: &[u8], id: u32) -> Option<Ipv4Addr> {
    let ours = packet.len() > 240
        && packet[0] == 2
        && packet[4..8] == id.to_be_bytes()
        && packet[236..240] == COOKIE;
    let mut rest = packet.get(240..).filter(|_| ours)?;
    let (mut offer, mut server, given) = (false, None, packet[16..20] != [0; 4]);
    while let [code @ 1..=254, len, tail @ ..] = rest {
        let value = tail.get(..usize::from(*len))?;
        match (code, value) {
            (53, [2]) => offer = true,
            (54, [a, b, c, d]) => server = Some(Ipv4Addr::new(*a, *b, *c, *d)),
            _ => {}
        }
        rest = &tail[value.len()..];
    }
    // A proxy offers no address: it is no other server.
    server.filter(|_| offer && given)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers() {
        let mut packet = discover(7);
        assert_eq!((packet.len(), server(&packet, 7)), (300, None));
        packet[0] = 2;
        packet[16..20].copy_from_slice(&[10, 0, 0, 5]);
        packet.truncate(240);
        packet.extend([53, 1, 2, 54, 4, 10, 0, 0, 1, 255]);
        assert_eq!(server(&packet, 7), Some(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(server(&packet, 8), None, "somebody else's");
        let mut proxy = packet.clone();
        proxy[16..20].fill(0);
        assert_eq!(server(&proxy, 7), None);
        packet.truncate(246);
        assert_eq!(server(&packet, 7), None, "cut off");
    }

    #[test]
    fn what_it_means() {
        let set = |all: &[u8]| all.iter().map(|n| Ipv4Addr::new(10, 0, 0, *n)).collect::<BTreeSet<_>>();
        use super::super::State::*;
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
