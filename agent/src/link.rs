// SPDX-License-Identifier: GPL-3.0-or-later
//! Bring the loopback interface up: in an initramfs nobody has, and the
//! agent's own web seed speaks to the session over it. Over netlink, because
//! klibc's initramfs has no ip(8). See rtnetlink(7).

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
const IFF_UP: u32 = 1;

/// Set `lo` up. Harmless when it is.
pub fn loopback_up() -> anyhow::Result<()> {
    let index = if_nametoindex("lo").context("finding the loopback interface")?;
    let fd =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)
            .context("opening a netlink socket")?;
    sendto(fd.as_raw_fd(), &up_message(index), &NetlinkAddr::new(0, 0), MsgFlags::empty())
        .context("setting the loopback interface up")?;
    // The answer is a struct nlmsgerr: behind the header of 16 bytes, 0 or a negative errno.
    let mut answer = [0; 1024];
    let length =
        recv(fd.as_raw_fd(), &mut answer, MsgFlags::empty()).context("reading the netlink answer")?;
    ensure!(length >= 20, "setting the loopback interface up: an answer of {length} bytes");
    let error = i32::from_ne_bytes(answer[16..20].try_into().expect("four bytes"));
    ensure!(error == 0, "setting the loopback interface up: {}", io::Error::from_raw_os_error(-error));
    Ok(())
}

/// `struct nlmsghdr` and `struct ifinfomsg`, 16 bytes each.
fn up_message(index: u32) -> Vec<u8> {
    let mut m = Vec::with_capacity(32);
    m.extend_from_slice(&32u32.to_ne_bytes()); // nlmsg_len
    m.extend_from_slice(&RTM_NEWLINK.to_ne_bytes());
    m.extend_from_slice(&NLM_F_REQUEST_ACK.to_ne_bytes());
    m.extend_from_slice(&[0; 8]); // nlmsg_seq, nlmsg_pid
    m.extend_from_slice(&[0; 4]); // ifi_family, padding, ifi_type
    m.extend_from_slice(&index.to_ne_bytes());
    m.extend_from_slice(&IFF_UP.to_ne_bytes()); // ifi_flags
    m.extend_from_slice(&IFF_UP.to_ne_bytes()); // ifi_change
    m
}

#[cfg(test)]
mod tests {
    #[test]
    fn message_has_its_own_length() {
        assert_eq!(super::up_message(1).len(), 32);
        super::loopback_up().unwrap();
    }
}
