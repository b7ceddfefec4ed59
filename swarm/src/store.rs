// SPDX-License-Identifier: GPL-3.0-or-later
//! Where pieces land: one open file, on tmpfs, a disk or anywhere else. Only the
//! descriptor is used, never a path, because after switch_root there is none.
//!
//! The payload's beginning can lie in a file of its own: a disk gets its partition
//! table and boot loader when all the rest is verified, and not before. Where the payload is one of a torrent's
//! files, its first and last piece belong to other files too: that part of them is kept in RAM.

use crate::{
    metainfo::Metainfo,
    plan::{BLOCK, Layout},
};
use librqbit_sha1_wrapper::{ISha1, Sha1};
use nix::sys::{
    memfd::{MFdFlags, memfd_create},
    stat::{SFlag, fstat},
    statfs::{FsType, TMPFS_MAGIC, fstatfs},
};
use parking_lot::Mutex;
use rustix::io::{ReadWriteFlags, preadv2};
use std::{
    fs::File,
    io::{self, IoSliceMut},
    ops::Range,
    os::unix::fs::FileExt,
};

/// Read at once when a piece is hashed: it stays in the processor's cache.
const HASHED: usize = 64 << 10;

/// RAMFS_MAGIC of linux/magic.h.
const RAMFS: FsType = FsType(0x8584_58f6);

/// The payload's beginning, in a file of its own.
#[derive(Debug)]
pub struct Head {
    /// The file.
    pub file: File,
    /// How many bytes of the payload are in it.
    pub len: u64,
}

impl Head {
    /// Another handle to the same file.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { file: self.file.try_clone()?, len: self.len })
    }
}

/// A payload's file. Places are those in the torrent.
pub(crate) struct Store {
    file: File,
    head: Option<Head>,
    /// What pieces have of other files, each byte at its place in the torrent.
    margin: Option<File>,
    payload: Range<u64>,
    metainfo: Metainfo,
    layout: Layout,
    may_wait: bool,
    /// What is being hashed.
    scratch: Mutex<Vec<u8>>,
}

impl Store {
    /// Errors: no memory for what pieces have of other files.
    pub(crate) fn new(file: File, head: Option<Head>, metainfo: Metainfo) -> io::Result<Self> {
        let (layout, payload) = (metainfo.layout(), metainfo.payload());
        let margin = match metainfo.is_whole() {
            true => None,
            false => Some(File::from(memfd_create(c"boottorrent", MFdFlags::MFD_CLOEXEC)?)),
        };
        let (may_wait, scratch) = (may_wait(&file), Mutex::new(vec![0; HASHED]));
        Ok(Self { file, head, margin, payload, metainfo, layout, may_wait, scratch })
    }

    /// Whether reading and writing may have to wait for a disk.
    pub(crate) fn may_wait(&self) -> bool {
        self.may_wait
    }

    /// How the payload is cut.
    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// The file, if all of the torrent is in it, and nothing else.
    pub(crate) fn whole(&self) -> Option<&File> {
        (self.head.is_none() && self.margin.is_none()).then_some(&self.file)
    }

    /// The file that has the byte at `at`, where it is in there, and how many of `len` follow it. For sendfile(2), too.
    pub(crate) fn file(&self, at: u64, len: usize) -> (&File, u64, usize) {
        let until = |end: u64| len.min((end - at).try_into().unwrap_or(usize::MAX));
        match (&self.margin, &self.head) {
            (Some(margin), _) if at < self.payload.start => (margin, at, until(self.payload.start)),
            (Some(margin), _) if at >= self.payload.end => (margin, at, len),
            (_, Some(head)) if at - self.payload.start < head.len => {
                (&head.file, at - self.payload.start, until(self.payload.start + head.len))
            }
            _ => (&self.file, at - self.payload.start, until(self.payload.end)),
        }
    }

    /// Whether both ends of these bytes are in RAM: disks are read in longer runs than a request. A file system that cannot
    /// tell counts as "no".
    pub(crate) fn is_cached(&self, at: u64, len: u32) -> bool {
        [at, at + u64::from(len.max(1)) - 1].into_iter().all(|at| {
            let (file, place, _) = self.file(at, 1);
            preadv2(file, &mut [IoSliceMut::new(&mut [0])], place, ReadWriteFlags::NOWAIT) == Ok(1)
        })
    }

    /// Write a block, which is not verified yet.
    pub(crate) fn write_block(&self, piece: u32, block: u32, data: &[u8]) -> io::Result<()> {
        self.write(self.layout.offset(piece) + u64::from(block) * u64::from(BLOCK), data)
    }

    /// Write a piece that is verified.
    pub(crate) fn write_piece(&self, piece: u32, data: &[u8]) -> io::Result<()> {
        self.write(self.layout.offset(piece), data)
    }

    fn write(&self, mut at: u64, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            let (file, place, n) = self.file(at, data.len());
            file.write_all_at(&data[..n], place)?;
            (at, data) = (at + n as u64, &data[n..]);
        }
        Ok(())
    }

    /// SHA-1 of a block as it is in the file.
    pub(crate) fn block_sum(&self, piece: u32, block: u32) -> io::Result<[u8; 20]> {
        let (offset, len) = (u64::from(block) * u64::from(BLOCK), self.layout.block_len(piece, block));
        self.sum(self.layout.offset(piece) + offset, len as usize, &mut |_| {})
    }

    /// Whether what is in the file is this piece. Reads and hashes: takes a while.
    pub(crate) fn verify(&self, piece: u32) -> io::Result<bool> {
        self.verify_hearing(piece, &mut |_| {})
    }

    /// The same, and `hear` gets what was read.
    pub(crate) fn verify_hearing(&self, piece: u32, hear: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
        let sum = self.sum(self.layout.offset(piece), self.layout.len(piece) as usize, hear)?;
        Ok(sum == self.metainfo.piece_hash(piece))
    }

    fn sum(&self, at: u64, len: usize, hear: &mut dyn FnMut(&[u8])) -> io::Result<[u8; 20]> {
        let mut hash = Sha1::new();
        self.read(at, len, &mut |part| {
            hash.update(part);
            hear(part);
        })?;
        Ok(hash.finish())
    }

    /// Read, part by part.
    pub(crate) fn read(&self, mut at: u64, mut left: usize, hear: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let mut buf = self.scratch.lock();
        while left > 0 {
            let (file, place, n) = self.file(at, HASHED.min(left));
            let part = &mut buf[..n];
            file.read_exact_at(part, place)?;
            hear(part);
            at += part.len() as u64;
            left -= part.len();
        }
        Ok(())
    }
}

/// Whether whoever writes to this file may have to wait for a disk.
fn may_wait(file: &File) -> bool {
    let is_file = fstat(file).is_ok_and(|s| SFlag::from_bits_truncate(s.st_mode).contains(SFlag::S_IFREG));
    let in_ram = |kind| [TMPFS_MAGIC, RAMFS].contains(&kind);
    !(is_file && fstatfs(file).is_ok_and(|s| in_ram(s.filesystem_type())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::create::{CreateOptions, create};

    #[test]
    fn the_beginning_lies_apart() {
        let bytes: Vec<u8> = (0..100_000u32).map(|n| (n % 251) as u8).collect();
        let options = CreateOptions { name: "x".into(), private: false, piece_length: Some(64 << 10) };
        let metainfo = create(&mut &bytes[..], 100_000, &options, &mut |_| ()).unwrap();
        let (file, head) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let apart = Head { file: head.try_clone().unwrap(), len: 70_000 };
        let store = Store::new(file.try_clone().unwrap(), Some(apart), metainfo).unwrap();
        store.write_piece(0, &bytes[..65_536]).unwrap();
        // Across the border.
        store.write_block(1, 0, &bytes[65_536..81_920]).unwrap();
        store.write_block(1, 1, &bytes[81_920..98_304]).unwrap();
        store.write_block(1, 2, &bytes[98_304..]).unwrap();
        assert!(store.verify(0).unwrap() && store.verify(1).unwrap());
        let mut read = vec![1; 70_000];
        file.read_exact_at(&mut read, 0).unwrap();
        assert!(read.iter().all(|b| *b == 0), "nothing of it is in the file");
        head.read_exact_at(&mut read, 0).unwrap();
        assert_eq!(read, bytes[..70_000]);
        assert_eq!(store.file(69_000, 5000).2, 1000);
    }

    #[test]
    fn files_in_ram_never_wait() {
        let memory = memfd_create(c"x", MFdFlags::empty()).unwrap();
        assert!(!may_wait(&memory.into()));
        // Its name lies in devtmpfs; what it gives does not.
        assert!(may_wait(&File::open("/dev/zero").unwrap()));
        assert!(may_wait(&File::open("/proc/self/exe").unwrap()));
    }
}
