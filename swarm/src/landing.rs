// SPDX-License-Identifier: GPL-3.0-or-later
//! Blocks on their way into the payload's file and out of it. RAM takes and gives them at once. A disk can make its writer
//! wait for seconds, and a machine that boots has one thread for all its connections: there another thread writes, and
//! reads what is not in the page cache, so that the machine goes on serving others and is not taken for gone.

use crate::{plan::Landed, torrent::Shared, write_queue::Block};
use librqbit_peer_protocol::Request;
use std::{io, sync::Arc};
use tokio::task::spawn_blocking;

/// Pieces up to this are hashed where their last block arrives: handing them to another thread costs more.
const HASHED_HERE: u32 = 512 << 10;

impl Shared {
    /// Put a block where it belongs, at once or as soon as the disk takes it.
    pub(crate) fn land(self: &Arc<Self>, piece: u32, block: u32, data: &[u8]) {
        if !self.store.may_wait() {
            return self.land_now(piece, block, data);
        }
        if self.write_queue.push(Block { piece, block, data: data.to_vec() }) {
            let this = self.clone();
            spawn_blocking(move || this.write_all());
        }
    }

    fn land_now(self: &Arc<Self>, piece: u32, block: u32, data: &[u8]) {
        if !self.write(piece, block, data) {
            return;
        }
        if self.store.layout().len(piece) <= HASHED_HERE {
            self.verify(piece);
        } else {
            let this = self.clone();
            spawn_blocking(move || this.verify(piece));
        }
    }

    /// True: it was the last one of its piece.
    fn write(&self, piece: u32, block: u32, data: &[u8]) -> bool {
        match self.store.write_block(piece, block, data) {
            Ok(()) => self.state().picker.landed(piece, block) == Landed::Whole,
            Err(e) => {
                self.fail(&e);
                false
            }
        }
    }

    fn write_all(&self) {
        while let Some(Block { piece, block, data }) = self.write_queue.next() {
            if self.setup.end.is_cancelled() || self.error().is_some() {
                return self.write_queue.give_up();
            }
            if self.write(piece, block, &data) {
                self.verify(piece);
            }
            self.write_queue.is_written(data.len());
        }
    }

    /// Bring a block into the page cache, if sending it would have to wait for the disk.
    pub(crate) async fn read_ahead(self: &Arc<Self>, request: &Request) -> io::Result<()> {
        let (at, len) =
            (self.store.layout().offset(request.index) + u64::from(request.begin), request.length);
        if !self.store.may_wait() || self.store.is_cached(at, len) {
            return Ok(());
        }
        let this = self.clone();
        spawn_blocking(move || this.store.read(at, len as usize, &mut |_| {}))
            .await
            .expect("no panic while reading")
    }
}
