// SPDX-License-Identifier: GPL-3.0-or-later
//! Where pieces land: one open file, on tmpfs or anywhere else. Only the
//! descriptor is used, never a path, because after switch_root there is none.

use crate::{
    metainfo::Metainfo,
    plan::{BLOCK, Layout},
};
use librqbit_sha1_wrapper::{ISha1, Sha1};
use std::{fs::File, io, os::unix::fs::FileExt, sync::Mutex};

/// Read at once when a piece is hashed: it stays in the processor's cache.
const HASHED: usize = 64 << 10;

/// A payload's file.
pub(crate) struct Store {
    file: File,
    metainfo: Metainfo,
    layout: Layout,
    /// What is being hashed.
    scratch: Mutex<Vec<u8>>,
}

impl Store {
    pub(crate) fn new(file: File, metainfo: Metainfo) -> Self {
        let layout = Layout::new(metainfo.size(), metainfo.piece_length());
        Self { file, metainfo, layout, scratch: Mutex::new(vec![0; HASHED]) }
    }

    /// How the payload is cut.
    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// For sendfile(2).
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Write a block, which is not verified yet.
    pub(crate) fn write_block(&self, piece: u32, block: u32, data: &[u8]) -> io::Result<()> {
        let at = self.layout.offset(piece) + u64::from(block) * u64::from(BLOCK);
        self.file.write_all_at(data, at)
    }

    /// Write a piece that is verified.
    pub(crate) fn write_piece(&self, piece: u32, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, self.layout.offset(piece))
    }

    /// Whether what is in the file is this piece. Reads and hashes: takes a while.
    pub(crate) fn verify(&self, piece: u32) -> io::Result<bool> {
        let (mut at, mut left) = (self.layout.offset(piece), self.layout.len(piece) as usize);
        let (mut hash, mut buf) = (Sha1::new(), self.scratch.lock().expect("no panic under the lock"));
        while left > 0 {
            let part = &mut buf[..HASHED.min(left)];
            self.file.read_exact_at(part, at)?;
            hash.update(part);
            at += part.len() as u64;
            left -= part.len();
        }
        Ok(hash.finish() == self.metainfo.piece_hash(piece))
    }
}
