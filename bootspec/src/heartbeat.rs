// SPDX-License-Identifier: GPL-3.0-or-later
//! What a machine tells about itself: to the server (heartbeat), and to the
//! booted system (`boottorrent-agent status --json`). The same type on all sides.

use crate::{InfoHash, order::Remote};
use serde::{Deserialize, Serialize};

/// A heartbeat's largest size in bytes, as JSON. The server refuses more.
pub const MAX_HEARTBEAT: usize = 16 * 1024;

/// The last lines of a machine's log that it tells, at most.
pub const LOG_LINES: usize = 20;
/// And of each so many bytes: together they leave room for the rest of [`MAX_HEARTBEAT`].
pub const LOG_LINE: usize = 240;

/// Where in the boot story a machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Its boot loader has asked the server what to boot. Only the server says this.
    Loader,
    /// Waiting for an address or for the server.
    #[default]
    Network,
    /// Fetching and checking the metainfo.
    Metainfo,
    /// Deciding where the image goes.
    Target,
    /// In the swarm, not complete.
    Download,
    /// Complete and verified; mounting it. With `boottorrent.target=stream` before it is complete.
    Root,
    /// Root mounted, and the image not complete yet (`boottorrent.target=stream`).
    Streaming,
    /// Root mounted; going on as a seeder. Agents of earlier builds call it `seed`.
    #[serde(rename = "booted", alias = "seed")]
    Seed,
    /// The boot failed; `Heartbeat::error` says why.
    Failed,
}

impl Phase {
    /// The name as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Loader => "loader",
            Phase::Network => "network",
            Phase::Metainfo => "metainfo",
            Phase::Target => "target",
            Phase::Download => "download",
            Phase::Root => "root",
            Phase::Streaming => "streaming",
            Phase::Seed => "booted",
            Phase::Failed => "failed",
        }
    }
}

/// The state of a download: bytes, and bytes a second.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// Verified bytes that are here.
    pub have: u64,
    /// Bytes of the payload.
    pub total: u64,
    /// Bytes received from the server's seeder (before verification, repeats included).
    pub from_server: u64,
    /// Bytes received from the server over HTTP.
    pub from_http: u64,
    /// Bytes received from other machines.
    pub from_peers: u64,
    /// Bytes sent to anybody.
    pub uploaded: u64,
    /// Bytes a second received now.
    pub down_rate: u64,
    /// Bytes a second sent now.
    pub up_rate: u64,
    /// Connected peers.
    pub peers: u32,
}

impl Progress {
    /// Percent of the payload that is here, 0 to 100.
    pub fn percent(&self) -> f64 {
        if self.total == 0 { 0.0 } else { self.have as f64 * 100.0 / self.total as f64 }
    }

    /// Bytes received in all.
    pub fn received(&self) -> u64 {
        self.from_server + self.from_http + self.from_peers
    }
}

/// When a phase began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhaseStart {
    /// Which phase.
    pub phase: Phase,
    /// Seconds since the agent's start.
    pub at: f64,
}

/// One machine's state. `POST /api/v1/heartbeat` takes it as JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Heartbeat {
    /// Who: the MAC address of the boot interface, lower case with colons.
    pub id: String,
    /// The machine's host name, where it has one.
    pub hostname: Option<String>,
    /// The machine's address.
    pub address: Option<String>,
    /// The image's name (the torrent's `name`).
    pub image: Option<String>,
    /// The image's infohash.
    pub infohash: Option<InfoHash>,
    /// Where the machine is now.
    pub phase: Phase,
    /// When each phase began, in order.
    pub phases: Vec<PhaseStart>,
    /// Bytes and rates.
    pub progress: Progress,
    /// The sentence that the console shows, when the boot failed.
    pub error: Option<String>,
    /// Seconds since the agent's start.
    pub uptime: f64,
    /// The kernel's uptime in seconds when the agent started: firmware and iPXE are before that.
    pub kernel_uptime: f64,
    /// Memory of the agent beyond the payload, in bytes, at its highest (VmHWM).
    pub memory: u64,
    /// The agent's version.
    pub version: String,
    /// What the server gave this boot (`boottorrent.secret=`): it shows that the machine itself speaks. The server tells it
    /// nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Which orders it obeys, and what became of the last one. None: its agent knows of none, or nothing has booted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orders: Option<Remote>,
    /// The TCP port on which it gives kernels and initrds to other machines (`boottorrent.relay=`). None: it gives none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relay_port: Option<u16>,
    /// The last lines of its log: seconds since the agent's start, and the text. At most [`LOG_LINES`] of
    /// [`LOG_LINE`] bytes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_and_missing_fields_are_no_error() {
        let h: Heartbeat =
            serde_json::from_str(r#"{"id":"a","new":1,"progress":{"have":1,"total":4}}"#).unwrap();
        assert_eq!(h.progress.percent(), 25.0);
        assert_eq!(h.phase, Phase::Network);
        let back: Heartbeat = serde_json::from_str(&serde_json::to_string(&h).unwrap()).unwrap();
        assert_eq!(back, h);
    }
}
