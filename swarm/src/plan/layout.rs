// SPDX-License-Identifier: GPL-3.0-or-later
//! How a payload is cut: pieces, which are verified, and blocks of 16 KiB, which are asked for.

/// What a request asks for: the length that every client accepts (BEP 3).
pub const BLOCK: u32 = 16 << 10;

/// A payload's size and piece length, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    size: u64,
    piece_length: u32,
}

impl Layout {
    /// Both above zero, and fewer than 2³² pieces.
    pub fn new(size: u64, piece_length: u32) -> Self {
        Self { size, piece_length }
    }

    /// Bytes of the payload.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of every piece but the last.
    pub fn piece_length(&self) -> u32 {
        self.piece_length
    }

    /// How many pieces there are.
    pub fn pieces(&self) -> u32 {
        self.size.div_ceil(self.piece_length.into()) as u32
    }

    /// Where a piece begins in the payload.
    pub fn offset(&self, piece: u32) -> u64 {
        u64::from(piece) * u64::from(self.piece_length)
    }

    /// The piece that has the byte at `at`, which is in the payload.
    pub fn piece_at(&self, at: u64) -> u32 {
        (at / u64::from(self.piece_length)) as u32
    }

    /// Bytes of a piece; 0 for one that there is not.
    pub fn len(&self, piece: u32) -> u32 {
        self.size.saturating_sub(self.offset(piece)).min(self.piece_length.into()) as u32
    }

    /// Blocks of a piece.
    pub fn blocks(&self, piece: u32) -> u32 {
        self.len(piece).div_ceil(BLOCK)
    }

    /// Bytes of a block.
    pub fn block_len(&self, piece: u32, block: u32) -> u32 {
        self.len(piece).saturating_sub(block.saturating_mul(BLOCK)).min(BLOCK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_piece_and_its_last_block_are_shorter() {
        let l = Layout::new(100_000, 32 << 10);
        assert_eq!((l.pieces(), l.len(0), l.len(3), l.len(4)), (4, 32768, 1696, 0));
        assert_eq!((l.blocks(0), l.blocks(3), l.block_len(0, 1), l.block_len(3, 0)), (2, 1, 16384, 1696));
        assert_eq!(l.block_len(0, u32::MAX), 0, "whatever a peer says");
    }
}
