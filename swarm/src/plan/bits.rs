// SPDX-License-Identifier: GPL-3.0-or-later
//! A set of pieces, as BEP 3's bitfield has it: the first piece is the highest bit.

/// A set of numbers below a fixed length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bits {
    /// The first number is the highest bit of the first word.
    words: Vec<u64>,
    len: u32,
    ones: u32,
}

fn mask(bit: u32) -> u64 {
    1 << (63 - bit % 64)
}

impl Bits {
    /// An empty set of numbers below `len`.
    pub fn none(len: u32) -> Self {
        Self { words: vec![0; len.div_ceil(64) as usize], len, ones: 0 }
    }

    /// All numbers below `len`.
    pub fn all(len: u32) -> Self {
        let mut bits = Self { words: vec![u64::MAX; len.div_ceil(64) as usize], len, ones: len };
        let spare = bits.spare();
        if let Some(last) = bits.words.last_mut() {
            *last &= !spare;
        }
        bits
    }

    /// A bitfield off the wire: `None` when it has not the right length, or a bit beyond the last piece.
    pub fn from_wire(bytes: &[u8], len: u32) -> Option<Self> {
        if bytes.len() != len.div_ceil(8) as usize {
            return None;
        }
        let mut bits = Self::none(len);
        for (word, chunk) in bits.words.iter_mut().zip(bytes.chunks(8)) {
            let mut whole = [0; 8];
            whole[..chunk.len()].copy_from_slice(chunk);
            *word = u64::from_be_bytes(whole);
        }
        if bits.words.last().is_some_and(|w| w & bits.spare() != 0) {
            return None;
        }
        bits.ones = bits.words.iter().map(|w| w.count_ones()).sum();
        Some(bits)
    }

    /// The bits of the last word that are beyond the last number.
    fn spare(&self) -> u64 {
        (1 << (self.words.len() as u32 * 64 - self.len)) - 1
    }

    /// The bitfield for the wire.
    pub fn to_wire(&self) -> Vec<u8> {
        let bytes = self.words.iter().flat_map(|w| w.to_be_bytes());
        bytes.take(self.len.div_ceil(8) as usize).collect()
    }

    /// Whether `i` is in the set. A number beyond the length is not.
    pub fn has(&self, i: u32) -> bool {
        self.words.get(i as usize / 64).is_some_and(|w| w & mask(i) != 0)
    }

    /// Put `i` in; false if it was there, or is beyond the length.
    pub fn insert(&mut self, i: u32) -> bool {
        let new = i < self.len && !self.has(i);
        if new {
            self.words[i as usize / 64] |= mask(i);
            self.ones += 1;
        }
        new
    }

    /// Take `i` out; false if it was not there.
    pub fn remove(&mut self, i: u32) -> bool {
        let old = self.has(i);
        if old {
            self.words[i as usize / 64] &= !mask(i);
            self.ones -= 1;
        }
        old
    }

    /// How many are in the set.
    pub fn count(&self) -> u32 {
        self.ones
    }

    /// One more than the highest number there can be.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether nothing is in the set.
    pub fn is_empty(&self) -> bool {
        self.ones == 0
    }

    /// Whether all numbers are in the set.
    pub fn is_full(&self) -> bool {
        self.ones == self.len
    }

    /// The numbers in the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.words.iter().enumerate().flat_map(|(n, w)| ones(n, *w))
    }

    /// Numbers that are in this set and in none of `not`, beginning at the 64 around `from` and going round.
    pub fn without<'a>(&'a self, not: [&'a Bits; 2], from: u32) -> impl Iterator<Item = u32> + 'a {
        round(self.words.len(), from)
            .flat_map(move |n| ones(n, self.words[n] & !not[0].words[n] & !not[1].words[n]))
    }

    /// Numbers that are in none of two sets of one length, in the same order.
    pub fn in_neither<'a>(a: &'a Bits, b: &'a Bits, from: u32) -> impl Iterator<Item = u32> + 'a {
        let numbers = round(a.words.len(), from).flat_map(|n| ones(n, !a.words[n] & !b.words[n]));
        numbers.filter(|i| *i < a.len)
    }

    /// Whether a number is in this set and not in `other`.
    pub fn exceeds(&self, other: &Bits) -> bool {
        self.words.iter().zip(&other.words).any(|(a, b)| a & !b != 0)
    }
}

/// All words once, from the one that `from` is in.
fn round(words: usize, from: u32) -> impl Iterator<Item = usize> {
    let start = (from as usize / 64).min(words);
    (start..words).chain(0..start)
}

fn ones(word: usize, mut bits: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let bit = bits.leading_zeros();
        (bit < 64).then(|| {
            bits &= !mask(bit);
            word as u32 * 64 + bit
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_wire_has_the_first_piece_in_the_highest_bit() {
        let mut bits = Bits::none(10);
        bits.insert(0);
        bits.insert(9);
        assert_eq!(bits.to_wire(), [0x80, 0x40]);
        assert_eq!(Bits::from_wire(&[0x80, 0x40], 10), Some(bits));
        assert_eq!(Bits::from_wire(&[0x80, 0x20], 10), None, "a spare bit");
        assert_eq!(Bits::from_wire(&[0x80], 10), None, "too short");
        assert!(Bits::from_wire(&[0xff; 8], 64).unwrap().is_full());
    }

    proptest! {
        #[test]
        fn is_a_set(len in 1u32..300, a in proptest::collection::vec(0u32..300, 0..99), b in proptest::collection::vec(0u32..300, 0..99), from in 0u32..400) {
            let within = |v: Vec<u32>| v.into_iter().filter(|i| *i < len).collect::<BTreeSet<_>>();
            let set = |v: &BTreeSet<u32>| { let mut s = Bits::none(len); v.iter().for_each(|i| assert!(s.insert(*i))); s };
            let (a, b) = (within(a), within(b));
            let (x, y, none) = (set(&a), set(&b), Bits::none(len));
            prop_assert_eq!(x.count() as usize, a.len());
            prop_assert_eq!(x.iter().collect::<BTreeSet<_>>(), a.clone());
            let rest: BTreeSet<u32> = x.without([&y, &none], from).collect();
            prop_assert_eq!(&rest, &(&a - &b));
            let all: BTreeSet<u32> = (0..len).collect();
            prop_assert_eq!(Bits::all(len), set(&all));
            prop_assert_eq!(Bits::in_neither(&x, &y, from).collect::<BTreeSet<_>>(), &(&all - &a) - &b);
            prop_assert_eq!(x.exceeds(&y), !rest.is_empty());
            prop_assert_eq!(Bits::from_wire(&x.to_wire(), len), Some(x));
        }
    }
}
