// SPDX-License-Identifier: GPL-3.0-or-later
//! The seeder: has in its session what the library has, and tells the tracker.

mod engine;
mod librqbit_seeder;

use crate::{
    library::ServedImage,
    state::{KEEP, ServerState},
};
use anyhow::{Context, Result};
use bootspec::InfoHash;
use engine::Seeded;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

pub use engine::Engine;

/// What is seeded now.
pub struct Seeder {
    engine: Engine,
    torrents: HashMap<InfoHash, Seeded>,
    /// When those that the library has no more left it.
    retired: HashMap<InfoHash, Instant>,
    /// Payloads that cannot be seeded: told once, not each two seconds. With the time
    /// when they were added, for the same image may be added again, whole.
    refused: HashSet<(InfoHash, String)>,
}

impl Seeder {
    /// A seeder with nothing to seed yet.
    pub fn new(engine: Engine) -> Seeder {
        Seeder { engine, torrents: HashMap::new(), retired: HashMap::new(), refused: HashSet::new() }
    }

    /// Seed what the library has, and what it had a moment ago, at once: payloads are hashed
    /// as machines ask for them. One that turns out to be wrong is seeded no longer.
    pub async fn follow(&mut self, state: &ServerState) {
        let library = state.library();
        let wanted: HashMap<InfoHash, &Arc<ServedImage>> =
            library.all().map(|i| (i.manifest.infohash, i)).collect();
        self.retired.retain(|h, _| !wanted.contains_key(h));
        for hash in self.torrents.keys().filter(|h| !wanted.contains_key(h)) {
            self.retired.entry(*hash).or_insert_with(Instant::now);
        }
        let released = state.released();
        let is_over = |(h, since): &(&InfoHash, &Instant)| since.elapsed() >= KEEP || released.contains(*h);
        let gone: Vec<InfoHash> = self.retired.iter().filter(is_over).map(|(h, _)| *h).collect();
        for hash in gone {
            self.torrents.remove(&hash);
            self.retired.remove(&hash);
            state.tracker().seeding(self.torrents.keys().copied().collect());
            state.sent.gone(hash);
            match self.engine.remove(hash).await {
                Ok(()) => tracing::info!("no longer seeding {hash}"),
                Err(e) => tracing::warn!("removing {hash} from the seeder: {e:#}"),
            }
        }
        self.refused.retain(|(h, _)| wanted.contains_key(h));
        self.drop_the_wrong(&wanted, state).await;
        for (hash, image) in wanted {
            let version = (hash, image.manifest.added.clone());
            if let Some(seeded) = self.torrents.get(&hash) {
                seeded.set_weight(image.manifest.priority.get());
                continue;
            }
            if self.refused.contains(&version) {
                continue;
            }
            match self.seed(image).await {
                Ok(torrent) => {
                    tracing::info!("seeding {} ({hash})", image.manifest.name);
                    if let Seeded::Dealt(torrent) = &torrent {
                        state.sent.seeds(hash, torrent.clone());
                    }
                    self.torrents.insert(hash, torrent);
                }
                Err(e) => {
                    tracing::error!("{e:#}");
                    self.refused.insert(version);
                }
            }
            state.tracker().seeding(self.torrents.keys().copied().collect());
        }
    }

    /// Stop seeding payloads that are not what their torrents say.
    async fn drop_the_wrong(&mut self, wanted: &HashMap<InfoHash, &Arc<ServedImage>>, state: &ServerState) {
        let wrong = self.torrents.iter().filter_map(|(hash, seeded)| Some((*hash, seeded.error()?)));
        for (hash, error) in wrong.collect::<Vec<_>>() {
            self.torrents.remove(&hash);
            state.tracker().seeding(self.torrents.keys().copied().collect());
            state.sent.gone(hash);
            if let Some(image) = wanted.get(&hash) {
                tracing::error!("seeding image '{}': {error}", image.manifest.name);
                self.refused.insert((hash, image.manifest.added.clone()));
            }
            if let Err(e) = self.engine.remove(hash).await {
                tracing::warn!("removing {hash} from the seeder: {e:#}");
            }
        }
    }

    async fn seed(&self, image: &ServedImage) -> Result<Seeded> {
        let manifest = &image.manifest;
        let file = image.payload.file.try_clone().context("duplicating a file handle")?;
        let seeded = self.engine.seed(&image.torrent, file, manifest.priority.get()).await;
        seeded.with_context(|| format!("seeding image '{}'", manifest.name))
    }

    /// Leave all swarms.
    pub async fn stop(self) {
        self.engine.stop().await;
    }
}
