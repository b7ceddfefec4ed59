// SPDX-License-Identifier: GPL-3.0-or-later
//! Everything that relays take over, made when one asks and something has changed.

use super::answer::{Answer, blocking};
use crate::{
    catalogue::{
        INITRD, KERNEL, SUMS,
        entries::{EntriesFolder, NamedEntry},
        own::{ARCHIVES, CARDS},
    },
    config::Config,
    hosts::Hosts,
    keys::Folder,
    library::{Library, Open, ServedImage},
    menu_users::{self, MenuUsers},
    relay::told::{BootWords, EntryCopy, FileTag, ImageCopy, Snapshot, Tags},
    state::ServerState,
};
use anyhow::{Context, Result, ensure};
use bootspec::Sha256Sum;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeSet,
    fs::Metadata,
    os::unix::fs::MetadataExt,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

/// So long a snapshot is told to all relays, if nothing that it is made of has changed.
const FRESH: Duration = Duration::from_secs(2);

/// The last snapshot.
#[derive(Default)]
pub struct KeptSnapshot(Mutex<Option<Kept>>);

struct Kept {
    made: Instant,
    /// What it was made of: kept, so that nothing else gets its address.
    of: Parts,
    tag: String,
    bytes: Bytes,
}

type Parts = (Arc<Config>, Arc<Hosts>, Arc<Library>, Arc<Vec<NamedEntry>>, Arc<MenuUsers>);

fn parts(state: &ServerState) -> Parts {
    (state.config(), state.hosts(), state.library(), state.entries(), state.menu_users())
}

fn same(a: &Parts, b: &Parts) -> bool {
    Arc::ptr_eq(&a.0, &b.0)
        && Arc::ptr_eq(&a.1, &b.1)
        && Arc::ptr_eq(&a.2, &b.2)
        && Arc::ptr_eq(&a.3, &b.3)
        && Arc::ptr_eq(&a.4, &b.4)
}

impl KeptSnapshot {
    /// The snapshot as JSON, and its tag.
    pub async fn get(&self, state: &Arc<ServerState>) -> Answer<(String, Bytes)> {
        let mut kept = self.0.lock().await;
        let now = parts(state);
        if kept.as_ref().is_none_or(|k| k.made.elapsed() >= FRESH || !same(&k.of, &now)) {
            let of = state.clone();
            *kept = Some(blocking(move || make(&of, now)).await?);
        }
        Ok(kept.as_ref().map(|k| (k.tag.clone(), k.bytes.clone())).unwrap_or_default())
    }
}

fn make(state: &ServerState, of: Parts) -> Result<Kept> {
    let snapshot = told(state, &of)?;
    let bytes = serde_json::to_vec(&snapshot).context("writing JSON")?;
    let tag = format!("\"{}\"", Sha256Sum(Sha256::digest(&bytes).into()));
    Ok(Kept { made: Instant::now(), of, tag, bytes: bytes.into() })
}

/// Everything that a relay takes over, now. Blocks.
fn told(state: &ServerState, (config, hosts, library, entries, users): &Parts) -> Result<Snapshot> {
    whole(state, library)?;
    let keys = Folder::of(config).public()?.iter().map(|k| k.id.to_string()).collect();
    let folder = EntriesFolder::at(&config.catalogue.dir);
    let entry = |(name, entry): &NamedEntry| {
        let file = |file: String| Some((file.clone(), tag(&folder.open(name, &file).ok()?.metadata().ok()?)));
        let files: Tags = entry.files().into_iter().filter_map(file).collect();
        EntryCopy { name: name.clone(), entry: entry.clone(), files }
    };
    let layers = state.disk().layers;
    let sums: BTreeSet<Sha256Sum> = hosts.entries.values().filter_map(|e| e.files).collect();
    let signature = |sum| layers.signature(sum).ok().flatten().unwrap_or_default();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    // The current version of each first, for the others are shown beside it.
    let images = library.current().map(|i| (i, true));
    let images = images.chain(library.all().skip(library.len()).map(|i| (i, false)));
    let image = |(image, current): (&Arc<ServedImage>, bool)| ImageCopy {
        manifest: image.manifest.clone(),
        current,
        statement: text(&image.evidence.statement),
        signature: text(&image.evidence.signature),
        files: boot_files(image),
    };
    Ok(Snapshot {
        version: env!("CARGO_PKG_VERSION").into(),
        http: state.http_port(),
        peers: state.peer_port,
        relays: state.relays.there(Instant::now()),
        boot: BootWords {
            append: config.boot.append.clone(),
            default: config.boot.default.clone(),
            timeout: config.boot.timeout.as_millis() as u64,
        },
        menu: config.menu.clone(),
        hosts: (**hosts).clone(),
        users: (**users).clone(),
        keys,
        images: images.map(image).collect(),
        entries: entries.iter().map(entry).collect(),
        layers: sums.into_iter().map(|sum| (sum, text(&signature(sum)))).collect(),
    })
}

/// What is damaged here is not gone: relays keep what they have until it is put right.
fn whole(state: &ServerState, library: &Library) -> Result<()> {
    state.store.load()?;
    let disk = state.disk();
    menu_users::load(&state.config().catalogue.dir)?;
    for name in disk.catalogue.names()? {
        ensure!(
            library.get(&name).is_some(),
            "image '{name}' cannot be served here, so relays are told nothing new: see boottorrent doctor"
        );
    }
    let damaged = EntriesFolder::at(&state.config().catalogue.dir).load().1.len();
    ensure!(damaged == 0, "entries are damaged here, so relays are told nothing new: see boottorrent doctor");
    Ok(())
}

/// What tells a file from the one that was there before.
fn tag(m: &Metadata) -> FileTag {
    FileTag { size: m.size(), tag: format!("{}-{}-{}", m.ino(), m.mtime(), m.mtime_nsec()) }
}

/// One file of an image, as relays get them: as it is on the disk.
pub fn file_of<'a>(image: &'a ServedImage, name: &str) -> Option<&'a Open> {
    match name {
        KERNEL => Some(&image.kernel),
        INITRD => Some(&image.initrd),
        SUMS => image.sums.as_ref(),
        ARCHIVES => Some(&image.own.as_ref()?.archives),
        CARDS => Some(&image.own.as_ref()?.cards),
        _ => None,
    }
}

fn boot_files(image: &ServedImage) -> Tags {
    let one = |name: &str| Some((name.to_owned(), tag(&file_of(image, name)?.file.metadata().ok()?)));
    [KERNEL, INITRD, SUMS, ARCHIVES, CARDS].into_iter().filter_map(one).collect()
}
