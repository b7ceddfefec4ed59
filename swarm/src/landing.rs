// SPDX-License-Identifier: GPL-3.0-or-later
//! Blocks on their way into the payload's file and out of it. RAM takes and gives them at once. A disk can make its writer
//! wait for seconds, and a machine that boots has one thread for all its connections: there another thread writes, and
//! reads what is not in the page cache, so that the machine goes on serving others and is not taken for gone.

use crate::{plan::Landed, torrent::Shared};
use librqbit_peer_protocol::Request;
use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, MutexGuard},
};
use tokio::{sync::Notify, task::spawn_blocking};

/// Bytes that wait to be written before connections stop reading more.
const LIMIT: usize = 4 << 20;
/// Pieces up to this are hashed where their last block arrives: handing them to another thread costs more.
const HASHED_HERE: u32 = 512 << 10;

/// A block that has arrived, where it belongs.
struct Block {
    piece: u32,
    block: u32,
    data: Vec<u8>,
}

#[derive(Default)]
struct Waiting {
    blocks: VecDeque<Block>,
    bytes: usize,
    /// Somebody takes them out.
    writing: bool,
}

/// Blocks that wait for the disk.
#[derive(Default)]
pub(crate) struct WriteQueue {
    waiting: Mutex<Waiting>,
    written: Notify,
}

impl WriteQueue {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("no panic under the lock")
    }

    /// True: nobody writes yet.
    fn push(&self, block: Block) -> bool {
        let mut waiting = self.waiting();
        waiting.bytes += block.data.len();
        waiting.blocks.push_back(block);
        !std::mem::replace(&mut waiting.writing, true)
    }

    /// The next one. None: all are taken, and whoever asked is done.
    fn next(&self) -> Option<Block> {
        let mut waiting = self.waiting();
        let next = waiting.blocks.pop_front();
        waiting.writing = next.is_some();
        next
    }

    fn is_written(&self, bytes: usize) {
        self.waiting().bytes -= bytes;
        self.written.notify_waiters();
    }

    fn give_up(&self) {
        let mut waiting = self.waiting();
        (waiting.bytes, waiting.writing) = (0, false);
        waiting.blocks.clear();
        self.written.notify_waiters();
    }

    /// Returns when there is room for more.
    pub(crate) async fn has_room(&self) {
        loop {
            let written = self.written.notified();
            tokio::pin!(written);
            written.as_mut().enable();
            if self.waiting().bytes < LIMIT {
                return;
            }
            written.await;
        }
    }
}

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
            if self.end.is_cancelled() || self.error().is_some() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::BLOCK;

    #[test]
    fn room_and_the_one_who_writes() {
        let queue = WriteQueue::default();
        let block = |n| Block { piece: 0, block: n, data: vec![0; BLOCK as usize] };
        assert!(queue.push(block(0)), "nobody wrote");
        assert!(!queue.push(block(1)));
        assert_eq!(queue.next().unwrap().block, 0);
        assert_eq!(queue.next().unwrap().block, 1);
        assert!(queue.next().is_none());
        assert!(queue.push(block(2)), "whoever wrote has gone");
        assert_eq!(queue.waiting().bytes, 3 * BLOCK as usize);
        queue.is_written(BLOCK as usize);
        assert_eq!(queue.waiting().bytes, 2 * BLOCK as usize);
        queue.give_up();
        assert!(queue.waiting().bytes == 0 && queue.push(block(3)));
    }
}
