// SPDX-License-Identifier: GPL-3.0-or-later
//! What is on a block device, by its first bytes: a filesystem that can keep images, ours, nothing, or something else.

use anyhow::{Context, Result};
use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
};

/// The label of filesystems that we make.
pub const LABEL: &str = "boottorrent";
/// What is looked at, at the beginning and at the end: every known superblock and partition table is there.
const ENDS: u64 = 1 << 20;
/// Places between, of this many bytes.
const PROBES: u64 = 256;
const PROBE: usize = 4096;

/// Filesystems that keep large files across power cuts: offset, magic, name for mount(2).
const KNOWN: [(usize, &[u8], &str); 4] = [
    (1080, &[0x53, 0xEF], "ext4"),
    (0, b"XFSB", "xfs"),
    (0x10040, b"_BHRfS_M", "btrfs"),
    (1024, &[0x10, 0x20, 0xF5, 0xF2], "f2fs"),
];

/// The filesystem on a device, if it is one that can keep images.
pub fn filesystem(device: &File) -> Result<Option<&'static str>> {
    let mut head = Vec::new();
    let mut reader = device;
    reader.seek(SeekFrom::Start(0)).context("seeking")?;
    reader.take(0x11000).read_to_end(&mut head).context("reading the device's beginning")?;
    Ok(recognise(&head))
}

/// The same, by the device's first bytes.
pub fn recognise(head: &[u8]) -> Option<&'static str> {
    let at = |(offset, magic, name): &(usize, &[u8], &'static str)| {
        head.get(*offset..).is_some_and(|b| b.starts_with(magic)).then_some(*name)
    };
    KNOWN.iter().find_map(at)
}

/// Whether it is a filesystem that [`crate::mkfs`] made: ext4 with our label.
pub fn ours(device: &File) -> Result<bool> {
    let mut label = [0; 16];
    let read = device.read_exact_at(&mut label, 1024 + 120);
    Ok(read.is_ok()
        && filesystem(device)? == Some("ext4")
        && label.split(|b| *b == 0).next() == Some(LABEL.as_bytes()))
}

/// Where the first byte is that is not zero, among those that are looked at. `None`: the device is empty.
pub fn first_byte(device: &File) -> Result<Option<u64>> {
    let mut end = device;
    let size = end.seek(SeekFrom::End(0)).context("asking for the device's size")?;
    let mut buf = vec![0; PROBE];
    let dense = (0..ENDS.min(size)).step_by(PROBE).chain((size.saturating_sub(ENDS)..size).step_by(PROBE));
    let between = (1..PROBES).map(|n| size / PROBES * n / PROBE as u64 * PROBE as u64);
    // ext's backup superblocks, by block size: a filesystem whose beginning was lost can still be saved.
    let backups = [8193 << 10, 32768 << 12, 98304 << 12].into_iter().filter(|at| *at < size);
    for at in dense.chain(between).chain(backups) {
        let part = &mut buf[..(size - at).min(PROBE as u64) as usize];
        device.read_exact_at(part, at).with_context(|| format!("reading at byte {at}"))?;
        if let Some(n) = part.iter().position(|b| *b != 0) {
            return Ok(Some(at + n as u64));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(size: u64, at: u64, bytes: &[u8]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(size).unwrap();
        file.write_all_at(bytes, at).unwrap();
        file
    }

    #[test]
    fn filesystems() {
        for (at, bytes, name) in [
            (1080, &b"\x53\xef"[..], Some("ext4")),
            (0, b"XFSB", Some("xfs")),
            (0x10040, b"_BHRfS_M", Some("btrfs")),
            (0, b"hsqs", None),
            (510, b"\x55\xaa", None),
        ] {
            assert_eq!(filesystem(&device(8 << 20, at, bytes)).unwrap(), name, "{at}");
        }
        assert_eq!(filesystem(&device(100, 0, b"x")).unwrap(), None, "tiny");
    }

    #[test]
    fn ours_by_its_label() {
        let mut head = vec![0; 4096];
        head[1080..1082].copy_from_slice(&[0x53, 0xef]);
        head[1144..1155].copy_from_slice(b"boottorrent");
        assert!(ours(&device(8 << 20, 0, &head)).unwrap());
        head[1155] = b'2';
        assert!(!ours(&device(8 << 20, 0, &head)).unwrap());
        assert!(!ours(&device(10, 0, b"")).unwrap());
    }

    #[test]
    fn empty_is_zeros_at_both_ends_and_between() {
        const SIZE: u64 = 300 << 20;
        assert_eq!(first_byte(&device(SIZE, 0, b"\0")).unwrap(), None);
        assert_eq!(first_byte(&device(0, 0, b"")).unwrap(), None);
        assert_eq!(first_byte(&device(1000, 999, b"x")).unwrap(), Some(999));
        for at in [
            0,
            510,
            1080,
            0x8001,
            0x10040,
            (1 << 20) - 1,
            SIZE - 1,
            SIZE - 512,
            SIZE - (64 << 10),
            SIZE / 2,
            32768 << 12,
        ] {
            assert_eq!(first_byte(&device(SIZE, at, b"\x01")).unwrap(), Some(at), "{at}");
        }
    }
}
