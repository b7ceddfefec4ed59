// SPDX-License-Identifier: GPL-3.0-or-later
//! Finding the blocks of a new payload in an old one, at whatever byte they begin there.
//!
//! A change early in a squashfs shifts all that follows by an odd number of bytes, and then no piece is as it
//! was although most bytes are. So the server publishes two sums of each block of a payload, as rsync and zsync
//! do: a weak one that can be rolled from byte to byte, and the beginning of its SHA-1. Who has an old version
//! slides a window over it, and knows each block that it meets. Sums are a hint and no more: a piece made of such
//! blocks counts when its own SHA-1 is right, like any other.

use crate::metainfo::sha1;
use bootspec::InfoHash;
use std::io::{self, Read};

/// The most blocks that a payload is cut into: larger payloads have larger blocks.
const MAX_BLOCKS: u64 = 1 << 19;
/// The smallest block.
const MIN_BLOCK: u64 = 4096;
/// Bytes of a block's sums.
const SUM: usize = 12;
const MAGIC: &[u8; 8] = b"BTSUMS1\n";
const HEADER: usize = 8 + 20 + 8 + 4;
/// The most bytes that sums have.
pub const MAX_SUMS: usize = HEADER + MAX_BLOCKS as usize * SUM;

/// Odd, and otherwise any number.
const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;

/// The sums of a payload's whole blocks; a shorter one at its end has none.
pub struct Sums {
    infohash: InfoHash,
    size: u64,
    block: u32,
    weak: Vec<u32>,
    strong: Vec<u64>,
}

/// The block length for a payload.
pub fn block_for(size: u64) -> u32 {
    size.div_ceil(MAX_BLOCKS).next_power_of_two().max(MIN_BLOCK) as u32
}

fn strong(block: &[u8]) -> u64 {
    let hash = sha1(block);
    u64::from_be_bytes([hash[0], hash[1], hash[2], hash[3], hash[4], hash[5], hash[6], hash[7]])
}

/// A polynomial of the window's bytes, modulo 2⁶⁴. Its upper half is the weak sum: in the lower one, low bits hear
/// only low bits.
#[derive(Clone, Copy)]
struct Rolling(u64);

impl Rolling {
    fn of(block: &[u8]) -> Self {
        Self(block.iter().fold(0, |h: u64, b| h.wrapping_mul(FACTOR).wrapping_add(u64::from(*b))))
    }

    fn weak(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl Sums {
    /// Of a payload of `size` bytes.
    pub fn make(payload: &mut dyn Read, infohash: InfoHash, size: u64) -> io::Result<Self> {
        let block = block_for(size);
        let mut sums = Self { infohash, size, block, weak: Vec::new(), strong: Vec::new() };
        let mut buf = vec![0; block as usize];
        for _ in 0..size / u64::from(block) {
            payload.read_exact(&mut buf)?;
            sums.weak.push(Rolling::of(&buf).weak());
            sums.strong.push(strong(&buf));
        }
        Ok(sums)
    }

    /// As they are published.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER + self.weak.len() * SUM);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&self.infohash.0);
        out.extend_from_slice(&self.size.to_be_bytes());
        out.extend_from_slice(&self.block.to_be_bytes());
        for (weak, strong) in self.weak.iter().zip(&self.strong) {
            out.extend_from_slice(&weak.to_be_bytes());
            out.extend_from_slice(&strong.to_be_bytes());
        }
        out
    }

    /// Read what was published for a torrent. `None`: it is for another one, or damaged.
    pub fn parse(bytes: &[u8], infohash: InfoHash, size: u64) -> Option<Self> {
        let block = block_for(size);
        let (head, sums) = bytes.split_at_checked(HEADER)?;
        let mut right = MAGIC.to_vec();
        right.extend_from_slice(&infohash.0);
        right.extend_from_slice(&size.to_be_bytes());
        right.extend_from_slice(&block.to_be_bytes());
        if head != right || sums.len() as u64 != size / u64::from(block) * SUM as u64 {
            return None;
        }
        let (weak, strong) = sums
            .chunks_exact(SUM)
            .map(|s| {
                let mut strong = [0; 8];
                strong.copy_from_slice(&s[4..]);
                (u32::from_be_bytes([s[0], s[1], s[2], s[3]]), u64::from_be_bytes(strong))
            })
            .unzip();
        Some(Self { infohash, size, block, weak, strong })
    }

    /// Bytes of a block.
    pub fn block(&self) -> u32 {
        self.block
    }

    /// How many blocks there are.
    pub fn len(&self) -> u32 {
        self.weak.len() as u32
    }

    /// Whether there are none: the payload is shorter than a block.
    pub fn is_empty(&self) -> bool {
        self.weak.is_empty()
    }

    /// A search for all of them. `done`: those that nobody looks for.
    pub fn search(&self, done: impl Fn(u32) -> bool) -> Search<'_> {
        let mut order: Vec<u32> = (0..self.len()).collect();
        order.sort_unstable_by_key(|i| (self.weak[*i as usize], self.strong[*i as usize]));
        let mut starts = vec![0; 1 << 16];
        let mut filter = vec![0; 1 << 16];
        for i in &order {
            let weak = self.weak[*i as usize];
            starts[weak as usize >> 16] += 1;
            filter[weak as usize >> 16] |= 1u64 << (weak >> 10 & 63);
        }
        let mut sum = 0;
        for start in &mut starts {
            (*start, sum) = (sum, sum + *start);
        }
        starts.push(sum);
        Search {
            sums: self,
            order,
            starts,
            filter,
            done: (0..self.len()).map(done).collect(),
            met: vec![false; self.weak.len()],
        }
    }
}

/// Blocks that are being looked for, by weak sum.
pub struct Search<'a> {
    sums: &'a Sums,
    /// Block numbers, sorted by weak sum and then by strong sum.
    order: Vec<u32>,
    /// Where in `order` weak sums with these upper 16 bits begin.
    starts: Vec<u32>,
    /// Which weak sums there may be, by their upper 22 bits.
    filter: Vec<u64>,
    /// Nobody looks for them.
    done: Vec<bool>,
    /// Their bytes have been seen.
    met: Vec<bool>,
}

impl Search<'_> {
    /// Slide over an old payload. `found` is given each block once, with its bytes. Returns how many were found.
    pub fn scan(
        &mut self,
        old: &mut dyn Read,
        mut found: impl FnMut(u32, &[u8]) -> io::Result<()>,
    ) -> io::Result<u32> {
        let n = self.sums.block as usize;
        // What a byte counts when it leaves the window.
        let last = (0..n).fold(1u64, |p, _| p.wrapping_mul(FACTOR));
        let leaves: Vec<u64> = (0..256).map(|b: u64| b.wrapping_mul(last)).collect();
        let mut buf = vec![0; (1 << 20) + n];
        let (mut filled, mut at, mut count) = (0, 0, 0);
        loop {
            buf.copy_within(at..filled, 0);
            filled -= at;
            at = 0;
            let more = read_full(old, &mut buf[filled..])?;
            filled += more;
            if filled < n {
                return Ok(count);
            }
            let mut hash = Rolling::of(&buf[..n]);
            while at + n <= filled {
                if self.may_be(hash.weak())
                    && self.matches(hash.weak(), &buf[at..at + n], &mut count, &mut found)?
                {
                    at += n;
                    if at + n <= filled {
                        hash = Rolling::of(&buf[at..at + n]);
                    }
                    continue;
                }
                if at + n < filled {
                    let (out, new) = (buf[at], buf[at + n]);
                    let rolled = hash.0.wrapping_mul(FACTOR).wrapping_add(u64::from(new));
                    hash = Rolling(rolled.wrapping_sub(leaves[out as usize]));
                }
                at += 1;
            }
            if more == 0 {
                return Ok(count);
            }
        }
    }

    fn may_be(&self, weak: u32) -> bool {
        self.filter[weak as usize >> 16] & 1 << (weak >> 10 & 63) != 0
    }

    /// Whether these bytes are a block; all numbers that it has are found.
    fn matches(
        &mut self,
        weak: u32,
        bytes: &[u8],
        count: &mut u32,
        found: &mut impl FnMut(u32, &[u8]) -> io::Result<()>,
    ) -> io::Result<bool> {
        let bucket =
            self.starts[weak as usize >> 16] as usize..self.starts[(weak as usize >> 16) + 1] as usize;
        let key = |i: &u32| (self.sums.weak[*i as usize], self.sums.strong[*i as usize]);
        let order = &self.order[bucket];
        let same = order.partition_point(|i| key(i).0 < weak);
        if order.get(same).is_none_or(|i| key(i).0 != weak) {
            return Ok(false);
        }
        let sum = (weak, strong(bytes));
        let first = order.partition_point(|i| key(i) < sum);
        let mut any = false;
        for i in order[first..].iter().take_while(|i| key(i) == sum) {
            any = true;
            // Zeros and the like have thousands of numbers: once all are found, they are not gone through again.
            if self.met[*i as usize] {
                break;
            }
            self.met[*i as usize] = true;
            if !self.done[*i as usize] {
                *count += 1;
                found(*i, bytes)?;
            }
        }
        Ok(any)
    }
}

fn read_full(from: &mut dyn Read, buf: &mut [u8]) -> io::Result<usize> {
    let mut n = 0;
    while n < buf.len() {
        match from.read(&mut buf[n..]) {
            Ok(0) => break,
            Ok(more) => n += more,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::{RngCore, SeedableRng, rngs::SmallRng};

    const HASH: InfoHash = InfoHash([7; 20]);

    fn noise(len: usize, seed: u64) -> Vec<u8> {
        let mut all = vec![0; len];
        SmallRng::seed_from_u64(seed).fill_bytes(&mut all);
        all
    }

    /// The blocks of `new` that are found in `old`; each must be what it says.
    fn found(new: &[u8], old: &[u8]) -> Vec<u32> {
        let made = Sums::make(&mut &new[..], HASH, new.len() as u64).unwrap();
        let sums = Sums::parse(&made.to_bytes(), HASH, new.len() as u64).unwrap();
        let mut all = Vec::new();
        let mut search = sums.search(|_| false);
        let count = search.scan(&mut &old[..], |i, bytes| {
            assert_eq!(bytes, &new[i as usize * 4096..][..4096]);
            all.push(i);
            Ok(())
        });
        assert_eq!(count.unwrap() as usize, all.len());
        all.sort_unstable();
        all
    }

    #[test]
    fn blocks_by_size() {
        for (size, block) in [(1, 4096), (2 << 30, 4096), (3 << 30, 8192), (100 << 30, 256 << 10)] {
            assert_eq!(block_for(size), block, "{size}");
        }
    }

    #[test]
    fn shifted_by_an_odd_number_all_but_the_changed_is_found() {
        let old = noise(3 << 20, 1);
        let mut new = old.clone();
        new.splice(100_001..100_004, *b"seven b");
        let all = found(&new, &old);
        assert_eq!(all.len(), new.len() / 4096 - 1);
        assert!(!all.contains(&(100_001 / 4096)));
        assert_eq!(found(&new, b""), Vec::<u32>::new());
        assert_eq!(found(&new, &noise(1 << 20, 2)), Vec::<u32>::new());
    }

    #[test]
    fn zeros_are_many_blocks_and_one_match() {
        let mut new = vec![0; 8 << 20];
        new[..5000].copy_from_slice(&noise(5000, 3));
        assert_eq!(found(&new, &vec![0; 64 << 20]).len(), new.len() / 4096 - 2);
    }

    #[test]
    fn what_is_for_another_torrent_or_damaged_is_no_sums() {
        let data = noise(50_000, 1);
        let bytes = Sums::make(&mut &data[..], HASH, 50_000).unwrap().to_bytes();
        assert!(Sums::parse(&bytes, HASH, 50_000).is_some());
        assert!(Sums::parse(&bytes, InfoHash([8; 20]), 50_000).is_none());
        assert!(Sums::parse(&bytes, HASH, 50_001).is_none());
        assert!(Sums::parse(&bytes[..bytes.len() - 1], HASH, 50_000).is_none());
        assert!(Sums::parse(b"", HASH, 50_000).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn whole_blocks_of_what_was_kept_are_found(cuts in proptest::collection::vec((0usize..400_000, 0usize..9000, 0usize..9000), 0..6)) {
            let old = noise(400_000, 5);
            // New: the old one with stretches replaced by other noise of another length.
            let (mut new, mut kept, mut at) = (Vec::new(), Vec::new(), 0);
            let mut cuts = cuts;
            cuts.sort_unstable();
            for (n, (start, gone, added)) in cuts.into_iter().enumerate() {
                if start < at { continue }
                kept.push(new.len()..new.len() + start - at);
                new.extend_from_slice(&old[at..start]);
                new.extend(noise(added, 100 + n as u64));
                at = (start + gone).min(old.len());
            }
            kept.push(new.len()..new.len() + old.len() - at);
            new.extend_from_slice(&old[at..]);
            let all = found(&new, &old);
            for i in 0..new.len() / 4096 {
                let whole = kept.iter().any(|k| k.start <= i * 4096 && (i + 1) * 4096 <= k.end);
                prop_assert!(!whole || all.contains(&(i as u32)), "block {}", i);
            }
        }
    }
}
