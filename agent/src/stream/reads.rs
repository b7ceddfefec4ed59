// SPDX-License-Identifier: GPL-3.0-or-later
//! Requests that were read from the kernel and are not answered yet. The kernel hands out each of them once, so they lie in
//! memory that outlives this process: whoever takes its place answers them.

use super::{kernel, wire::MAX_REQUEST};
use anyhow::Context;
use std::{
    fs::File,
    ops::Range,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

/// READs that are remembered at most. The kernel makes 64 ahead of its readers, and one for each reader that waits.
const ENTRIES: usize = 4096;
/// Its number, the first byte, the byte behind the last.
const WORDS: usize = 3;
const SIZE: u64 = (MAX_REQUEST + ENTRIES * WORDS * 8) as u64;

/// What is remembered.
pub struct Kept {
    /// The request that was read last.
    pub slot: &'static mut [u8],
    /// READs that wait.
    pub table: Table,
}

impl Kept {
    /// A new file at `path`, with nothing in it.
    pub fn new(path: &Path) -> anyhow::Result<Self> {
        let what = || format!("creating {}", path.display());
        // One that is there already may be mapped.
        let _ = std::fs::remove_file(path);
        let file = File::options().read(true).write(true).create_new(true).open(path).with_context(what)?;
        file.set_len(SIZE).with_context(what)?;
        Self::map(&file)
    }

    /// What an earlier process has left at `path`.
    pub fn left(path: &Path) -> anyhow::Result<Self> {
        let what = || format!("opening {}", path.display());
        let file = File::options().read(true).write(true).open(path).with_context(what)?;
        anyhow::ensure!(file.metadata().with_context(what)?.len() == SIZE, "{} is too short", path.display());
        Self::map(&file)
    }

    fn map(file: &File) -> anyhow::Result<Self> {
        let (slot, words) =
            kernel::shared(file, MAX_REQUEST, ENTRIES * WORDS).context("mapping memory for reads")?;
        Ok(Self { slot, table: Table(words) })
    }
}

/// READs that wait, by number. An entry without a number is free.
pub struct Table(&'static [AtomicU64]);

impl Table {
    fn entry(&self, n: usize) -> &[AtomicU64] {
        &self.0[n * WORDS..][..WORDS]
    }

    /// All that are taken: entry, number, bytes.
    pub fn taken(&self) -> Vec<(usize, u64, Range<u64>)> {
        let all = (0..ENTRIES).map(|n| {
            let word = |i: usize| self.entry(n)[i].load(Ordering::Acquire);
            (n, word(0), word(1)..word(2))
        });
        all.filter(|(_, unique, _)| *unique != 0).collect()
    }

    /// Entries that are free.
    pub fn free(&self) -> Vec<usize> {
        (0..ENTRIES).rev().filter(|n| self.entry(*n)[0].load(Ordering::Acquire) == 0).collect()
    }

    /// Take an entry.
    pub fn take(&self, n: usize, unique: u64, bytes: &Range<u64>) {
        let entry = self.entry(n);
        entry[1].store(bytes.start, Ordering::Release);
        entry[2].store(bytes.end, Ordering::Release);
        // Last: whoever finds a number finds the rest.
        entry[0].store(unique, Ordering::Release);
    }

    /// It is answered.
    pub fn give_back(&self, n: usize) {
        self.entry(n)[0].store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_process_finds_what_was_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("reads");
        let first = Kept::new(&path).unwrap();
        assert_eq!((first.table.free().len(), first.table.free().last()), (ENTRIES, Some(&0)));
        first.slot[..3].copy_from_slice(b"abc");
        first.table.take(7, 99, &(5..6));
        first.table.take(8, 100, &(5..7));
        first.table.give_back(8);
        let next = Kept::left(&path).unwrap();
        assert_eq!((&next.slot[..3], next.table.taken()), (&b"abc"[..], vec![(7, 99, 5..6)]));
        assert_eq!(next.table.free().len(), ENTRIES - 1);
        std::fs::write(&path, "short").unwrap();
        let why = Kept::left(&path).err().unwrap().to_string();
        assert!(why.ends_with("is too short"), "{why}");
    }
}
