// SPDX-License-Identifier: GPL-3.0-or-later
//! The running server in figures and rows, as they are asked for: read from [`ServerState`], told by whoever is asked.

use crate::{
    api::types::{ImageRow, VersionRow},
    catalogue::free_space,
    clients::Client,
    library::ServedImage,
    relay::{RelaysFile, present::RelayRow},
    state::ServerState,
    watch::{
        live::LiveSnapshot,
        process::ProcessFigures,
        stats::{ImageStats, Stats},
    },
};
use bootspec::{ImageManifest, InfoHash, trust::KeyId};
use std::{collections::BTreeMap, sync::atomic::Ordering::Relaxed, time::Instant};

/// All of it, now.
pub fn stats(state: &ServerState, clients: &[Client]) -> Stats {
    let mut machines = BTreeMap::new();
    let mut groups: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    for client in clients {
        *machines.entry(client.phase().to_owned()).or_default() += 1;
        if let Some(group) = &client.group {
            let group = groups.entry(group.trim_start_matches("group:").to_owned()).or_default();
            *group.entry(client.phase().to_owned()).or_default() += 1;
        }
    }
    let mut fetches = BTreeMap::new();
    for fetch in state.fetches.list() {
        *fetches.entry(fetch.progress.state.as_str().to_owned()).or_default() += 1;
    }
    Stats {
        process: ProcessFigures::now(),
        free: free_space::free(&state.config().catalogue.dir).unwrap_or_default(),
        fetches,
        certificate_expires: state.certificate_expires.get().copied(),
        groups,
        version: env!("CARGO_PKG_VERSION").into(),
        uptime: state.started.elapsed().as_secs_f64(),
        machines,
        sent: state.sent.payloads(),
        boot_files: state.sent.boot_files.load(Relaxed),
        totals: state.clients().totals().clone(),
        images: images(state, clients),
        // Everybody may ask for figures: where relays are, and for whom, is in the list of them.
        relays: relays(state, clients)
            .unwrap_or_default()
            .into_iter()
            .map(|r| RelayRow { address: None, subnet: Vec::new(), group: Vec::new(), trouble: None, ..r })
            .collect(),
        upstream: state.here.as_ref().map(|here| here.row().for_everybody()),
        history: state.live.history(),
        listeners: state.live.listeners(),
    }
}

/// The relays, by name. Blocks.
pub fn relays(state: &ServerState, clients: &[Client]) -> anyhow::Result<Vec<RelayRow>> {
    let known = RelaysFile::at(&state.config().catalogue.dir).load()?;
    let machines =
        |name: &str| clients.iter().filter(|c| !c.gone && c.relay.as_deref() == Some(name)).count();
    Ok(state.relays.rows(&known, machines, Instant::now()))
}

/// The images' figures, by name.
pub fn images(state: &ServerState, clients: &[Client]) -> Vec<ImageStats> {
    let library = state.library();
    let manifests: Vec<&ImageManifest> = library.current().map(|i| &i.manifest).collect();
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
            boot_files: state.phase_one(m, None),
            priority: m.priority.get(),
            default: default.as_ref() == Some(&m.name),
            added: m.added.clone(),
            seeding,
            complete: count.map_or(0, |c| c.complete),
            incomplete: count.map_or(0, |c| c.incomplete),
            machines: clients.iter().filter(|c| c.runs(m.infohash)).count(),
            sent: state.sent.of(m.infohash),
        }
    };
    manifests.iter().zip(seeding).map(image).collect()
}

/// What those who listen are told of: see [`Live`](crate::watch::live::Live).
pub fn snapshot(state: &ServerState) -> LiveSnapshot {
    let clients = state.machines(Instant::now());
    LiveSnapshot { images: images(state, &clients), sent: state.sent.payloads(), clients }
}

/// An image, and what else the server knows of it.
pub fn image_row(state: &ServerState, image: &ServedImage, clients: &[Client]) -> ImageRow {
    let m = &image.manifest;
    let runs = |infohash: InfoHash| {
        clients.iter().filter(|c| c.runs(infohash)).map(|c| c.heartbeat.id.clone()).collect::<Vec<_>>()
    };
    let library = state.library();
    let versions: Vec<VersionRow> = library
        .versions(&m.name)
        .map(|i| &i.manifest)
        .map(|m| VersionRow {
            version: m.version,
            infohash: m.infohash,
            added: m.added.clone(),
            machines: runs(m.infohash),
        })
        .collect();
    ImageRow {
        phase_one: state.phase_one(m, None),
        default: state.default_image().as_ref() == Some(&m.name),
        machines: runs(m.infohash),
        versions: if versions.len() > 1 { versions } else { Vec::new() },
        key: KeyId::of(&image.evidence.signature).map(|k| k.to_string()),
        manifest: m.clone(),
    }
}
