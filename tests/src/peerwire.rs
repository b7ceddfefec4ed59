// SPDX-License-Identifier: GPL-3.0-or-later
//! Enough of the peer wire protocol (BEP 3, BEP 10) to be a peer that a test needs, honest or not.

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};
use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream},
    os::fd::AsRawFd,
    time::Duration,
};

/// An infohash.
pub type Infohash = [u8; 20];

pub const INTERESTED: u8 = 2;
pub const HAVE: u8 = 4;
pub const BITFIELD: u8 = 5;
pub const REQUEST: u8 = 6;
pub const PIECE: u8 = 7;
pub const CANCEL: u8 = 8;
/// What is asked for at once, in bytes.
pub const BLOCK: u32 = 16 << 10;

/// Connect from an address of this host.
pub fn call_from(from: Ipv4Addr, to: SocketAddrV4) -> io::Result<TcpStream> {
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    bind(fd.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(from, 0)))?;
    connect(fd.as_raw_fd(), &SockaddrIn::from(to))?;
    let stream = TcpStream::from(fd);
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.set_write_timeout(Some(Duration::from_secs(20)))?;
    Ok(stream)
}

/// Connect, with little patience.
pub fn call(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.set_write_timeout(Some(Duration::from_secs(1)))?;
    Ok(stream)
}

/// Shake hands. Gives the id of the other end.
pub fn greet(stream: &mut TcpStream, infohash: Infohash, id: [u8; 20]) -> io::Result<[u8; 20]> {
    stream.write_all(&[&b"\x13BitTorrent protocol\0\0\0\0\0\x10\0\0"[..], &infohash, &id].concat())?;
    let mut theirs = [0; 68];
    stream.read_exact(&mut theirs)?;
    Ok(theirs[48..].try_into().expect("20 bytes"))
}

/// An id of 20 bytes for a peer of this number.
pub fn id(number: usize) -> [u8; 20] {
    let text = format!("-XX0000-{number:012}");
    text.into_bytes().try_into().expect("8 and 12 characters")
}

/// A message with these numbers.
pub fn numbers(id: u8, numbers: &[u32]) -> Vec<u8> {
    let body: Vec<u8> = numbers.iter().flat_map(|n| n.to_be_bytes()).collect();
    message(id, &body)
}

/// A message.
pub fn message(id: u8, body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32 + 1).to_be_bytes()[..], &[id], body].concat()
}

/// A message of BEP 10.
pub fn extended(id: u8, dict: &[u8]) -> Vec<u8> {
    message(20, &[&[id], dict].concat())
}

/// The first whole message of what has come, from its id on, and what comes after it.
pub fn split(inbox: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = inbox.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}
