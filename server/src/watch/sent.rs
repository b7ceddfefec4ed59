// SPDX-License-Identifier: GPL-3.0-or-later
//! What this server has sent: by the seeder, as pieces over HTTP, and in phase one.

use bootspec::InfoHash;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};
use swarm::Torrent;

/// A number of bytes that grows from several places.
pub type Counter = Arc<AtomicU64>;

/// The counters.
#[derive(Default)]
pub struct Sent {
    /// Kernels, initrds and add-ons.
    pub boot_files: Counter,
    images: Mutex<HashMap<InfoHash, Image>>,
    /// What was sent of images that are no longer here.
    past: AtomicU64,
}

#[derive(Default)]
struct Image {
    http: Counter,
    torrent: Option<Arc<Torrent>>,
}

impl Image {
    fn bytes(&self) -> u64 {
        let seeded = self.torrent.as_ref().map_or(0, |t| t.progress().uploaded);
        self.http.load(Relaxed).saturating_add(seeded)
    }
}

impl Sent {
    /// From now on this torrent counts.
    pub fn seeds(&self, infohash: InfoHash, torrent: Arc<Torrent>) {
        self.images().entry(infohash).or_default().torrent = Some(torrent);
    }

    /// An image is neither served nor seeded any more.
    pub fn gone(&self, infohash: InfoHash) {
        if let Some(image) = self.images().remove(&infohash) {
            self.past.fetch_add(image.bytes(), Relaxed);
        }
    }

    /// Where the bytes of this image's payload over HTTP are counted.
    pub fn http(&self, infohash: InfoHash) -> Counter {
        self.images().entry(infohash).or_default().http.clone()
    }

    /// Bytes of this image's payload that were sent, by whatever way.
    pub fn of(&self, infohash: InfoHash) -> u64 {
        self.images().get(&infohash).map_or(0, Image::bytes)
    }

    /// Bytes of all payloads that were sent, by whatever way.
    pub fn payloads(&self) -> u64 {
        self.images().values().map(Image::bytes).fold(self.past.load(Relaxed), u64::saturating_add)
    }

    fn images(&self) -> MutexGuard<'_, HashMap<InfoHash, Image>> {
        self.images.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_stays_sent() {
        let (sent, hash) = (Sent::default(), InfoHash([1; 20]));
        sent.http(hash).fetch_add(5, Relaxed);
        sent.http(hash).fetch_add(6, Relaxed);
        assert_eq!((sent.of(hash), sent.payloads()), (11, 11));
        sent.gone(hash);
        assert_eq!((sent.of(hash), sent.payloads()), (0, 11));
    }
}
