// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent.secret=`.

use std::{fmt, str::FromStr};

/// What the server gives each boot on its command line: 16 to 128 of `0-9 a-z`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootSecret(String);

impl FromStr for BootSecret {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let fine = |b: u8| b.is_ascii_digit() || b.is_ascii_lowercase();
        match (16..=128).contains(&s.len()) && s.bytes().all(fine) {
            true => Ok(BootSecret(s.to_owned())),
            false => Err("it is not a secret of a server: leave it to the server to write it".into()),
        }
    }
}

impl fmt::Display for BootSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
