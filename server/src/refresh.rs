// SPDX-License-Identifier: GPL-3.0-or-later
//! The running server follows the disk: images, machines and groups, and what GRUB gets by TFTP.

use crate::{
    catalogue::{Catalogue, entries::EntriesFolder},
    library,
    state::ServerState,
    tftp,
};
use std::{collections::HashSet, sync::Arc};

/// Bring images and machines up to date with the disk.
pub fn refresh(state: &ServerState) {
    let mut told = state.told();
    look(&Catalogue::at(&state.config.catalogue.dir), state, &mut told.images);
    let version = state.store.version();
    if told.hosts != Some(version) {
        // Damaged by hand: what was said before counts until it is mended.
        match state.store.load() {
            Ok(hosts) => state.set_hosts(hosts),
            Err(e) => tracing::error!("machines and groups stay as they were: {e:#}"),
        }
        told.hosts = Some(version);
    }
    let folder = EntriesFolder::at(&state.config.catalogue.dir);
    let version = folder.version();
    if told.entries != Some(version) {
        let (entries, broken) = folder.load();
        broken.iter().for_each(|b| tracing::error!("{b}"));
        state.set_entries(entries);
        told.entries = Some(version);
    }
}

/// Bring the library up to date. What is wrong is told once.
fn look(catalogue: &Catalogue, state: &ServerState, told: &mut HashSet<String>) {
    state.forget_retired();
    let before = state.library();
    match library::load(catalogue, &before) {
        Ok(mut loaded) => {
            for new in loaded.library.values().filter(|i| !before.values().any(|b| Arc::ptr_eq(i, b))) {
                tracing::info!("image {} is served ({})", new.manifest.name, new.manifest.infohash);
            }
            for old in before.keys().filter(|n| !loaded.library.contains_key(n)) {
                tracing::info!("image {old} is no longer served");
            }
            if loaded.changed {
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
}
