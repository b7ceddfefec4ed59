// SPDX-License-Identifier: GPL-3.0-or-later
//! The kernel's FUSE protocol (linux/fuse.h), as far as one read-only file needs it: requests as they are read from
//! /dev/fuse, and the answers. No I/O. Lengths are checked, although the kernel writes them.

/// The longest request that is read, which is also what the kernel wants room for.
pub const MAX_REQUEST: usize = 16 << 10;
/// The longest READ that we take.
pub const MAX_READ: u32 = 128 << 10;
/// Its permissions: a file, for reading.
pub const MODE: u32 = 0o100_444;

const HEADER: usize = 40;
const REPLY: usize = 16;
const MAJOR: u32 = 7;
/// What we know of the protocol, and what a kernel must know: those of Linux 5.4 and of Linux 4.2.
const MINOR: u32 = 31;
const OLDEST: u32 = 23;
/// Reads may overtake each other; a request may have more than 32 pages.
const ASYNC_READ: u32 = 1;
const MAX_PAGES: u32 = 1 << 22;
const PAGE: u32 = 4096;
/// Requests that the kernel makes ahead of its readers, and from when on it calls that many.
const BACKGROUND: u16 = 64;
const CONGESTED: u16 = 48;
/// The file never changes: what was read of it may stay in the page cache.
const KEEP_CACHE: u32 = 2;
/// Seconds for which the kernel remembers what the file is.
const VALID: u64 = 1 << 30;

/// What the kernel asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// FUSE_INIT: the first one.
    Init {
        /// The version of the protocol that the kernel speaks.
        version: (u32, u32),
        /// Bytes that it reads ahead at most.
        readahead: u32,
        /// What it can do.
        flags: u32,
    },
    /// FUSE_GETATTR.
    Attributes,
    /// FUSE_OPEN.
    Open,
    /// FUSE_READ: from where, and how many bytes at most.
    Read {
        /// The first byte.
        offset: u64,
        /// Bytes.
        size: u32,
    },
    /// FUSE_STATFS.
    Space,
    /// What needs no more than a yes: RELEASE, FLUSH, ACCESS, DESTROY.
    Fine,
    /// What nobody answers: FORGET, BATCH_FORGET.
    Silent,
    /// FUSE_INTERRUPT: who waited for that one waits no longer.
    Interrupt(u64),
    /// Anything else.
    Unknown,
}

/// Read a request: its number, by which it is answered, and what it wants. None: it is none.
pub fn request(bytes: &[u8]) -> Option<(u64, Request)> {
    let u32_at = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let u64_at = |at: usize| Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    if bytes.len() < HEADER || u32_at(0)? as usize != bytes.len() {
        return None;
    }
    let what = match u32_at(4)? {
        26 => {
            let version = (u32_at(HEADER)?, u32_at(HEADER + 4)?);
            Request::Init { version, readahead: u32_at(HEADER + 8)?, flags: u32_at(HEADER + 12)? }
        }
        3 => Request::Attributes,
        14 => Request::Open,
        15 => Request::Read { offset: u64_at(HEADER + 8)?, size: u32_at(HEADER + 16)? },
        17 => Request::Space,
        18 | 25 | 34 | 38 => Request::Fine,
        2 | 42 => Request::Silent,
        36 => Request::Interrupt(u64_at(HEADER)?),
        _ => Request::Unknown,
    };
    Some((u64_at(8)?, what))
}

/// The request at the beginning of `bytes`, by the length that it begins with. None: there is none.
pub fn first(bytes: &[u8]) -> Option<&[u8]> {
    let len = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    bytes.get(..len).filter(|_| len >= HEADER)
}

/// What goes before an answer's `len` bytes. `error`: 0, or what went wrong as in errno(3), then without bytes.
pub fn header(unique: u64, error: i32, len: usize) -> [u8; REPLY] {
    let mut out = [0; REPLY];
    out[..4].copy_from_slice(&((REPLY + len) as u32).to_ne_bytes());
    out[4..8].copy_from_slice(&(-error).to_ne_bytes());
    out[8..].copy_from_slice(&unique.to_ne_bytes());
    out
}

/// The answer to [`Request::Init`]. None: that kernel is too old.
pub fn init((major, minor): (u32, u32), readahead: u32, flags: u32) -> Option<Vec<u8>> {
    if major != MAJOR || minor < OLDEST {
        return None;
    }
    let mut out =
        words(&[MAJOR, minor.min(MINOR), readahead.min(MAX_READ), flags & (ASYNC_READ | MAX_PAGES)]);
    out.extend([BACKGROUND, CONGESTED].iter().flat_map(|w| w.to_ne_bytes()));
    // Nothing is written; times are whole nanoseconds.
    out.extend(words(&[PAGE, 1]));
    out.extend(((MAX_READ / PAGE) as u16).to_ne_bytes());
    out.resize(64, 0);
    Some(out)
}

/// The answer to [`Request::Attributes`] of a file of `size` bytes.
pub fn attributes(size: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(104);
    for word in [VALID, 0, 1, size, size.div_ceil(512), 0, 0, 0] {
        out.extend(word.to_ne_bytes());
    }
    out.extend(words(&[0, 0, 0, MODE, 1, 0, 0, 0, PAGE, 0]));
    out
}

/// The answer to [`Request::Open`].
pub fn opened() -> Vec<u8> {
    words(&[0, 0, KEEP_CACHE, 0])
}

/// The answer to [`Request::Space`]: a file system that is full.
pub fn space(size: u64) -> Vec<u8> {
    let mut out = vec![0; 80];
    out[..8].copy_from_slice(&size.div_ceil(PAGE.into()).to_ne_bytes());
    out[40..52].copy_from_slice(&words(&[PAGE, 255, PAGE]));
    out
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_ne_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::{
        super::asked_tests::{ask, read},
        *,
    };
    use rand::{Rng, RngCore, SeedableRng, rngs::SmallRng};

    #[test]
    fn requests_as_the_kernel_writes_them() {
        assert_eq!(request(&read(7, 4096, 8192)), Some((7, Request::Read { offset: 4096, size: 8192 })));
        let init = ask(26, 1, &words(&[7, 38, 131_072, 3]));
        let read = Request::Init { version: (7, 38), readahead: 131_072, flags: 3 };
        assert_eq!(request(&init), Some((1, read)));
        assert_eq!(request(&ask(36, 9, &7u64.to_ne_bytes())), Some((9, Request::Interrupt(7))));
        assert_eq!(request(&ask(16, 9, &[0; 40])), Some((9, Request::Unknown)));
        for opcode in [2, 42] {
            assert_eq!(request(&ask(opcode, 0, &[0; 8])), Some((0, Request::Silent)));
        }
    }

    #[test]
    fn answers_are_as_long_as_the_kernel_wants_them() {
        assert_eq!(attributes(5).len(), 104);
        assert_eq!((opened().len(), space(1 << 30).len()), (16, 80));
        assert_eq!(init((7, 38), 1 << 20, u32::MAX).unwrap().len(), 64);
        assert_eq!(init((7, 22), 0, 0), None);
        assert_eq!(init((8, 0), 0, 0), None);
        assert_eq!(header(9, 5, 0)[..8], [16, 0, 0, 0, 251, 255, 255, 255]);
    }

    #[test]
    fn the_request_that_was_read_last() {
        let mut slot = vec![0; MAX_REQUEST];
        assert_eq!(first(&slot), None);
        let one = read(7, 0, 512);
        slot[..one.len()].copy_from_slice(&one);
        assert_eq!(first(&slot), Some(&*one));
        slot[..4].fill(255);
        assert_eq!(first(&slot), None);
    }

    /// Whatever is read is a request or is none.
    #[test]
    fn hostile_requests_are_none() {
        let mut rng = SmallRng::seed_from_u64(1);
        for _ in 0..200_000 {
            let mut bytes = vec![0; rng.random_range(0..120)];
            rng.fill_bytes(&mut bytes);
            if rng.random() && bytes.len() >= 8 {
                let len = bytes.len() as u32;
                bytes[..4].copy_from_slice(&len.to_ne_bytes());
                bytes[4..8].copy_from_slice(&rng.random_range(0..64u32).to_ne_bytes());
            }
            if let Some((_, Request::Init { version, readahead, flags })) = request(&bytes) {
                assert!(init(version, readahead, flags).is_none_or(|out| out.len() == 64));
            }
            assert!(bytes.len() >= HEADER || request(&bytes).is_none());
        }
    }
}
