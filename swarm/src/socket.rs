// SPDX-License-Identifier: GPL-3.0-or-later
//! TCP as machines in a room need it: on networks whose frames vanish, and to machines that do.

use socket2::SockRef;
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsFd,
    time::Duration,
};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// No segment is larger than a usual Ethernet frame holds. A machine whose MTU is larger than what its switch takes
/// would talk to another such one in frames that vanish, and neither would be told. With offload a larger one is not faster.
const SEGMENT: u32 = 1460;
/// Who has not acknowledged what was sent for so long is gone, or has another address.
const GONE: Duration = Duration::from_secs(30);
/// Bytes in the kernel that have not left yet: few, so that the next in turn is not late.
const UNSENT: u32 = 64 << 10;

/// Listen. On `[::]` IPv4 comes too; without IPv6 in the kernel it is the only one.
pub(crate) async fn listen(port: u16) -> io::Result<TcpListener> {
    let listener = match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Err(e) if e.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?
        }
        bound => bound?,
    };
    small_segments(&listener);
    Ok(listener)
}

/// What is accepted by this listener, or connected from this socket, is sent in frames that pass everywhere.
pub fn small_segments(socket: &impl AsFd) {
    // Refused (user mode networks), it only matters where frames vanish.
    let _ = SockRef::from(socket).set_tcp_mss(SEGMENT);
}

/// Call somebody.
pub(crate) async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = match address.ip() {
        IpAddr::V4(_) => TcpSocket::new_v4()?,
        IpAddr::V6(_) => TcpSocket::new_v6()?,
    };
    small_segments(&socket);
    socket.connect(address).await
}

/// A connection to a peer.
pub(crate) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    // Not everywhere (user mode networks): then it only costs time.
    let _ = socket.set_tcp_notsent_lowat(UNSENT);
    let _ = socket.set_tcp_user_timeout(Some(GONE));
    Ok(())
}
