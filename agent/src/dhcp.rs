// SPDX-License-Identifier: GPL-3.0-or-later
//! DHCP's packets (RFC 2131), which smoltcp writes and reads: for a card that has no address yet, and for a lease that is
//! renewed.

use smoltcp::wire::{DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress, Ipv4Address};
use std::time::Duration;

/// A question without any options but the client id, which is what PXE firmware sends: the card's address (RFC 2132 §9.14).
pub fn question(mac: EthernetAddress, kind: DhcpMessageType, id: u32, since: Duration) -> DhcpRepr<'static> {
    DhcpRepr {
        message_type: kind,
        transaction_id: id,
        secs: since.as_secs().try_into().unwrap_or(u16::MAX),
        client_hardware_address: mac,
        client_ip: Ipv4Address::UNSPECIFIED,
        your_ip: Ipv4Address::UNSPECIFIED,
        server_ip: Ipv4Address::UNSPECIFIED,
        router: None,
        subnet_mask: None,
        relay_agent_ip: Ipv4Address::UNSPECIFIED,
        broadcast: false,
        requested_ip: None,
        client_identifier: Some(mac),
        server_identifier: None,
        parameter_request_list: None,
        dns_servers: None,
        max_size: Some(1472),
        lease_duration: None,
        renew_duration: None,
        rebind_duration: None,
        additional_options: &[],
    }
}

/// An answer to the question `id` of the card `mac`; `None`: it is another's.
pub fn answer<'a>(packet: &'a DhcpPacket<&'a [u8]>, id: u32, mac: EthernetAddress) -> Option<DhcpRepr<'a>> {
    let said = DhcpRepr::parse(packet).ok()?;
    (said.transaction_id == id && said.client_hardware_address == mac).then_some(said)
}
