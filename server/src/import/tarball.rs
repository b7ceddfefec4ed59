// SPDX-License-Identifier: GPL-3.0-or-later
//! What is compressed: root tarballs, as mmdebstrap writes them, and images. How they are packed, and how their bytes are had.

use crate::tool::{Running, Tool};
use anyhow::{Context, Result};
use std::{fs::File, path::Path};

/// Seconds of processor time for a large image.
pub const HOURS: u64 = 8 * 3600;

/// How a tarball is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// gzip.
    Gzip,
    /// xz.
    Xz,
    /// zstd.
    Zstd,
    /// bzip2.
    Bzip2,
    /// lz4.
    Lz4,
}

impl Packing {
    /// A program that prints the tar archive; `None`: it is the file itself.
    pub fn decompress(self, path: &Path) -> Result<Option<Running>> {
        let (program, package) = match self {
            Packing::Plain => return Ok(None),
            Packing::Gzip => ("gzip", "gzip"),
            Packing::Xz => ("xz", "xz-utils"),
            Packing::Zstd => ("zstd", "zstd"),
            Packing::Bzip2 => ("bzip2", "bzip2"),
            Packing::Lz4 => ("lz4", "lz4"),
        };
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let tool = Tool::parser(program, package).bounds(|b| b.seconds = HOURS).arg("-dc").stdin(file);
        // What was packed with a large window is refused otherwise: zstd(1), --long.
        let tool = if self == Packing::Zstd { tool.arg("--long=31") } else { tool };
        tool.reader().map(Some)
    }
}

/// What compresses a file that begins so.
pub fn compression(head: &[u8]) -> Option<Packing> {
    match head {
        [0x1f, 0x8b, ..] => Some(Packing::Gzip),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Packing::Xz),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Packing::Zstd),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some(Packing::Bzip2),
        [0x04, 0x22, 0x4d, 0x18, ..] => Some(Packing::Lz4),
        _ => None,
    }
}

/// POSIX and GNU archives both have "ustar" at 257.
/// Whether it is a tarball that begins so.
pub fn is_tar(head: &[u8]) -> bool {
    head.get(257..).is_some_and(|b| b.starts_with(b"ustar"))
}
