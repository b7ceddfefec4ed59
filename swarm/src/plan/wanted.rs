// SPDX-License-Identifier: GPL-3.0-or-later
//! What readers wait for: see `picker::urgent`, which decides what becomes of it.

use std::{collections::VecDeque, time::Duration};

/// A piece that a reader waits for.
pub(super) struct Piece {
    pub piece: u32,
    pub since: Duration,
    /// Another source than peers fetches it.
    pub elsewhere: bool,
}

/// All of them.
#[derive(Default)]
pub(super) struct Urgent {
    pub pieces: Vec<Piece>,
    /// What is likely to be read next.
    pub soon: VecDeque<u32>,
    /// When somebody last waited.
    pub last: Option<Duration>,
}

impl Urgent {
    pub fn verified(&mut self, piece: u32) {
        self.pieces.retain(|p| p.piece != piece);
    }

    pub fn failed(&mut self, piece: u32) {
        self.pieces.iter_mut().filter(|p| p.piece == piece).for_each(|p| p.elsewhere = false);
    }
}
