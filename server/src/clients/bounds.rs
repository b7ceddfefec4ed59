// SPDX-License-Identifier: GPL-3.0-or-later
//! What machines may say at most.

use bootspec::{
    Heartbeat,
    heartbeat::{LOG_LINE, LOG_LINES},
    text::printable,
};
use std::{net::IpAddr, time::Duration};

/// Machines remembered at most.
pub const MAX_MACHINES: usize = 4096;
/// A machine that has been silent for so long is gone.
pub const GONE_AFTER: Duration = Duration::from_secs(60);
/// The longest name, and the longest sentence, in bytes.
pub const MAX_WORD: usize = 100;
const MAX_SENTENCE: usize = 500;
const MAX_PHASES: usize = 16;

/// Bounded, and without what would upset a terminal.
pub fn clean(h: &mut Heartbeat, remote: IpAddr) {
    h.id = printable(&h.id, MAX_WORD);
    if h.id.is_empty() {
        h.id = remote.to_string();
    }
    h.secret = None;
    h.version = printable(&h.version, MAX_WORD);
    for word in [&mut h.hostname, &mut h.address, &mut h.image] {
        *word = word.as_deref().map(|w| printable(w, MAX_WORD));
    }
    h.error = h.error.as_deref().map(|e| printable(e, MAX_SENTENCE));
    if let Some(remote) = &mut h.orders {
        remote.clean();
    }
    h.phases.truncate(MAX_PHASES);
    h.phases.shrink_to_fit();
    h.log.truncate(LOG_LINES);
    for line in &mut h.log {
        *line = printable(line, LOG_LINE);
    }
}
