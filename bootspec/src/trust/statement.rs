// SPDX-License-Identifier: GPL-3.0-or-later
//! What is signed of an image: eight lines of text, written in one way only.

use crate::{ImageManifest, ImageName, InfoHash, Sha256Sum, manifest::Kind};
use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime},
};

/// Bytes of a statement at most: kernel parameters are the only part without a length of its own.
pub const MAX_STATEMENT: usize = 4096;

/// The first line. Another number would be another language.
const HEAD: &str = "boottorrent statement 1";

/// When a version was made, in seconds since 1970, shown as RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u64);

impl Version {
    /// A moment. What is before 1970 is 1970.
    pub fn of(at: SystemTime) -> Version {
        Version(at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs())
    }
}

/// The last second of the year 9999: beyond it RFC 3339 has no way to write a time.
const LAST: u64 = 253_402_300_799;

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(self.0.min(LAST));
        humantime::format_rfc3339_seconds(at).fmt(f)
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let bad = || format!("'{}' is not a valid time: it is written as 2026-11-23T08:00:00Z", shown(s));
        let at = humantime::parse_rfc3339(s).map_err(|_| bad())?;
        at.duration_since(SystemTime::UNIX_EPOCH).map(|d| Version(d.as_secs())).map_err(|_| bad())
    }
}

/// See the module's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The image's name.
    pub name: ImageName,
    /// When this version was added.
    pub version: Version,
    /// The torrent.
    pub infohash: InfoHash,
    /// The payload's size in bytes.
    pub size: u64,
    /// The payload's SHA-256.
    pub sha256: Sha256Sum,
    /// What it is.
    pub kind: Kind,
    /// Kernel parameters that belong to it.
    pub parameters: String,
}

impl Statement {
    /// What a manifest says. Errors: it does not say enough, or what cannot be written in a line.
    pub fn of(manifest: &ImageManifest) -> Result<Self, String> {
        let sha256 = manifest.sha256.ok_or("its manifest has no SHA-256")?;
        let statement = Statement {
            name: manifest.name.clone(),
            version: manifest.added.parse()?,
            infohash: manifest.infohash,
            size: manifest.size,
            sha256,
            kind: manifest.kind,
            parameters: manifest.append.clone(),
        };
        // What cannot be read back must not be signed.
        Statement::parse(statement.to_string().as_bytes()).map(|_| statement)
    }

    /// Read a statement. Only the one way in which it is written is read: no two texts mean the same.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > MAX_STATEMENT {
            return Err(format!("it has {} bytes, more than {MAX_STATEMENT}", bytes.len()));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not text")?;
        let mut lines = text.lines();
        match lines.next() {
            Some(HEAD) => {}
            head => {
                return Err(format!(
                    "it begins with '{}', not with '{HEAD}'",
                    shown(head.unwrap_or_default())
                ));
            }
        }
        let mut next = |key: &str| {
            let line = lines.next().ok_or_else(|| format!("it ends before its line '{key}'"))?;
            let value = line.strip_prefix(key).and_then(|rest| rest.strip_prefix(": "));
            value.ok_or_else(|| format!("where its line '{key}' should be, there is '{}'", shown(line)))
        };
        let statement = Statement {
            name: next("name")?.parse().map_err(|e| format!("{e}"))?,
            version: next("version")?.parse()?,
            infohash: next("infohash")?.parse().map_err(|e| format!("{e}"))?,
            size: next("size")
                .and_then(|v| v.parse().map_err(|_| format!("'{}' is not a valid size", shown(v))))?,
            sha256: next("sha256")?.parse().map_err(|e| format!("{e}"))?,
            kind: next("kind").and_then(kind)?,
            parameters: next("parameters")?.to_owned(),
        };
        if statement.parameters.chars().any(char::is_control) || statement.to_string() != text {
            return Err("it is not written as BootTorrent writes it".into());
        }
        Ok(statement)
    }
}

fn kind(word: &str) -> Result<Kind, String> {
    let known = Kind::ALL.into_iter().find(|k| k.as_str() == word);
    known.ok_or_else(|| format!("'{}' is not a kind of image that this version knows", shown(word)))
}

/// A part of a hostile text, for a sentence.
fn shown(text: &str) -> String {
    text.chars().take(80).map(|c| if c.is_control() { '?' } else { c }).collect()
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Statement { name, version, infohash, size, sha256, kind, parameters } = self;
        writeln!(f, "{HEAD}\nname: {name}\nversion: {version}\ninfohash: {infohash}\nsize: {size}")?;
        writeln!(f, "sha256: {sha256}\nkind: {}\nparameters: {parameters}", kind.as_str())
    }
}
