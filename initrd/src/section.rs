// SPDX-License-Identifier: GPL-3.0-or-later
//! A part of a file, or of a disk, as a file of its own.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
};

/// The part. Reading it moves no other reader of the file.
#[derive(Clone, Debug)]
pub struct Section<'a> {
    file: &'a File,
    start: u64,
    size: u64,
    at: u64,
}

impl<'a> Section<'a> {
    /// `size` bytes of `file`, from its byte `start` on.
    pub fn new(file: &'a File, start: u64, size: u64) -> Section<'a> {
        Section { file, start, size, at: 0 }
    }
}

impl Read for Section<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.size.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let most = to.len().min(left);
        let n = self.file.read_at(&mut to[..most], self.start.saturating_add(self.at))?;
        self.at += n as u64;
        Ok(n)
    }
}

impl Seek for Section<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
