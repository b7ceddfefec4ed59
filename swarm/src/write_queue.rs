// SPDX-License-Identifier: GPL-3.0-or-later
//! Blocks that wait for a disk: see `landing`.

use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use tokio::sync::Notify;

/// Bytes that wait to be written before connections stop reading more.
const LIMIT: usize = 4 << 20;

/// A block that has arrived, where it belongs.
pub(crate) struct Block {
    pub piece: u32,
    pub block: u32,
    pub data: Vec<u8>,
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
        self.waiting.lock()
    }

    /// True: nobody writes yet.
    pub(crate) fn push(&self, block: Block) -> bool {
        let mut waiting = self.waiting();
        waiting.bytes += block.data.len();
        waiting.blocks.push_back(block);
        !std::mem::replace(&mut waiting.writing, true)
    }

    /// The next one. None: all are taken, and whoever asked is done.
    pub(crate) fn next(&self) -> Option<Block> {
        let mut waiting = self.waiting();
        let next = waiting.blocks.pop_front();
        waiting.writing = next.is_some();
        next
    }

    pub(crate) fn is_written(&self, bytes: usize) {
        self.waiting().bytes -= bytes;
        self.written.notify_waiters();
    }

    pub(crate) fn give_up(&self) {
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
