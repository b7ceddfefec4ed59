// SPDX-License-Identifier: GPL-3.0-or-later
//! A machine's own key: 32 random bytes that it keeps, and by which the server knows it before it sends private files.
//! It crosses the network over HTTPS only, as `Authorization: Bearer` and 64 hex digits (RFC 6750). The server keeps its
//! SHA-256, and people compare the first digits of that.

use crate::{Sha256Sum, layer::MAX_LAYERS};
use std::{fmt, str::FromStr};

/// Bytes of a key.
pub const BYTES: usize = 32;
/// The path on the server: `private?mac=` answers with the sums of this machine's archives, a line each, and
/// `private/SHA256[.minisig]` with one of them.
pub const PATH: &str = "private";
/// Seconds between two questions of a machine whose key waits to be accepted.
pub const ASK_AGAIN: u64 = 5;

/// What the server answers a machine that asks for its private files, a line of text and the sums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its key is an accepted one: the archives, by their SHA-256, in the order in which they are unpacked.
    Accepted(Vec<Sha256Sum>),
    /// The admin has not accepted it yet.
    Waits,
    /// Another key was accepted for this machine.
    Another,
}

const ACCEPTED: &str = "accepted";
const WAITS: &str = "waits";
const ANOTHER: &str = "another";

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Accepted(sums) => {
                writeln!(f, "{ACCEPTED}")?;
                sums.iter().try_for_each(|sum| writeln!(f, "{sum}"))
            }
            Verdict::Waits => writeln!(f, "{WAITS}"),
            Verdict::Another => writeln!(f, "{ANOTHER}"),
        }
    }
}

impl FromStr for Verdict {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        match (lines.next(), text.lines().count()) {
            (Some(ACCEPTED), lines_in_all) if lines_in_all <= 1 + MAX_LAYERS => {
                let sums: Result<_, _> = lines.map(str::parse).collect();
                sums.map(Verdict::Accepted).map_err(|e| format!("{e}"))
            }
            (Some(WAITS), 1) => Ok(Verdict::Waits),
            (Some(ANOTHER), 1) => Ok(Verdict::Another),
            _ => Err(format!("'{}' is not an answer of BootTorrent", crate::text::printable(text, 40))),
        }
    }
}

/// Digits that people compare: nobody finds another key with these 80 bits.
const SHOWN: usize = 20;

/// A fingerprint as people compare it: `3f2a-91bc-07de-5a11-9c3b`.
pub fn shown(fingerprint: &Sha256Sum) -> String {
    let digits = fingerprint.to_string();
    let groups: Vec<&str> = (0..SHOWN).step_by(4).map(|at| &digits[at..at + 4]).collect();
    groups.join("-")
}

/// Whether it is what somebody has read: with or without the hyphens, and not only its beginning.
pub fn is_shown(text: &str, fingerprint: &Sha256Sum) -> bool {
    let digits = text.replace(['-', ' ', ':'], "").to_ascii_lowercase();
    digits.len() >= SHOWN && fingerprint.to_string().starts_with(&digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_as_they_are_written() {
        let sum = Sha256Sum([7; 32]);
        for verdict in
            [Verdict::Accepted(vec![]), Verdict::Accepted(vec![sum; 18]), Verdict::Waits, Verdict::Another]
        {
            assert_eq!(verdict.to_string().parse(), Ok(verdict));
        }
        let many = Verdict::Accepted(vec![sum; 19]).to_string();
        for bad in ["", "accepted\nx\n", "waits\nx\n", "<html>", &many] {
            assert!(bad.parse::<Verdict>().is_err(), "{bad}");
        }
    }

    #[test]
    fn fingerprints() {
        let sum = Sha256Sum(std::array::from_fn(|n| (n as u8).wrapping_mul(17)));
        assert_eq!(shown(&sum), "0011-2233-4455-6677-8899");
        for right in ["0011-2233-4455-6677-8899", "00112233445566778899", "0011 2233 4455 6677 8899 aabb"] {
            assert!(is_shown(right, &sum), "{right}");
        }
        for wrong in [
            "",
            "0011",
            "0011-2233-4455-6677-8898",
            "0011-2233-4455-6677-8899-0000",
            "0011-2233-4455-6677-889",
        ] {
            assert!(!is_shown(wrong, &sum), "{wrong}");
        }
        assert!(is_shown(
            "AABB-CCDD-EEFF-0011-2233",
            &Sha256Sum(std::array::from_fn(
                |n| [0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 0, 0x11, 0x22, 0x33][n % 10]
            ))
        ));
    }
}
