// SPDX-License-Identifier: GPL-3.0-or-later
//! What may be wrong with a .torrent.

/// The largest .torrent that is read.
pub const MAX_METAINFO: usize = 4 << 20;

/// Why bytes are no metainfo for us.
#[derive(Debug, thiserror::Error)]
pub enum MetainfoError {
    /// Over [`MAX_METAINFO`].
    #[error("it has {0} bytes, more than the {MAX_METAINFO} that a .torrent may have")]
    TooLarge(usize),
    /// Not bencoded, or not with the keys of BEP 3.
    #[error("it is not a .torrent ({0})")]
    Malformed(String),
    /// Of BitTorrent v2 alone (BEP 52), which has other hashes.
    #[error("it is a torrent of version 2 only: make a hybrid one, or one of version 1")]
    OnlyV2,
    /// Several files, and none that is nearly all of them. With their names.
    #[error("it is a torrent of several files: say which one by boottorrent.file=, there are {0}")]
    WhichFile(String),
    /// Not the file that was asked for.
    #[error("no file of it, or more than one, is '{wanted}' (boottorrent.file=): there are {files}")]
    NoSuchFile {
        /// What was asked for.
        wanted: String,
        /// Those that there are.
        files: String,
    },
    /// Numbers that contradict each other.
    #[error("its numbers do not fit together: {0}")]
    Inconsistent(String),
}
