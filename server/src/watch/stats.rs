// SPDX-License-Identifier: GPL-3.0-or-later
//! `GET /api/v1/stats`: all figures of a running server, in one answer.

use super::{live::Sample, totals::Totals};
use crate::{clients::Client, http::State};
use bootspec::{ImageManifest, ImageName, InfoHash, Phase};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::atomic::Ordering::Relaxed, time::Instant};

/// All figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// The server's version.
    pub version: String,
    /// Seconds since it started.
    pub uptime: f64,
    /// Machines by phase, as [`Client::phase`] names it.
    pub machines: BTreeMap<String, usize>,
    /// Bytes of payloads that the server has sent.
    pub sent: u64,
    /// Bytes of kernels, initrds and add-ons that it has sent.
    pub boot_files: u64,
    /// What machines have told, summed.
    pub totals: Totals,
    /// The images, by name.
    pub images: Vec<ImageStats>,
    /// Rates of the last minutes, one a second, oldest first.
    pub history: Vec<Sample>,
    /// How many watch by server-sent events.
    pub listeners: usize,
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
    /// Whether machines of which nothing else was said boot it.
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

/// All of it, now.
pub fn stats(state: &State, clients: &[Client]) -> Stats {
    let mut machines = BTreeMap::new();
    for client in clients {
        *machines.entry(client.phase().to_owned()).or_default() += 1;
    }
    Stats {
        version: env!("CARGO_PKG_VERSION").into(),
        uptime: state.started.elapsed().as_secs_f64(),
        machines,
        sent: state.sent.payloads(),
        boot_files: state.sent.boot_files.load(Relaxed),
        totals: state.clients().totals().clone(),
        images: images(state, clients),
        history: state.live.history(),
        listeners: state.live.listeners(),
    }
}

/// The images' figures, by name.
pub fn images(state: &State, clients: &[Client]) -> Vec<ImageStats> {
    let library = state.library();
    let manifests: Vec<&ImageManifest> = library.values().map(|i| &i.manifest).collect();
    let default = state.default_image();
    let mut tracker = state.tracker();
    let hashes: Vec<InfoHash> = manifests.iter().map(|m| m.infohash).collect();
    // No hashes would mean all, of images that are gone too.
    let counts = if hashes.is_empty() { Vec::new() } else { tracker.scrape(&hashes, Instant::now()) };
    let seeding: Vec<bool> = hashes.iter().map(|h| tracker.seeds(h)).collect();
    drop(tracker);
    let image = |(m, seeding): (&&ImageManifest, bool)| {
        let count = counts.iter().find(|c| c.infohash == m.infohash);
        ImageStats {
            name: m.name.clone(),
            infohash: m.infohash,
            what: m.what(),
            size: m.size,
            boot_files: m.kernel.size + m.initrd.size,
            priority: m.priority.get(),
            default: default.as_ref() == Some(&m.name),
            added: m.added.clone(),
            seeding,
            complete: count.map_or(0, |c| c.complete),
            incomplete: count.map_or(0, |c| c.incomplete),
            machines: clients.iter().filter(|c| runs(c, m.infohash)).count(),
            sent: state.sent.of(m.infohash),
        }
    };
    manifests.iter().zip(seeding).map(image).collect()
}

/// Whether a machine boots this image or runs it.
pub fn runs(client: &Client, infohash: InfoHash) -> bool {
    let h = &client.heartbeat;
    !client.gone && h.phase != Phase::Failed && h.infohash == Some(infohash)
}
