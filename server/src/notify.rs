// SPDX-License-Identifier: GPL-3.0-or-later
//! Telling systemd how we are (sd_notify(3)), for `Type=notify`.

use std::{
    env,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
};

/// Send `state`, if there is a systemd that wants to know. Not being heard is not an error: nobody waits then.
pub fn notify(state: &str) {
    let Some(path) = env::var("NOTIFY_SOCKET").ok().filter(|p| !p.is_empty()) else { return };
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&path),
    };
    let sent = address.and_then(|to| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &to));
    if let Err(e) = sent {
        tracing::warn!("telling systemd {state} at {path}: {e}");
    }
}
