// SPDX-License-Identifier: GPL-3.0-or-later
//! Network interfaces: up, renamed, tagged, with an address and routes. Over netlink, because an initramfs need not have
//! ip(8). See rtnetlink(7).

use anyhow::{Context, ensure};
use nix::{
    net::if_::if_nametoindex,
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
    },
};
use std::{io, net::Ipv4Addr, os::fd::AsRawFd};

const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const REQUEST_ACK: u16 = 1 | 4;
const CREATE_EXCL: u16 = 0x400 | 0x200;
const CREATE_REPLACE: u16 = 0x400 | 0x100;
const IFF_UP: u32 = 1;
// linux/if_link.h
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_VLAN_ID: u16 = 1;
// linux/if_addr.h
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
// linux/rtnetlink.h
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_DHCP: u8 = 16;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
const RTN_UNICAST: u8 = 1;

/// Set `lo` up. Harmless when it is.
pub fn loopback_up() -> anyhow::Result<()> {
    up("lo")
}

/// Set an interface up.
pub fn up(interface: &str) -> anyhow::Result<()> {
    let link = link(index(interface)?, IFF_UP);
    ask(RTM_NEWLINK, 0, &link, &[]).with_context(|| format!("setting {interface} up"))
}

/// Give an interface that is down another name.
pub fn rename(interface: &str, name: &str) -> anyhow::Result<()> {
    let attributes = attribute(IFLA_IFNAME, &[name.as_bytes(), &[0]].concat());
    ask(RTM_NEWLINK, 0, &link(index(interface)?, 0), &attributes)
        .with_context(|| format!("renaming {interface} to {name}"))
}

/// Set the most that a packet of an interface may have, in bytes.
pub fn set_mtu(interface: &str, mtu: u32) -> anyhow::Result<()> {
    ask(RTM_NEWLINK, 0, &link(index(interface)?, 0), &attribute(IFLA_MTU, &mtu.to_ne_bytes()))
        .with_context(|| format!("setting the MTU of {interface} to {mtu}"))
}

/// Make an interface for the tagged frames of another one. `id`: the tag.
pub fn add_vlan(name: &str, id: u16, card: &str) -> anyhow::Result<()> {
    let data = attribute(IFLA_VLAN_ID, &id.to_ne_bytes());
    let info = [attribute(IFLA_INFO_KIND, b"vlan"), attribute(IFLA_INFO_DATA, &data)].concat();
    let attributes = [
        attribute(IFLA_LINK, &index(card)?.to_ne_bytes()),
        attribute(IFLA_IFNAME, &[name.as_bytes(), &[0]].concat()),
        attribute(IFLA_LINKINFO, &info),
    ];
    ask(RTM_NEWLINK, CREATE_EXCL, &link(0, 0), &attributes.concat())
}

/// Give an interface an address. `prefix`: bits of its network.
pub fn add_address(interface: &str, address: Ipv4Addr, prefix: u8) -> anyhow::Result<()> {
    // struct ifaddrmsg
    let mut body = vec![AddressFamily::Inet as u8, prefix, 0, RT_SCOPE_UNIVERSE];
    body.extend(index(interface)?.to_ne_bytes());
    let host_bits = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
    let broadcast = (u32::from(address) | host_bits).to_be_bytes();
    let attributes = [
        attribute(IFA_LOCAL, &address.octets()),
        attribute(IFA_ADDRESS, &address.octets()),
        attribute(IFA_BROADCAST, &broadcast),
    ];
    ask(RTM_NEWADDR, CREATE_REPLACE, &body, &attributes.concat())
        .with_context(|| format!("giving {interface} the address {address}/{prefix}"))
}

/// Send what goes to a network (`prefix` bits of `to`) to a router, or without one to the link itself.
pub fn add_route(interface: &str, to: Ipv4Addr, prefix: u8, router: Option<Ipv4Addr>) -> anyhow::Result<()> {
    let scope = if router.is_some() { RT_SCOPE_UNIVERSE } else { RT_SCOPE_LINK };
    // struct rtmsg
    let mut body =
        vec![AddressFamily::Inet as u8, prefix, 0, 0, RT_TABLE_MAIN, RTPROT_DHCP, scope, RTN_UNICAST];
    body.extend([0; 4]);
    let mut attributes = attribute(RTA_OIF, &index(interface)?.to_ne_bytes());
    if prefix > 0 {
        attributes.extend(attribute(RTA_DST, &to.octets()));
    }
    if let Some(router) = router {
        attributes.extend(attribute(RTA_GATEWAY, &router.octets()));
    }
    ask(RTM_NEWROUTE, CREATE_REPLACE, &body, &attributes)
        .with_context(|| format!("adding a route to {to}/{prefix} on {interface}"))
}

fn index(interface: &str) -> anyhow::Result<u32> {
    if_nametoindex(interface).with_context(|| format!("finding the interface {interface}"))
}

/// `struct ifinfomsg`. `flags`: those of the interface to set.
fn link(index: u32, flags: u32) -> Vec<u8> {
    let mut body = vec![0; 4]; // ifi_family, padding, ifi_type
    body.extend(index.to_ne_bytes());
    body.extend(flags.to_ne_bytes()); // ifi_flags
    body.extend(flags.to_ne_bytes()); // ifi_change
    body
}

/// Send a message, and read how it went.
fn ask(kind: u16, flags: u16, body: &[u8], attributes: &[u8]) -> anyhow::Result<()> {
    let fd =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)
            .context("opening a netlink socket")?;
    let message = message(kind, REQUEST_ACK | flags, &[body, attributes].concat());
    sendto(fd.as_raw_fd(), &message, &NetlinkAddr::new(0, 0), MsgFlags::empty())
        .context("asking the kernel")?;
    // The answer is a struct nlmsgerr: behind the header of 16 bytes, 0 or a negative errno.
    let mut answer = [0; 1024];
    let length =
        recv(fd.as_raw_fd(), &mut answer, MsgFlags::empty()).context("reading the kernel's answer")?;
    ensure!(length >= 20, "the kernel's answer has {length} bytes");
    let error = i32::from_ne_bytes(answer[16..20].try_into().expect("four bytes"));
    ensure!(error == 0, "{}", io::Error::from_raw_os_error(-error));
    Ok(())
}

/// `struct nlmsghdr`, 16 bytes, and what follows it.
fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut m = ((16 + body.len()) as u32).to_ne_bytes().to_vec(); // nlmsg_len
    m.extend(kind.to_ne_bytes());
    m.extend(flags.to_ne_bytes());
    m.extend([0; 8]); // nlmsg_seq, nlmsg_pid
    m.extend(body);
    m
}

/// `struct rtattr` and what is in it, to a multiple of four bytes.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = (4 + value.len()) as u16;
    let mut a = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
    a.resize(a.len().next_multiple_of(4), 0);
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_their_own_length() {
        assert_eq!(message(RTM_NEWLINK, 0, &link(1, IFF_UP)).len(), 32);
        assert_eq!(attribute(IFLA_IFNAME, b"lo\0"), [7, 0, 3, 0, b'l', b'o', 0, 0]);
        let m = message(RTM_NEWLINK, 0, &[link(0, 0), attribute(IFLA_VLAN_ID, &5u16.to_ne_bytes())].concat());
        assert_eq!((m.len(), m[0]), (40, 40));
    }

    /// Whoever is not root is told so by the kernel: the message was understood.
    #[test]
    fn the_kernel_understands() {
        if let Err(e) = loopback_up() {
            assert!(format!("{e:#}").contains("Operation not permitted"), "{e:#}");
        }
    }

    #[test]
    fn what_the_kernel_says_is_told() {
        assert!(up("nosuchcard").unwrap_err().to_string().contains("nosuchcard"));
        // No permission, or a kernel without vlan: never a silent success.
        let e = format!("{:#}", add_vlan("lo", 5, "lo").unwrap_err());
        assert!(!e.is_empty(), "{e}");
    }
}
