// SPDX-License-Identifier: GPL-3.0-or-later
//! The identity of a torrent.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// SHA-1 of the bencoded info dictionary (BEP 3), shown as 40 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InfoHash(pub [u8; 20]);

/// Why a string is no infohash.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{0}' is no infohash: it has 40 hex digits")]
pub struct BadInfoHash(String);

impl FromStr for InfoHash {
    type Err = BadInfoHash;

    fn from_str(s: &str) -> Result<Self, BadInfoHash> {
        let bad = || BadInfoHash(s.chars().take(80).collect());
        let digits: Option<Vec<u8>> = s.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect();
        let digits = digits.filter(|d| d.len() == 40).ok_or_else(bad)?;
        let mut out = [0; 20];
        for (byte, pair) in out.iter_mut().zip(digits.chunks(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        Ok(Self(out))
    }
}

impl TryFrom<String> for InfoHash {
    type Error = BadInfoHash;
    fn try_from(s: String) -> Result<Self, BadInfoHash> {
        s.parse()
    }
}

impl From<InfoHash> for String {
    fn from(h: InfoHash) -> String {
        h.to_string()
    }
}

impl fmt::Display for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_hex_of_the_right_length() {
        let s = "0123456789abcdef0123456789ABCDEF01234567";
        assert_eq!(s.parse::<InfoHash>().unwrap().to_string(), s.to_lowercase());
        for bad in ["", "12", &s[1..], "zz23456789abcdef0123456789abcdef01234567"] {
            assert!(bad.parse::<InfoHash>().is_err(), "{bad:?}");
        }
    }
}
