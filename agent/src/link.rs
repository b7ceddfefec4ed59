// SPDX-License-Identifier: GPL-3.0-or-later
//! Network interfaces: the loopback interface up (in an initramfs nobody has, and the agent's own web seed
//! speaks to the session over it), tagged ones made. Over netlink, because klibc's initramfs has no ip(8).
//! See rtnetlink(7).

use anyhow::{Context, ensure};
use nix::{
    net::if_::if_nametoindex,
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
    },
};
use std::{io, os::fd::AsRawFd};

const RTM_NEWLINK: u16 = 16;
const NLM_F_REQUEST_ACK: u16 = 1 | 4;
const NLM_F_CREATE_EXCL: u16 = 0x400 | 0x200;
const IFF_UP: u32 = 1;
// linux/if_link.h
const IFLA_IFNAME: u16 = 3;
const IFLA_LINK: u16 = 5;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_VLAN_ID: u16 = 1;

/// Set `lo` up. Harmless when it is.
pub fn loopback_up() -> anyhow::Result<()> {
    up("lo")
}

/// Set an interface up.
pub fn up(interface: &str) -> anyhow::Result<()> {
    let index = if_nametoindex(interface).with_context(|| format!("finding the interface {interface}"))?;
    ask(&message(NLM_F_REQUEST_ACK, index, IFF_UP, &[])).with_context(|| format!("setting {interface} up"))
}

/// Make an interface for the tagged frames of another one. `id`: the tag.
pub fn add_vlan(name: &str, id: u16, card: &str) -> anyhow::Result<()> {
    let below = if_nametoindex(card).with_context(|| format!("finding the interface {card}"))?;
    let data = attribute(IFLA_VLAN_ID, &id.to_ne_bytes());
    let info = [attribute(IFLA_INFO_KIND, b"vlan"), attribute(IFLA_INFO_DATA, &data)].concat();
    let attributes = [
        attribute(IFLA_LINK, &below.to_ne_bytes()),
        attribute(IFLA_IFNAME, &[name.as_bytes(), &[0]].concat()),
        attribute(IFLA_LINKINFO, &info),
    ];
    ask(&message(NLM_F_REQUEST_ACK | NLM_F_CREATE_EXCL, 0, 0, &attributes.concat()))
}

/// Send a message, and read how it went.
fn ask(message: &[u8]) -> anyhow::Result<()> {
    let fd =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)
            .context("opening a netlink socket")?;
    sendto(fd.as_raw_fd(), message, &NetlinkAddr::new(0, 0), MsgFlags::empty())
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

/// `struct nlmsghdr` and `struct ifinfomsg`, 16 bytes each, and attributes. `flags`: those of the interface to set.
fn message(how: u16, index: u32, flags: u32, attributes: &[u8]) -> Vec<u8> {
    let length = 32 + attributes.len();
    let mut m = Vec::with_capacity(length);
    m.extend_from_slice(&(length as u32).to_ne_bytes()); // nlmsg_len
    m.extend_from_slice(&RTM_NEWLINK.to_ne_bytes());
    m.extend_from_slice(&how.to_ne_bytes());
    m.extend_from_slice(&[0; 8]); // nlmsg_seq, nlmsg_pid
    m.extend_from_slice(&[0; 4]); // ifi_family, padding, ifi_type
    m.extend_from_slice(&index.to_ne_bytes());
    m.extend_from_slice(&flags.to_ne_bytes()); // ifi_flags
    m.extend_from_slice(&flags.to_ne_bytes()); // ifi_change
    m.extend_from_slice(attributes);
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
        assert_eq!(message(NLM_F_REQUEST_ACK, 1, IFF_UP, &[]).len(), 32);
        assert_eq!(attribute(IFLA_IFNAME, b"lo\0"), [7, 0, 3, 0, b'l', b'o', 0, 0]);
        let m = message(0, 0, 0, &attribute(IFLA_VLAN_ID, &5u16.to_ne_bytes()));
        assert_eq!((m.len(), m[0]), (40, 40));
        loopback_up().unwrap();
    }

    #[test]
    fn what_the_kernel_says_is_told() {
        assert!(up("nosuchcard").unwrap_err().to_string().contains("nosuchcard"));
        // No permission, or a kernel without vlan: never a silent success.
        let e = format!("{:#}", add_vlan("lo", 5, "lo").unwrap_err());
        assert!(!e.is_empty(), "{e}");
    }
}
