// SPDX-License-Identifier: GPL-3.0-or-later
//! Names of images, and of their versions.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The name of an image: 1 to 64 of `a-z A-Z 0-9 . _ -`, not starting with a
/// dot or a dash. Safe as a path component, in URLs, and as an iPXE label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageName(String);

/// Why a string is not an image name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{0}' is not a valid image name: use 1 to 64 of a-z A-Z 0-9 . _ - and start with a letter or digit")]
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

/// An image, or one version of it: `lab`, `lab@2`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageRef {
    /// The image.
    pub name: ImageName,
    /// Its version; none: the current one, whichever that is.
    pub version: Option<u32>,
}

impl From<ImageName> for ImageRef {
    fn from(name: ImageName) -> Self {
        Self { name, version: None }
    }
}

impl FromStr for ImageRef {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let Some((name, version)) = s.split_once('@') else {
            return s.parse::<ImageName>().map(Self::from).map_err(|e| e.to_string());
        };
        let digits = !version.starts_with('0') && version.bytes().all(|b| b.is_ascii_digit());
        match (name.parse(), version.parse()) {
            (Ok(name), Ok(version)) if digits => Ok(Self { name, version: Some(version) }),
            (Err(e), _) => Err(e.to_string()),
            _ => Err(format!(
                "'{}' is not a valid version of an image: write NAME@NUMBER, as in {name}@2",
                s.chars().filter(|c| !c.is_control()).take(80).collect::<String>()
            )),
        }
    }
}

impl TryFrom<String> for ImageRef {
    type Error = String;
    fn try_from(s: String) -> Result<Self, String> {
        s.parse()
    }
}

impl From<ImageRef> for String {
    fn from(r: ImageRef) -> String {
        r.to_string()
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Some(version) => write!(f, "{}@{version}", self.name),
            None => self.name.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers() {
        for good in ["lab", "lab@1", "a.b@4294967295"] {
            assert_eq!(good.parse::<ImageRef>().unwrap().to_string(), good);
        }
        for bad in ["@1", "lab@", "lab@0", "lab@01", "lab@+1", "lab@-1", "lab@x", "lab@1@2", "lab@4294967296"]
        {
            assert!(bad.parse::<ImageRef>().is_err(), "{bad}");
        }
        assert_eq!(
            "lab@x".parse::<ImageRef>().unwrap_err(),
            "'lab@x' is not a valid version of an image: write NAME@NUMBER, as in lab@2"
        );
    }

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
