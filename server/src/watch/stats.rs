// SPDX-License-Identifier: GPL-3.0-or-later
//! `GET /api/v1/stats`: all figures of a running server, in one answer.

use super::process::ProcessFigures;
use crate::{
    clients::totals::Totals,
    relay::{here::UpstreamRow, present::RelayRow},
};
use bootspec::{ImageName, InfoHash};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// All figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// The server's version.
    pub version: String,
    /// Seconds since it started.
    pub uptime: f64,
    /// What the server's process uses.
    pub process: ProcessFigures,
    /// Bytes that images can still take on the disk.
    pub free: u64,
    /// Fetches by state, as [`FetchState`](crate::fetch::request::FetchState) is written.
    pub fetches: BTreeMap<String, usize>,
    /// When the certificate of HTTPS ends, in seconds since 1970 (UTC); nothing without HTTPS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_expires: Option<i64>,
    /// Machines by group, and in it by phase; those in no group are not among them.
    pub groups: BTreeMap<String, BTreeMap<String, usize>>,
    /// Machines by phase, as [`Client::phase`](crate::clients::Client::phase) names it.
    pub machines: BTreeMap<String, usize>,
    /// Bytes of payloads that the server has sent.
    pub sent: u64,
    /// Bytes of kernels, initrds and add-ons that it has sent.
    pub boot_files: u64,
    /// What machines have told, summed.
    pub totals: Totals,
    /// The images, by name.
    pub images: Vec<ImageStats>,
    /// The relays, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub relays: Vec<RelayRow>,
    /// Of a relay: its first server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<UpstreamRow>,
    /// Rates of the last minutes, one a second, oldest first.
    pub history: Vec<Sample>,
    /// How many watch by server-sent events.
    pub listeners: usize,
}

/// Rates of one second, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// What the server sent of payloads.
    pub sent: u64,
    /// What all machines together received.
    pub received: u64,
}

/// One image's figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageStats {
    /// Its name.
    pub name: ImageName,
    /// Its identity.
    pub infohash: InfoHash,
    /// What it is, in a word or two.
    pub what: String,
    /// Bytes of its payload.
    pub size: u64,
    /// Bytes of its kernel and initrd.
    pub boot_files: u64,
    /// Its share of the server's link.
    pub priority: u8,
    /// Whether it is the default image.
    pub default: bool,
    /// When it was added, RFC 3339 in UTC.
    pub added: String,
    /// Whether our own seeder has it: not while it is hashed.
    pub seeding: bool,
    /// Those in its swarm that have all of it, our seeder too.
    pub complete: usize,
    /// Those that do not.
    pub incomplete: usize,
    /// Machines that boot it or run it.
    pub machines: usize,
    /// Bytes of it that the server has sent.
    pub sent: u64,
}

impl ImageStats {
    /// How often the server has sent it: the figure that should stay near one.
    pub fn copies(&self) -> f64 {
        if self.size == 0 { 0.0 } else { self.sent as f64 / self.size as f64 }
    }
}
