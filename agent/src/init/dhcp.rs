// SPDX-License-Identifier: GPL-3.0-or-later
//! An address by DHCP (RFC 2131), over raw sockets: the card has no address yet. The packets are smoltcp's.

use super::lease::Lease;
use crate::dhcp::{answer, question};
use anyhow::{Context, anyhow, bail};
use smoltcp::{
    phy::{ChecksumCapabilities, Device, Medium, RawSocket, RxToken, TxToken},
    time::Instant as Stamp,
    wire::{
        DHCP_CLIENT_PORT, DHCP_SERVER_PORT, DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress,
        EthernetFrame, EthernetProtocol, EthernetRepr, IpProtocol, Ipv4Address, Ipv4Packet, Ipv4Repr,
        UdpPacket, UdpRepr,
    },
};
use std::{
    hash::{BuildHasher, RandomState},
    net::Ipv4Addr,
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

/// Options that are asked for (RFC 2132; 119: RFC 3397; 121: RFC 3442).
const WANTED: [u8; 12] = [1, 3, 6, 12, 15, 26, 28, 42, 51, 54, 119, 121];
/// The first pause before a question is repeated; each further one is twice as long, up to `LONGEST`.
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(8);
/// How long an offered address is asked for before another one is looked for.
const TRIES: u32 = 4;

/// A card that asks.
struct Card {
    name: String,
    mac: EthernetAddress,
    socket: RawSocket,
}

/// What a server has answered.
struct Answer {
    kind: DhcpMessageType,
    lease: Lease,
    server: Ipv4Addr,
}

/// Ask on all cards at once (name, MAC address); the first answer counts. `waiting` is called with each repeated question.
pub fn ask(
    cards: &[(String, [u8; 6])],
    patience: Duration,
    mut waiting: impl FnMut(Duration),
) -> anyhow::Result<(String, Lease)> {
    let mut cards =
        cards.iter().map(|(name, mac)| Card::open(name, *mac)).collect::<anyhow::Result<Vec<_>>>()?;
    let begun = Instant::now();
    let mut pause = FIRST;
    while begun.elapsed() < patience {
        let id = RandomState::new().hash_one(Instant::now()) as u32;
        for card in &mut cards {
            card.discover(id, begun.elapsed())?;
        }
        let wanted = |a: &Answer| a.kind == DhcpMessageType::Offer;
        if let Some((n, offer)) = listen(&mut cards, id, pause, wanted) {
            if let Some(lease) = cards[n].request(id, &offer, begun)? {
                return Ok((cards[n].name.clone(), lease));
            }
            continue;
        }
        waiting(begun.elapsed());
        pause = (pause * 2).min(LONGEST);
    }
    let names: Vec<&str> = cards.iter().map(|c| c.name.as_str()).collect();
    bail!("no answer from any DHCP server on {}", names.join(", "))
}

/// Wait for an answer that is wanted, on any card.
fn listen(
    cards: &mut [Card],
    id: u32,
    long: Duration,
    wanted: impl Fn(&Answer) -> bool,
) -> Option<(usize, Answer)> {
    let deadline = Instant::now() + long;
    loop {
        for (n, card) in cards.iter_mut().enumerate() {
            while let Some(frame) = card.receive() {
                if let Some(answer) = parse(&frame, id, card.mac).filter(|a| wanted(a)) {
                    return Some((n, answer));
                }
            }
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        wait(cards, left);
    }
}

/// Until something has come for any card. A card that went away is another's business.
fn wait(cards: &[Card], long: Duration) {
    // A poll that fails costs this pause.
    let slice = long.min(Duration::from_millis(100));
    if cards.len() == 1 {
        let _ = smoltcp::phy::wait(
            cards[0].socket.as_raw_fd(),
            Some(smoltcp::time::Duration::from_millis(slice.as_millis() as u64)),
        );
    } else {
        std::thread::sleep(slice.min(Duration::from_millis(20)));
    }
}

impl Card {
    fn open(name: &str, mac: [u8; 6]) -> anyhow::Result<Card> {
        let socket = RawSocket::new(name, Medium::Ethernet).with_context(|| {
            format!("opening a raw socket on {name} (is the kernel module af_packet in the initrd?)")
        })?;
        Ok(Card { name: name.into(), mac: EthernetAddress(mac), socket })
    }

    fn discover(&mut self, id: u32, since: Duration) -> anyhow::Result<()> {
        self.send(&DhcpRepr {
            parameter_request_list: Some(&WANTED),
            ..question(self.mac, DhcpMessageType::Discover, id, since)
        })
    }

    /// Ask for what was offered. `None`: the server takes it back, or says no more.
    fn request(&mut self, id: u32, offer: &Answer, begun: Instant) -> anyhow::Result<Option<Lease>> {
        let mut pause = FIRST;
        for _ in 0..TRIES {
            let question = DhcpRepr {
                requested_ip: Some(offer.lease.address),
                server_identifier: Some(offer.server),
                parameter_request_list: Some(&WANTED),
                ..question(self.mac, DhcpMessageType::Request, id, begun.elapsed())
            };
            self.send(&question)?;
            let settled = |a: &Answer| {
                a.server == offer.server && matches!(a.kind, DhcpMessageType::Ack | DhcpMessageType::Nak)
            };
            if let Some((_, answer)) = listen(std::slice::from_mut(self), id, pause, settled) {
                return Ok((answer.kind == DhcpMessageType::Ack).then_some(answer.lease));
            }
            pause *= 2;
        }
        Ok(None)
    }

    fn send(&mut self, dhcp: &DhcpRepr) -> anyhow::Result<()> {
        let frame = frame(dhcp, self.mac);
        let token = self.socket.transmit(Stamp::ZERO).ok_or_else(|| anyhow!("{} cannot send", self.name))?;
        token.consume(frame.len(), |buffer| buffer.copy_from_slice(&frame));
        Ok(())
    }

    fn receive(&mut self) -> Option<Vec<u8>> {
        let (token, _) = self.socket.receive(Stamp::ZERO)?;
        Some(token.consume(<[u8]>::to_vec))
    }
}

/// What a frame on the network says of a lease, if it answers the question `id` of the card `mac`.
pub fn lease_in(frame: &[u8], id: u32, mac: [u8; 6]) -> Option<Lease> {
    parse(frame, id, EthernetAddress(mac)).map(|answer| answer.lease)
}

/// A question as an Ethernet frame, from nobody to everybody.
fn frame(dhcp: &DhcpRepr, from: EthernetAddress) -> Vec<u8> {
    let udp = UdpRepr { src_port: DHCP_CLIENT_PORT, dst_port: DHCP_SERVER_PORT };
    let ip = Ipv4Repr {
        src_addr: Ipv4Address::UNSPECIFIED,
        dst_addr: Ipv4Address::BROADCAST,
        next_header: IpProtocol::Udp,
        payload_len: udp.header_len() + dhcp.buffer_len(),
        hop_limit: 64,
    };
    let ethernet = EthernetRepr {
        src_addr: from,
        dst_addr: EthernetAddress::BROADCAST,
        ethertype: EthernetProtocol::Ipv4,
    };
    let mut bytes = vec![0; ethernet.buffer_len() + ip.buffer_len() + ip.payload_len];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes);
    ethernet.emit(&mut frame);
    let mut packet = Ipv4Packet::new_unchecked(frame.payload_mut());
    let checksums = ChecksumCapabilities::default();
    ip.emit(&mut packet, &checksums);
    let mut datagram = UdpPacket::new_unchecked(packet.payload_mut());
    let fill = |payload: &mut [u8]| {
        dhcp.emit(&mut DhcpPacket::new_unchecked(payload)).expect("the length is its own");
    };
    udp.emit(&mut datagram, &ip.src_addr.into(), &ip.dst_addr.into(), dhcp.buffer_len(), fill, &checksums);
    bytes
}

/// An answer to our question; everything else that comes by is `None`.
fn parse(bytes: &[u8], id: u32, mac: EthernetAddress) -> Option<Answer> {
    let frame = EthernetFrame::new_checked(bytes).ok().filter(|f| f.ethertype() == EthernetProtocol::Ipv4)?;
    let packet = Ipv4Packet::new_checked(frame.payload()).ok()?;
    if packet.next_header() != IpProtocol::Udp || packet.more_frags() || packet.frag_offset() != 0 {
        return None;
    }
    // Checksums of packets that never were on a wire are not computed: virtual cards leave them out.
    let datagram = UdpPacket::new_checked(packet.payload()).ok()?;
    if (datagram.src_port(), datagram.dst_port()) != (DHCP_SERVER_PORT, DHCP_CLIENT_PORT) {
        return None;
    }
    let dhcp = DhcpPacket::new_checked(datagram.payload()).ok()?;
    let said = answer(&dhcp, id, mac)?;
    let options: Vec<(u8, &[u8])> = dhcp.options().map(|o| (o.kind, o.data)).collect();
    let server = said.server_identifier?;
    Some(Answer {
        kind: said.message_type,
        lease: Lease::read(said.your_ip, said.server_ip, server, &options),
        server,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];

    /// What a server answers, as a frame.
    fn reply(kind: DhcpMessageType) -> Vec<u8> {
        let address = |n| Ipv4Address::new(10, 77, 0, n);
        let options = [smoltcp::wire::DhcpOption { kind: 12, data: b"pc-7" }];
        let dhcp = DhcpRepr {
            your_ip: address(23),
            server_ip: address(2),
            router: Some(address(1)),
            subnet_mask: Some(Ipv4Address::new(255, 255, 255, 0)),
            server_identifier: Some(address(1)),
            lease_duration: Some(120),
            additional_options: &options,
            ..question(EthernetAddress(MAC), kind, 7, Duration::ZERO)
        };
        let mut bytes = frame(&dhcp, EthernetAddress(MAC));
        // Ports the other way round: an IP header without options is 20 bytes long.
        bytes[34..38].copy_from_slice(&[0, 67, 0, 68]);
        bytes
    }

    #[test]
    fn answers_to_our_question_count() {
        let bytes = reply(DhcpMessageType::Ack);
        let lease = lease_in(&bytes, 7, MAC).unwrap();
        assert_eq!((lease.address, lease.prefix), (Ipv4Addr::new(10, 77, 0, 23), 24));
        assert_eq!((lease.server, lease.seconds), (Ipv4Addr::new(10, 77, 0, 2), Some(120)));
        assert_eq!(lease.hostname.as_deref(), Some("pc-7"));
        assert_eq!(lease_in(&bytes, 8, MAC), None, "another question");
        assert_eq!(lease_in(&bytes, 7, [0; 6]), None, "another card");
        for end in 0..bytes.len() - 1 {
            let _ = lease_in(&bytes[..end], 7, MAC);
        }
        let mut fragment = bytes.clone();
        fragment[20] |= 0x20;
        assert_eq!(lease_in(&fragment, 7, MAC), None, "a fragment");
    }

    #[test]
    fn our_question_is_a_frame_that_others_read() {
        let card = question(EthernetAddress(MAC), DhcpMessageType::Discover, 7, Duration::ZERO);
        let bytes = frame(&card, EthernetAddress(MAC));
        assert_eq!(&bytes[..6], &[0xff; 6]);
        assert_eq!(&bytes[34..38], &[0, 68, 0, 67]);
        assert_eq!(lease_in(&bytes, 7, MAC), None, "not an answer");
    }
}
