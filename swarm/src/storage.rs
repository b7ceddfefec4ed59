// SPDX-License-Identifier: GPL-3.0-or-later
//! Where pieces land: one open file, on tmpfs or anywhere else. Only the
//! descriptor is used, never a path, because after switch_root there is none.

use anyhow::{Context, bail};
use librqbit::storage::{BoxStorageFactory, StorageFactory, StorageFactoryExt, TorrentStorage};
use librqbit::{ManagedTorrentShared, TorrentMetadata};
use librqbit_core::lengths::ValidPieceIndex;
use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::Path,
    sync::{
        Arc, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// The payload's file, and which of its pieces are verified.
pub(crate) struct Payload {
    file: File,
    size: u64,
    piece_length: u64,
    have: RwLock<Vec<bool>>,
    have_bytes: AtomicU64,
}

impl Payload {
    /// `have`: pieces that are known to be in the file, verified.
    pub(crate) fn new(file: File, size: u64, piece_length: u32, have: Vec<bool>) -> Arc<Self> {
        let this = Self {
            file,
            size,
            piece_length: piece_length.into(),
            have: RwLock::default(),
            have_bytes: AtomicU64::new(0),
        };
        let bytes = (0..have.len()).filter(|i| have[*i]).map(|i| this.piece_size(i)).sum();
        this.have_bytes.store(bytes, Ordering::Relaxed);
        *this.have.write().expect("no panic under the lock") = have;
        Arc::new(this)
    }

    fn piece_size(&self, piece: usize) -> u64 {
        self.piece_length.min(self.size - piece as u64 * self.piece_length)
    }

    /// Note a verified piece.
    pub(crate) fn mark(&self, piece: usize) {
        let mut have = self.have.write().expect("no panic under the lock");
        if !std::mem::replace(&mut have[piece], true) {
            self.have_bytes.fetch_add(self.piece_size(piece), Ordering::Relaxed);
        }
    }

    /// Verified bytes.
    pub(crate) fn have_bytes(&self) -> u64 {
        self.have_bytes.load(Ordering::Relaxed)
    }

    /// Whether all is verified.
    pub(crate) fn complete(&self) -> bool {
        self.have_bytes() == self.size
    }

    /// Up to `count` pieces that are missing, at random.
    pub(crate) fn missing(&self, count: usize) -> Vec<u32> {
        let have = self.have.read().expect("no panic under the lock");
        let missing = || (0..have.len()).filter(|i| !have[*i]);
        let total = missing().count();
        let mut picked: Vec<u32> = rand::seq::index::sample(&mut rand::rng(), total, count.min(total))
            .into_iter()
            .filter_map(|nth| missing().nth(nth))
            .map(|i| i as u32)
            .collect();
        picked.sort_unstable();
        picked
    }
}

/// librqbit's view of a [`Payload`].
pub(crate) struct Storage {
    payload: Arc<Payload>,
    /// During librqbit's initial check only pieces that are known are read. Before
    /// the last of them, others read as noise: a hole in the file would read as
    /// zeros, and pass for a piece of zeros. After it, reading fails on purpose: the
    /// check then takes the rest for missing at once, instead of hashing gigabytes.
    checking: Option<[u8; 16]>,
}

impl Storage {
    /// What the session is given.
    pub(crate) fn factory(payload: Arc<Payload>) -> BoxStorageFactory {
        Factory(payload).boxed()
    }
}

struct Factory(Arc<Payload>);

impl StorageFactory for Factory {
    type Storage = Storage;

    fn create(&self, _: &ManagedTorrentShared, _: &TorrentMetadata) -> anyhow::Result<Storage> {
        Ok(Storage { payload: self.0.clone(), checking: Some(rand::random()) })
    }

    fn clone_box(&self) -> BoxStorageFactory {
        Self(self.0.clone()).boxed()
    }
}

impl TorrentStorage for Storage {
    fn init(&mut self, _: &ManagedTorrentShared, _: &TorrentMetadata) -> anyhow::Result<()> {
        Ok(())
    }

    fn pread_exact(&self, _: usize, offset: u64, buf: &mut [u8]) -> anyhow::Result<()> {
        if let Some(noise) = &self.checking {
            let have = self.payload.have.read().expect("no panic under the lock");
            let piece = (offset / self.payload.piece_length) as usize;
            if !have[piece..].contains(&true) {
                bail!("no piece from {piece} on");
            }
            if !have[piece] {
                buf.chunks_mut(noise.len()).for_each(|part| part.copy_from_slice(&noise[..part.len()]));
                return Ok(());
            }
        }
        self.payload
            .file
            .read_exact_at(buf, offset)
            .with_context(|| format!("reading the payload at {offset}"))
    }

    fn pwrite_all(&self, _: usize, offset: u64, buf: &[u8]) -> anyhow::Result<()> {
        self.payload
            .file
            .write_all_at(buf, offset)
            .with_context(|| format!("writing the payload at {offset}"))
    }

    fn remove_file(&self, _: usize, _: &Path) -> anyhow::Result<()> {
        Ok(())
    }

    fn remove_directory_if_empty(&self, _: &Path) -> anyhow::Result<()> {
        Ok(())
    }

    fn ensure_file_length(&self, _: usize, _: u64) -> anyhow::Result<()> {
        Ok(())
    }

    fn take(&self) -> anyhow::Result<Box<dyn TorrentStorage>> {
        Ok(Box::new(Storage { payload: self.payload.clone(), checking: None }))
    }

    fn on_piece_completed(&self, piece: ValidPieceIndex) -> anyhow::Result<()> {
        self.payload.mark(piece.get_usize());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_bytes_and_picks_what_is_missing() {
        let p = Payload::new(tempfile::tempfile().unwrap(), 100, 30, vec![false, true, false, false]);
        assert_eq!(p.have_bytes(), 30);
        p.mark(3);
        p.mark(3);
        assert_eq!(p.have_bytes(), 40, "the last piece is short, and counts once");
        assert_eq!(p.missing(9), [0, 2]);
        assert_eq!(p.missing(1).len(), 1);
        p.mark(0);
        p.mark(2);
        assert!(p.complete() && p.missing(5).is_empty());
    }
}
