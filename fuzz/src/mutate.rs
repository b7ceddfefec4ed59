// SPDX-License-Identifier: GPL-3.0-or-later
//! Changing inputs, without knowing what they mean: for the runs that no coverage guides.

use rand::{Rng, seq::IndexedRandom};

/// Bytes and words at which things tend to break.
const ODD: [&[u8]; 20] = [
    b"\0",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\n",
    b"\r\n",
    b"\x1b[2J",
    b"\"",
    b"'",
    b"\\",
    b"${x}",
    b" && ",
    b" || ",
    b"../",
    b"%00",
    b"%",
    b"18446744073709551616",
    b"-1",
    "\u{202e}".as_bytes(),
    b"\xff\xff\xff\xff",
];

/// An input like this one, a few places changed. `others`: from which something may come in.
pub fn mutate(input: &[u8], others: &[Vec<u8>], max_len: usize, random: &mut impl Rng) -> Vec<u8> {
    let mut out = input.to_vec();
    for _ in 0..random.random_range(1..=6) {
        let at = random.random_range(0..=out.len());
        let until = at + random.random_range(0..=(out.len() - at).min(32));
        match random.random_range(0..7) {
            0 if at < out.len() => out[at] ^= 1 << random.random_range(0..8),
            1 if at < out.len() => out[at] = random.random(),
            2 => drop(out.drain(at..until)),
            3 => drop(out.splice(at..at, ODD.choose(random).copied().unwrap_or_default().iter().copied())),
            4 => {
                let copy = out[at..until].repeat(random.random_range(1..4));
                drop(out.splice(at..at, copy));
            }
            5 => {
                if let Some(other) = others.choose(random).filter(|o| !o.is_empty()) {
                    let from = random.random_range(0..other.len());
                    let to = from + random.random_range(0..=(other.len() - from).min(64));
                    drop(out.splice(at..until, other[from..to].iter().copied()));
                }
            }
            _ => out.truncate(at),
        }
    }
    out.truncate(max_len);
    out
}
