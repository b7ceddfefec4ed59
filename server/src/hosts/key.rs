// SPDX-License-Identifier: GPL-3.0-or-later
//! Whom an assignment is for: one machine, a group, or everybody else.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The longest serial number.
const MAX_SERIAL: usize = 64;

/// A MAC address. Read from every form that people and firmware write; written lower case with colons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// A number by which machines are shared out among several servers that each could have all.
    pub fn share(self) -> usize {
        self.0.iter().map(|b| usize::from(*b)).sum()
    }
}

impl FromStr for Mac {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let bad = || format!("'{}' is not a valid MAC address: write it as in 52:54:00:12:34:56", short(s));
        let parts: Vec<&str> = match s.len() {
            17 => s.split([':', '-']).collect(),
            12 if s.is_ascii() => (0..6).map(|n| &s[n * 2..n * 2 + 2]).collect(),
            _ => return Err(bad()),
        };
        let mut mac = [0; 6];
        if parts.len() != 6 {
            return Err(bad());
        }
        for (byte, part) in mac.iter_mut().zip(parts) {
            let hex = part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
            *byte = u8::from_str_radix(part, 16).ok().filter(|_| hex).ok_or_else(bad)?;
        }
        // No card has one of these.
        if mac == [0; 6] || mac[0] & 1 != 0 { Err(bad()) } else { Ok(Mac(mac)) }
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// The name that the admin gives to a machine or a group: 1 to 64 of `a-z A-Z 0-9 . _ -`, not `default`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let first = s.starts_with(|c: char| c.is_ascii_alphanumeric());
        let rest = s.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        if s == "default" || !first || !rest || s.len() > 64 {
            return Err(format!(
                "'{}' is not a valid name for a machine or a group: use 1 to 64 of a-z A-Z 0-9 . _ -, start with a letter or \
                 digit, and leave 'default' to everybody",
                short(s)
            ));
        }
        Ok(Name(s.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whom an entry of hosts.toml is for. As text: a MAC address, a UUID, `serial:…`, `group:…` or `default`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum EntryKey {
    /// Every machine that has no other entry; what it says fills the gaps of all others.
    Default,
    /// The machines of a group.
    Group(Name),
    /// The machine that boots from this interface.
    Mac(Mac),
    /// The machine whose firmware has this UUID (SMBIOS), lower case.
    Uuid(String),
    /// The machine whose firmware has this serial number.
    Serial(String),
}

impl EntryKey {
    /// Whether it is one machine.
    pub fn is_machine(&self) -> bool {
        !matches!(self, EntryKey::Default | EntryKey::Group(_))
    }
}

/// A UUID in the form that SMBIOS has, lower case.
pub fn uuid(s: &str) -> Option<String> {
    let groups: Vec<&str> = s.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|g| g.len()).collect();
    let hex = groups.iter().all(|g| g.bytes().all(|b| b.is_ascii_hexdigit()));
    (lengths == [8, 4, 4, 4, 12] && hex).then(|| s.to_ascii_lowercase())
}

/// A serial number that tells a machine: makers also write nothing, or words, where it should be.
pub fn serial(s: &str) -> Option<String> {
    let s = s.trim();
    let printable = s.chars().all(|c| c.is_ascii_graphic() || c == ' ');
    (!s.is_empty() && s.len() <= MAX_SERIAL && printable).then(|| s.to_owned())
}

impl FromStr for EntryKey {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        if s == "default" {
            return Ok(EntryKey::Default);
        }
        if let Some(name) = s.strip_prefix("group:") {
            return name.parse().map(EntryKey::Group);
        }
        if let Some(number) = s.strip_prefix("serial:") {
            return serial(number).map(EntryKey::Serial).ok_or_else(|| {
                format!(
                    "'{}' is not a valid serial number: use 1 to {MAX_SERIAL} printable characters",
                    short(number)
                )
            });
        }
        if let Ok(mac) = s.parse() {
            return Ok(EntryKey::Mac(mac));
        }
        uuid(s).map(EntryKey::Uuid).ok_or_else(|| {
            format!(
                "'{}' is neither a machine nor a group: write a MAC address, a UUID, serial:NUMBER, group:NAME or default",
                short(s)
            )
        })
    }
}

impl fmt::Display for EntryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EntryKey::Default => f.write_str("default"),
            EntryKey::Group(name) => write!(f, "group:{name}"),
            EntryKey::Mac(mac) => mac.fmt(f),
            EntryKey::Uuid(uuid) => f.write_str(uuid),
            EntryKey::Serial(serial) => write!(f, "serial:{serial}"),
        }
    }
}

macro_rules! text_in_serde {
    ($type:ty) => {
        impl TryFrom<String> for $type {
            type Error = String;
            fn try_from(s: String) -> Result<Self, String> {
                s.parse()
            }
        }
        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.to_string()
            }
        }
    };
}
text_in_serde!(Mac);
text_in_serde!(Name);
text_in_serde!(EntryKey);

/// What somebody typed, fit for a sentence.
fn short(s: &str) -> String {
    bootspec::text::printable(s, 80)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_and_written() {
        for (given, want) in [
            ("52:54:00:00:00:0A", "52:54:00:00:00:0a"),
            ("52-54-00-00-00-0a", "52:54:00:00:00:0a"),
            ("52540000000a", "52:54:00:00:00:0a"),
            ("4C4C4544-0042-3510-8058-B4C04F565931", "4c4c4544-0042-3510-8058-b4c04f565931"),
            ("serial: AB 12/3 ", "serial:AB 12/3"),
            ("group:room1", "group:room1"),
            ("default", "default"),
        ] {
            let key: EntryKey = given.parse().unwrap();
            assert_eq!(key.to_string(), want);
            assert_eq!(serde_json::to_value(&key).unwrap(), want);
            assert_eq!(serde_json::from_value::<EntryKey>(want.into()).unwrap(), key);
        }
    }

    #[test]
    fn what_is_no_key_is_one_sentence() {
        let neither = "is neither a machine nor a group: write a MAC address, a UUID, serial:NUMBER, group:NAME or default";
        for (given, want) in [
            ("room1", format!("'room1' {neither}")),
            ("52:54:00:00:00", format!("'52:54:00:00:00' {neither}")),
            ("01:00:5e:00:00:01", format!("'01:00:5e:00:00:01' {neither}")),
            ("+2:54:00:00:00:01", format!("'+2:54:00:00:00:01' {neither}")),
            ("\x1b[2Jé", format!("'[2Jé' {neither}")),
            ("serial:\x07", "'' is not a valid serial number: use 1 to 64 printable characters".into()),
            (
                "group:default",
                "'default' is not a valid name for a machine or a group: use 1 to 64 of a-z A-Z 0-9 . _ -, start with a letter or \
                 digit, and leave 'default' to everybody"
                    .into(),
            ),
        ] {
            assert_eq!(given.parse::<EntryKey>(), Err(want));
        }
    }
}
