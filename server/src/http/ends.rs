// SPDX-License-Identifier: GPL-3.0-or-later
//! Both ends of a connection: what a request says of where it comes from.

use axum::{extract::connect_info::Connected, serve::IncomingStream};
use bootspec::HTTP_PORT;
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};
use tokio::net::{TcpStream, UnixListener};

/// Both ends of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// The client's address.
    pub remote: SocketAddr,
    /// The address on which the client reached us.
    pub local: SocketAddr,
    /// Over TLS: our port for HTTP without it, which is what boot loaders and trackers' clients speak.
    pub plain: Option<u16>,
    /// Over the local socket: who asks, by number.
    pub user: Option<u32>,
}

impl Ends {
    /// Those of an accepted connection. `plain`: over TLS, our port without it. Errors: the client has gone already.
    pub fn of(stream: &TcpStream, plain: Option<u16>) -> io::Result<Ends> {
        give_up_on_the_silent(stream);
        let canonical = |a: SocketAddr| SocketAddr::new(a.ip().to_canonical(), a.port());
        let (remote, local) = (canonical(stream.peer_addr()?), canonical(stream.local_addr()?));
        Ok(Ends { remote, local, plain, user: None })
    }
}

impl Connected<IncomingStream<'_, UnixListener>> for Ends {
    /// Over the local socket both ends are here.
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Ends {
        let at = |port| (Ipv4Addr::LOCALHOST, port).into();
        let user = stream.io().peer_cred().ok().map(|who| who.uid());
        Ends { remote: at(0), local: at(HTTP_PORT), plain: None, user }
    }
}

/// A client that takes nothing for this long, or is not there any more, loses its connection (tcp(7)).
const PATIENCE: Duration = Duration::from_secs(60);

fn give_up_on_the_silent(stream: &TcpStream) {
    use nix::sys::socket::{setsockopt, sockopt};
    // Refused, the connection only lives longer.
    let _ = setsockopt(stream, sockopt::TcpUserTimeout, &(PATIENCE.as_millis() as u32));
    let _ = setsockopt(stream, sockopt::KeepAlive, &true);
    let _ = setsockopt(stream, sockopt::TcpKeepIdle, &(PATIENCE.as_secs() as u32));
}
