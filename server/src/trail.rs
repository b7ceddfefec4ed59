// SPDX-License-Identifier: GPL-3.0-or-later
//! Who has changed something: for the log of the server, and for the system's log where a command changes the disk
//! itself.

use bootspec::text::clean;
use nix::unistd::{Uid, User, geteuid};
use std::{os::unix::net::UnixDatagram, path::Path};

/// Where the system's log listens (systemd's journal, or another).
const LOG: &str = "/dev/log";
/// daemon.notice (RFC 3164).
const PRIORITY: u8 = 3 << 3 | 5;
/// Bytes of a line.
const MAX_LINE: usize = 1000;

/// A user for people. In the server's unit, other users than root and its own have no number (PrivateUsers=).
pub fn user_name(user: u32) -> String {
    match User::from_uid(Uid::from_raw(user)) {
        Ok(Some(found)) if found.name != "nobody" => format!("{} (uid {user})", found.name),
        Ok(Some(_)) => "a member of the socket's group".into(),
        _ => format!("uid {user}"),
    }
}

/// Who runs this command: who called sudo, where somebody did.
fn whoever_runs_this() -> String {
    let user = user_name(geteuid().as_raw());
    match std::env::var("SUDO_USER").ok().filter(|_| geteuid().is_root()) {
        Some(name) if name != "root" => format!("{} by sudo", clean(&name, &[])),
        _ => user,
    }
}

/// A command has changed something itself. Where there is no log, nobody reads it.
pub fn tell(what: &str) {
    tell_at(Path::new(LOG), what);
}

fn tell_at(log: &Path, what: &str) {
    let line = format!("changed by {}: {}", whoever_runs_this(), clean(what, &[]));
    let line: String = line.chars().take(MAX_LINE).collect();
    let line = format!("<{PRIORITY}>boottorrent[{}]: {line}", std::process::id());
    let socket = UnixDatagram::unbound();
    // A log that does not read must not hold us up.
    let _ = socket.and_then(|s| s.set_nonblocking(true).and_then(|()| s.send_to(line.as_bytes(), log)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        tell_at(&path, "nobody listens");
        let log = UnixDatagram::bind(&path).unwrap();
        tell_at(&path, "image 'lab'\n is removed");
        let mut bytes = [0; 2000];
        let n = log.recv(&mut bytes).unwrap();
        let line = std::str::from_utf8(&bytes[..n]).unwrap();
        assert!(
            line.starts_with("<29>boottorrent[") && line.ends_with(": image 'lab'  is removed"),
            "{line}"
        );
    }
}
