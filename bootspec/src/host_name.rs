// SPDX-License-Identifier: GPL-3.0-or-later
//! Host names (RFC 1123, 2.1).

use std::{fmt, str::FromStr};

/// A host name, with or without its domain: labels of 1 to 63 of `a-z A-Z 0-9 -`, with no dash at either end, 253 bytes in
/// all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(String);

impl HostName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HostName {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match is_host_name(s) {
            true => Ok(HostName(s.to_owned())),
            false => Err(format!(
                "'{}' is not a valid host name: use a-z A-Z 0-9 and -, up to 63 of them between dots",
                s.chars().take(80).collect::<String>().escape_debug()
            )),
        }
    }
}

/// Whether it can be one.
pub fn is_host_name(name: &str) -> bool {
    let is_label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_rfc_has_it() {
        for good in ["pc1", "PC-7.school.lan", "9", &"a".repeat(63)] {
            assert_eq!(good.parse::<HostName>().map(|n| n.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", ".", "a..b", "-a", "a-", "a_b", "a b", "ä", "a'; rm -rf /", &"a".repeat(64)] {
            assert!(bad.parse::<HostName>().is_err(), "{bad}");
        }
        let long = ["a"; 128].join(".");
        assert!(long.parse::<HostName>().is_err());
    }
}
