// SPDX-License-Identifier: GPL-3.0-or-later
//! The machine's DHCP lease, renewed while the booted system has nobody who does (RFC 2131). The socket is opened in
//! the initramfs: later this process has no paths.

use crate::{
    dhcp::{self, question},
    net::Net,
    report::Report,
};
use anyhow::{Context, bail};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket,
    sockopt::{BindToDevice, Broadcast, ReuseAddr},
};
use smoltcp::wire::{DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress};
use std::{
    ffi::OsString,
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv4Addr, UdpSocket},
    os::fd::{AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two tries at least (RFC 2131 §4.4.5).
const PAUSE: Duration = Duration::from_secs(60);
/// A lease that never ends.
const FOREVER: u32 = u32::MAX;

/// The shortest packet that every relay passes on: BOOTP's (RFC 951).
const SHORTEST: usize = 300;

/// A lease, and what it takes to renew it.
pub struct Renewal {
    socket: UdpSocket,
    interface: String,
    mac: EthernetAddress,
    address: Ipv4Addr,
    lease: Duration,
}

impl Renewal {
    /// For the boot card. `None`: its address was not lent, or for ever.
    pub fn prepare(net: &Net) -> anyhow::Result<Option<Renewal>> {
        let (Some(seconds), Some(IpAddr::V4(address))) = (net.lease, net.address) else { return Ok(None) };
        let Some(mac) = mac(&net.mac).filter(|_| seconds != FOREVER && seconds > 0) else { return Ok(None) };
        let socket = open(&net.interface).context("opening a socket for DHCP")?;
        let lease = Duration::from_secs(seconds.into());
        Ok(Some(Renewal { socket, interface: net.interface.clone(), mac, address, lease }))
    }

    /// Renew it for ever.
    pub fn run(mut self, report: &Report) {
        let (mut since, mut lost) = (Instant::now(), false);
        let mut wait = self.lease / 2;
        loop {
            std::thread::sleep(wait);
            match self.renew() {
                Ok(seconds) => {
                    (since, self.lease) = (Instant::now(), Duration::from_secs(seconds.into()));
                    if std::mem::take(&mut lost) {
                        report.info(&format!(
                            "DHCP answers again: {} is this machine's for {seconds} s",
                            self.address
                        ));
                    }
                    if seconds == FOREVER {
                        return;
                    }
                    wait = self.lease / 2;
                }
                Err(e) => {
                    if !std::mem::replace(&mut lost, true) {
                        report.warn(&format!(
                            "renewing the DHCP lease of {} on {}: {e:#}; trying again",
                            self.address, self.interface
                        ));
                    }
                    wait = (self.lease.saturating_sub(since.elapsed()) / 2).max(PAUSE);
                }
            }
        }
    }

    /// Ask once, and return for how many seconds the address is ours now. Broadcast, as in the state REBINDING: so it
    /// is the same through a relay, and whichever server has the leases now.
    fn renew(&self) -> anyhow::Result<u32> {
        let id = RandomState::new().hash_one(Instant::now()) as u32;
        let request = request(id, self.mac, self.address);
        self.socket.send_to(&request, (Ipv4Addr::BROADCAST, SERVER_PORT)).context("sending")?;
        let deadline = Instant::now() + PATIENCE;
        let mut buf = [0; 1500];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("no answer from any DHCP server");
            }
            self.socket.set_read_timeout(Some(left)).context("setting a timeout")?;
            let Ok((n, _)) = self.socket.recv_from(&mut buf) else { continue };
            match answer(&buf[..n], id, self.mac) {
                Some(Answer::Ack(seconds)) => return Ok(seconds),
                Some(Answer::Nak) => bail!("the DHCP server refuses the address"),
                None => {}
            }
        }
    }
}

fn open(interface: &str) -> anyhow::Result<UdpSocket> {
    let fd: OwnedFd = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, ReuseAddr, &true)?;
    setsockopt(&fd, Broadcast, &true)?;
    setsockopt(&fd, BindToDevice, &OsString::from(interface))?;
    bind(fd.as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, CLIENT_PORT))?;
    Ok(fd.into())
}

fn mac(text: &str) -> Option<EthernetAddress> {
    let bytes: Option<Vec<u8>> = text.split(':').map(|b| u8::from_str_radix(b, 16).ok()).collect();
    bytes?.try_into().ok().map(EthernetAddress)
}

/// A DHCPREQUEST that renews (RFC 2131 §4.3.2): our address in ciaddr, and neither a server nor an address asked for.
fn request(id: u32, mac: EthernetAddress, address: Ipv4Addr) -> Vec<u8> {
    let question = DhcpRepr {
        client_ip: address,
        max_size: None,
        ..question(mac, DhcpMessageType::Request, id, Duration::ZERO)
    };
    let mut packet = vec![0; question.buffer_len().max(SHORTEST)];
    question.emit(&mut DhcpPacket::new_unchecked(&mut packet)).expect("there is room");
    packet
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// The address is ours for this many seconds.
    Ack(u32),
    /// It is not.
    Nak,
}

/// What a server answers to our request; `None`: it is another's packet.
fn answer(packet: &[u8], id: u32, mac: EthernetAddress) -> Option<Answer> {
    let packet = DhcpPacket::new_checked(packet).ok()?;
    let said = dhcp::answer(&packet, id, mac)?;
    match (said.message_type, said.lease_duration) {
        (DhcpMessageType::Ack, Some(seconds)) if seconds > 0 => Some(Answer::Ack(seconds)),
        (DhcpMessageType::Nak, _) => Some(Answer::Nak),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: EthernetAddress = EthernetAddress([0x52, 0x54, 0, 0, 0, 1]);

    fn reply(options: &[u8]) -> Vec<u8> {
        let mut packet = request(7, MAC, Ipv4Addr::new(10, 0, 0, 2));
        packet[0] = 2;
        packet.truncate(240);
        packet.extend(options);
        packet
    }

    #[test]
    fn answers() {
        let said = |options: &[u8]| answer(&reply(options), 7, MAC);
        assert_eq!(said(&[53, 1, 5, 51, 4, 0, 0, 0, 120, 255]), Some(Answer::Ack(120)));
        assert_eq!(said(&[0, 0, 53, 1, 6, 255]), Some(Answer::Nak));
        for nothing in
            [&[][..], &[53, 1, 5, 255], &[53, 1], &[53, 9, 5], &[51, 2, 0, 1, 53, 1, 5], &[53, 1, 2, 255]]
        {
            assert_eq!(said(nothing), None, "{nothing:?}");
        }
        let good = reply(&[53, 1, 5, 51, 4, 0, 0, 0, 120, 255]);
        assert_eq!(answer(&good, 8, MAC), None);
        assert_eq!(answer(&good, 7, EthernetAddress([0; 6])), None);
        for n in 0..good.len() - 1 {
            assert_eq!(answer(&good[..n], 7, MAC), None, "cut at {n}");
        }
    }

    #[test]
    fn what_was_not_lent_is_not_renewed() {
        let net = |lease| Net {
            interface: "lo".into(),
            mac: "52:54:00:00:00:01".into(),
            address: Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2))),
            lease,
            ..Net::default()
        };
        for lease in [None, Some(0), Some(FOREVER)] {
            assert!(Renewal::prepare(&net(lease)).unwrap().is_none());
        }
    }
}
