// SPDX-License-Identifier: GPL-3.0-or-later
//! The running server follows the disk: images, machines and groups, and what GRUB gets by TFTP.

use crate::{
    catalogue::{Catalogue, entries::EntriesFolder},
    library, menu_users,
    operations::Retention,
    state::{KnownFaults, ServerState},
    tftp,
};
use bootspec::ImageManifest;
use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

/// Bring images and machines up to date with the disk.
pub fn refresh(state: &ServerState) {
    let mut told = state.told();
    if look(&Catalogue::at(&state.config().catalogue.dir), state, &mut told.images) {
        told.pruned = None;
    }
    // Once more where somebody has changed it meanwhile: what that one has set is not undone by what was read before.
    while told.hosts != Some(state.store.version()) {
        told.hosts = Some(state.store.version());
        // Damaged by hand: what was said before counts until it is mended.
        match state.store.load() {
            Ok(hosts) => state.set_hosts(hosts),
            Err(e) => tracing::error!("machines and groups stay as they were: {e:#}"),
        }
    }
    let folder = EntriesFolder::at(&state.config().catalogue.dir);
    let version = folder.version();
    if told.entries != Some(version) {
        let (entries, broken) = folder.load();
        broken.iter().for_each(|b| tracing::error!("{b}"));
        state.set_entries(entries);
        told.entries = Some(version);
    }
    let dir = &state.config().catalogue.dir;
    let version = menu_users::version(dir);
    if told.menu_users != Some(version) {
        // Damaged by hand: who could before still can.
        match menu_users::load(dir) {
            Ok(users) => state.set_menu_users(users),
            Err(e) => tracing::error!("the menu's users stay as they were: {e:#}"),
        }
        told.menu_users = Some(version);
    }
    prune(state, &mut told);
}

/// How often earlier versions are looked at, besides after a change: machines that ran one may run another by now.
const PRUNE: Duration = Duration::from_secs(60);

/// Remove earlier versions that are too many, in a thread of its own: large files take long to delete.
fn prune(state: &ServerState, told: &mut KnownFaults) {
    let now = Instant::now();
    if told.pruned.is_some_and(|last| now.saturating_duration_since(last) < PRUNE) {
        return;
    }
    told.pruned = Some(now);
    // Those that were known before the start have not spoken yet.
    let clients = state.list_clients(now);
    let (disk, keep) = (state.disk(), Retention::of(&state.config()));
    // A relay has the versions that its first server has.
    let relay = state.here.is_some();
    let remove = move || {
        disk.prune_files().unwrap_or_else(|e| tracing::error!("files that no machine has stay: {e:#}"));
        if relay {
            return;
        }
        match disk.prune(&keep, &clients) {
            Ok(removed) => removed.iter().for_each(|image| {
                tracing::info!(
                    "image {image} is removed: newer versions are kept (keep-versions in server.toml)"
                );
            }),
            Err(e) => tracing::error!("earlier versions of images are not removed: {e:#}"),
        }
    };
    if let Err(e) = std::thread::Builder::new().name("prune".into()).spawn(remove) {
        tracing::error!("earlier versions of images are not removed: starting a thread: {e}");
    }
}

/// Bring the library up to date. What is wrong is told once. Whether it has changed.
fn look(catalogue: &Catalogue, state: &ServerState, told: &mut HashSet<String>) -> bool {
    let mut changed = false;
    state.forget_retired();
    let before = state.library();
    match library::load(catalogue, &before) {
        Ok(mut loaded) => {
            for new in loaded.library.current().filter(|i| !before.has(i)) {
                let ImageManifest { name, version, infohash, .. } = &new.manifest;
                tracing::info!("image {name} is served, version {version} ({infohash})");
            }
            for old in before.names().filter(|n| loaded.library.get(n).is_none()) {
                tracing::info!("image {old} is no longer served");
            }
            if loaded.changed {
                changed = true;
                state.set_library(loaded.library);
            }
            // Again and again, since `setup` may make the folder at any time.
            let by_tftp = tftp::refresh(state).map_err(|e| format!("{e:#}"));
            by_tftp.unwrap_or_else(|e| loaded.broken.push(e));
            loaded.broken.iter().filter(|b| told.insert((*b).clone())).for_each(|b| tracing::error!("{b}"));
            told.retain(|t| loaded.broken.contains(t));
        }
        Err(e) => {
            let text = format!("{e:#}");
            if told.insert(text.clone()) {
                tracing::error!("{text}");
            }
        }
    }
    changed
}
