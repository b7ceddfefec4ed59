// SPDX-License-Identifier: GPL-3.0-or-later
//! The identity of a torrent, and that of a payload.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A hash of so many bytes, written as hex digits.
macro_rules! hash {
    ($(#[$doc:meta])* $hash:ident, $bytes:literal, $what:literal, $bad:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $hash(pub [u8; $bytes]);

        #[doc = concat!("Why a string is not a valid ", $what, ".")]
        #[derive(Debug, thiserror::Error, PartialEq, Eq)]
        #[error("'{0}' is not a valid {what}: it has {digits} hex digits", what = $what, digits = 2 * $bytes)]
        pub struct $bad(String);

        impl FromStr for $hash {
            type Err = $bad;

            fn from_str(s: &str) -> Result<Self, $bad> {
                let bad = || $bad(s.chars().take(80).collect());
                let digits: Option<Vec<u8>> = s.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect();
                let digits = digits.filter(|d| d.len() == 2 * $bytes).ok_or_else(bad)?;
                let mut out = [0; $bytes];
                for (byte, pair) in out.iter_mut().zip(digits.chunks(2)) {
                    *byte = pair[0] << 4 | pair[1];
                }
                Ok(Self(out))
            }
        }

        impl TryFrom<String> for $hash {
            type Error = $bad;
            fn try_from(s: String) -> Result<Self, $bad> {
                s.parse()
            }
        }

        impl From<$hash> for String {
            fn from(h: $hash) -> String {
                h.to_string()
            }
        }

        impl fmt::Display for $hash {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }

        impl fmt::Debug for $hash {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

hash! {
    /// SHA-1 of the bencoded info dictionary (BEP 3), shown as 40 hex digits.
    InfoHash, 20, "infohash", BadInfoHash
}

hash! {
    /// SHA-256 of a whole payload, shown as 64 hex digits.
    Sha256Sum, 32, "SHA-256 sum", BadSum
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
