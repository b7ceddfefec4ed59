// SPDX-License-Identifier: GPL-3.0-or-later
//! Making a .torrent of one file (BEP 3).

use crate::metainfo::{MAX_PIECES, Metainfo, PIECE_LENGTHS, sha1};
use anyhow::{Context, bail};
use std::io::Read;

/// How to make it.
#[derive(Clone, Debug, Default)]
pub struct CreateOptions {
    /// The torrent's `name`: the image's name.
    pub name: String,
    /// Set the private flag (BEP 27).
    pub private: bool,
    /// Bytes in a piece; `None`: by size.
    pub piece_length: Option<u32>,
}

/// The piece length for a payload: about a thousand pieces where the pieces stay from 64 to 256 KiB, for how
/// long a piece takes to reach everybody is lost at the end (32 machines, 64 MiB, all links
/// alike: 1.45 × the bound with 256 KiB, 1.13 with 64). Larger ones only so that the list of hashes stays small.
pub fn piece_length_for(size: u64) -> u32 {
    let thousand = 1 << (size / 1024).max(1).ilog2();
    let few = (size / 8192).next_power_of_two();
    few.max(thousand.clamp(64 << 10, 256 << 10)).min(4 << 20) as u32
}

/// Hash `size` bytes of `payload`. No tracker is written: whoever hands the
/// file out knows the address under which it is asked. `progress` gets the
/// bytes that are done.
pub fn create(
    payload: &mut dyn Read,
    size: u64,
    options: &CreateOptions,
    progress: &mut dyn FnMut(u64),
) -> anyhow::Result<Metainfo> {
    let piece_length = options.piece_length.unwrap_or_else(|| piece_length_for(size));
    if !PIECE_LENGTHS.contains(&piece_length) || !piece_length.is_power_of_two() {
        bail!("a piece length of {piece_length} bytes cannot be used: take a power of two from 16K to 64M");
    }
    if size.div_ceil(piece_length.into()) > MAX_PIECES {
        bail!(
            "a piece length of {piece_length} bytes makes more than {MAX_PIECES} pieces of {size} bytes: take a larger one"
        );
    }
    let mut hashes = Vec::new();
    let mut piece = vec![0; piece_length as usize];
    let mut done = 0;
    while done < size {
        let part = &mut piece[..(size - done).min(piece_length.into()) as usize];
        payload.read_exact(part).with_context(|| format!("reading {size} bytes of the payload at {done}"))?;
        hashes.extend_from_slice(&sha1(part));
        done += part.len() as u64;
        progress(done);
    }
    let name = &options.name;
    let mut info = format!(
        "d6:lengthi{size}e4:name{}:{name}12:piece lengthi{piece_length}e6:pieces{}:",
        name.len(),
        hashes.len()
    )
    .into_bytes();
    info.extend_from_slice(&hashes);
    info.extend_from_slice(if options.private { b"7:privatei1ee" } else { b"e" });
    Ok(Metainfo::assemble(&info, &[])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn piece_lengths() {
        for (size, expect) in [
            (1, 64 << 10),
            (65 << 20, 64 << 10),
            (200 << 20, 128 << 10),
            (300 << 20, 256 << 10),
            (4 << 30, 512 << 10),
            (20 << 30, 4 << 20),
            (1 << 40, 4 << 20),
        ] {
            assert_eq!(piece_length_for(size), expect, "{size}");
        }
    }

    #[test]
    fn private_is_the_only_difference() {
        let make = |private| {
            let options = CreateOptions { name: "x".into(), private, piece_length: None };
            create(&mut &b"hello"[..], 5, &options, &mut |_| ()).unwrap()
        };
        assert!(make(true).private() && !make(false).private());
        assert_ne!(make(true).infohash(), make(false).infohash());
        assert!(make(true).verify(0, b"hello"));
        let tiny = CreateOptions { piece_length: Some(16 << 10), ..Default::default() };
        assert!(
            create(&mut &b""[..], 3 << 30, &tiny, &mut |_| ())
                .err()
                .expect("an error")
                .to_string()
                .contains("take a larger one")
        );
        let short = create(&mut &b"hell"[..], 5, &CreateOptions::default(), &mut |_| ());
        assert!(short.is_err());
    }
}
