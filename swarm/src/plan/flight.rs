// SPDX-License-Identifier: GPL-3.0-or-later
//! A piece that is being fetched: who is asked for it, which blocks are here, and who has sent each.

use super::PeerKey;
use std::time::Duration;

/// Stands for a block that nobody has sent: it was in the file before.
const NOBODY: u16 = u16::MAX;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Block {
    Missing,
    Writing,
    Here,
}

pub(super) struct Flight {
    /// Who is asked for it, the longest first.
    pub holders: Vec<PeerKey>,
    pub blocks: Vec<Block>,
    pub missing: u32,
    pub here: u32,
    pub since: Duration,
    pub first: Option<Duration>,
    pub last: Duration,
    pub senders: Vec<PeerKey>,
    /// Which of `senders` has sent each block.
    by: Vec<u16>,
    /// Some of it was here before, not verified.
    pub begun: bool,
    /// Of one peer only, so that it is known who is to blame if it is wrong.
    pub alone: bool,
}

impl Flight {
    /// `here`: blocks that are in the file already.
    pub fn new(count: u32, here: &[u32], now: Duration) -> Self {
        let mut blocks = vec![Block::Missing; count as usize];
        here.iter().for_each(|b| blocks[*b as usize] = Block::Here);
        Self {
            holders: Vec::new(),
            blocks,
            missing: count - here.len() as u32,
            here: here.len() as u32,
            since: now,
            first: None,
            last: now,
            senders: Vec::new(),
            by: vec![NOBODY; count as usize],
            begun: !here.is_empty(),
            alone: false,
        }
    }

    /// A peer has sent a block, which is about to be written. False: it is not missing.
    pub fn claim(&mut self, key: PeerKey, block: u32, now: Duration) -> bool {
        let n = block as usize;
        if self.blocks.get(n) != Some(&Block::Missing) {
            return false;
        }
        let sender = self.senders.iter().position(|k| *k == key).unwrap_or_else(|| {
            self.senders.push(key);
            self.senders.len() - 1
        });
        self.blocks[n] = Block::Writing;
        self.by[n] = u16::try_from(sender).unwrap_or(NOBODY);
        self.missing -= 1;
        (self.last, self.first) = (now, self.first.or(Some(now)));
        true
    }

    /// How long it will still take, judged by its own past: no news is bad news.
    pub fn expected(&self, now: Duration) -> Duration {
        let flown = now.saturating_sub(self.since);
        match self.here {
            0 => flown,
            here => flown * self.missing / here,
        }
    }

    /// Whether another source may fetch the rest: not of a whole one, which is being verified, nor while it is written to.
    pub fn can_be_taken(&self) -> bool {
        self.missing > 0 && self.missing + self.here == self.blocks.len() as u32
    }

    pub fn missing(&self) -> Vec<u32> {
        self.those(|b| b == Block::Missing)
    }

    pub fn here(&self) -> Vec<u32> {
        self.those(|b| b == Block::Here)
    }

    fn those(&self, which: impl Fn(Block) -> bool) -> Vec<u32> {
        (0..).zip(&self.blocks).filter(|(_, b)| which(**b)).map(|(n, _)| n).collect()
    }

    /// The blocks that are here and were sent by somebody, and by whom.
    pub fn sent(&self) -> Vec<(u32, PeerKey)> {
        self.here().into_iter().filter_map(|b| Some((b, self.sender(b)?))).collect()
    }

    fn sender(&self, block: u32) -> Option<PeerKey> {
        self.senders.get(usize::from(self.by[block as usize])).copied()
    }

    /// How many of the blocks that are here a peer has sent.
    pub fn share(&self, key: PeerKey) -> usize {
        self.sent().iter().filter(|(_, k)| *k == key).count()
    }

    /// The blocks that are here, but not sent by whom `keep` names, are missing again. Which these are.
    pub fn purge(&mut self, keep: impl Fn(Option<PeerKey>) -> bool) -> Vec<u32> {
        let gone: Vec<u32> = self.here().into_iter().filter(|b| !keep(self.sender(*b))).collect();
        for block in &gone {
            self.blocks[*block as usize] = Block::Missing;
            self.by[*block as usize] = NOBODY;
        }
        self.missing += gone.len() as u32;
        self.here -= gone.len() as u32;
        gone
    }
}
