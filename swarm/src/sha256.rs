// SPDX-License-Identifier: GPL-3.0-or-later
//! SHA-256 of whole payloads: what a signed statement vouches for. Pieces have SHA-1 only (BEP 3).

use crate::store::Head;
use bootspec::Sha256Sum;
use librqbit_sha1_wrapper::{ISha256, Sha256};
use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
};

/// Bytes read at once: they stay in the processor's cache.
const CHUNK: usize = 256 << 10;

/// A reader that sums up what is read through it.
pub struct Summing<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Summing<R> {
    /// Nothing is read yet.
    pub fn new(inner: R) -> Self {
        Self { inner, hash: Sha256::new() }
    }

    /// The sum of what was read.
    pub fn finish(self) -> Sha256Sum {
        Sha256Sum(self.hash.finish())
    }
}

impl<R: Read> Read for Summing<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.hash.update(&buf[..n]);
        Ok(n)
    }
}

/// The sum of a payload of `size` bytes, whose beginning may lie apart. `tell` hears how far it is.
pub fn sha256(
    file: &File,
    head: Option<&Head>,
    size: u64,
    mut tell: impl FnMut(u64),
) -> io::Result<Sha256Sum> {
    let (mut at, mut hash, mut buf) = (0, Sha256::new(), vec![0; CHUNK]);
    while at < size {
        let (from, end) = match head {
            Some(head) if at < head.len => (&head.file, size.min(head.len)),
            _ => (file, size),
        };
        let part = &mut buf[..(end - at).min(CHUNK as u64) as usize];
        from.read_exact_at(part, at)?;
        hash.update(part);
        at += part.len() as u64;
        tell(at);
    }
    Ok(Sha256Sum(hash.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_what_was_read() {
        let mut summing = Summing::new(&b"abc"[..]);
        io::copy(&mut summing, &mut io::sink()).unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(summing.finish().to_string(), abc);
    }

    #[test]
    fn a_payload_whose_beginning_lies_apart() {
        let bytes: Vec<u8> = (0..900_000u32).map(|n| (n % 251) as u8).collect();
        let (whole, rest, front) =
            (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        whole.write_all_at(&bytes, 0).unwrap();
        rest.write_all_at(&bytes[300_000..], 300_000).unwrap();
        front.write_all_at(&bytes[..300_000], 0).unwrap();
        let size = bytes.len() as u64;
        let mut told = 0;
        let sum = sha256(&whole, None, size, |at| told = at).unwrap();
        assert_eq!(told, size);
        let head = Head { file: front, len: 300_000 };
        assert_eq!(sha256(&rest, Some(&head), size, |_| {}).unwrap(), sum);
        assert_ne!(sha256(&rest, None, size, |_| {}).unwrap(), sum);
        assert!(sha256(&whole, None, size + 1, |_| {}).is_err(), "too short");
    }
}
