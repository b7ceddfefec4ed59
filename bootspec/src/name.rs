// SPDX-License-Identifier: GPL-3.0-or-later
//! Names of images.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The name of an image: 1 to 64 of `a-z A-Z 0-9 . _ -`, not starting with a
/// dot or a dash. Safe as a path component, in URLs, and as an iPXE label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageName(String);

/// Why a string is no image name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{0}' is no image name: use 1 to 64 of a-z A-Z 0-9 . _ - and start with a letter or digit")]
pub struct BadName(String);

impl ImageName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ImageName {
    type Err = BadName;

    fn from_str(s: &str) -> Result<Self, BadName> {
        let first_ok = s.starts_with(|c: char| c.is_ascii_alphanumeric());
        let rest_ok = s.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        if s.len() <= 64 && first_ok && rest_ok {
            Ok(Self(s.to_owned()))
        } else {
            Err(BadName(s.chars().take(80).collect()))
        }
    }
}

impl TryFrom<String> for ImageName {
    type Error = BadName;
    fn try_from(s: String) -> Result<Self, BadName> {
        s.parse()
    }
}

impl From<ImageName> for String {
    fn from(n: ImageName) -> String {
        n.0
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_is_safe_and_nothing_else() {
        for good in ["lab", "debian-13.1", "A_b.c", "9", &"x".repeat(64)] {
            assert_eq!(good.parse::<ImageName>().unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", ".hidden", "-x", "a/b", "../a", "a b", "é", "a\n", &"x".repeat(65)] {
            assert!(bad.parse::<ImageName>().is_err(), "{bad:?}");
        }
    }
}
