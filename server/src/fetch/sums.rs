// SPDX-License-Identifier: GPL-3.0-or-later
//! Lists of checksums, as sha256sum(1) and sha512sum(1) write them, in both of their forms.
//! Lists with headings and other sums between (`CHECKSUMS.TXT`) are read too: what is no such line is left out.

use crate::sources::glob;
use sha2::{Digest, Sha256, Sha512};
use std::io::Read;

/// A checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sum {
    /// Which one.
    pub kind: Kind,
    /// Its hexadecimal digits, lower case.
    pub hex: String,
}

/// The kinds that can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Kind {
    /// The name for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Sha256 => "SHA-256",
            Kind::Sha512 => "SHA-512",
        }
    }
}

impl Sum {
    /// A sum from its digits; `None`: they are none of a SHA-256 or SHA-512.
    pub fn parse(hex: &str) -> Option<Sum> {
        let kind = match hex.len() {
            64 => Kind::Sha256,
            128 => Kind::Sha512,
            _ => return None,
        };
        hex.bytes().all(|b| b.is_ascii_hexdigit()).then(|| Sum { kind, hex: hex.to_ascii_lowercase() })
    }

    /// The sum of what `from` gives.
    pub fn of(kind: Kind, from: &mut dyn Read, seen: &mut dyn FnMut(u64)) -> std::io::Result<Sum> {
        let hex = match kind {
            Kind::Sha256 => digest::<Sha256>(from, seen)?,
            Kind::Sha512 => digest::<Sha512>(from, seen)?,
        };
        Ok(Sum { kind, hex })
    }
}

fn digest<D: Digest>(from: &mut dyn Read, seen: &mut dyn FnMut(u64)) -> std::io::Result<String> {
    let (mut hash, mut buf, mut done) = (D::new(), vec![0; 1 << 20], 0);
    loop {
        let n = from.read(&mut buf)?;
        if n == 0 {
            return Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect());
        }
        hash.update(&buf[..n]);
        done += n as u64;
        seen(done);
    }
}

/// The entries of a list: sum and file name, without its folders.
pub fn entries(text: &str) -> Vec<(Sum, &str)> {
    text.lines().filter_map(|l| entry(l.trim_end())).collect()
}

fn entry(line: &str) -> Option<(Sum, &str)> {
    let base = |name: &'_ str| name.rfind('/').map_or(0, |n| n + 1);
    // `SHA256 (NAME) = HEX`, as sha256sum --tag.
    if let Some((name, hex)) = line
        .strip_prefix("SHA256 (")
        .or_else(|| line.strip_prefix("SHA512 ("))
        .and_then(|rest| rest.rsplit_once(") = "))
    {
        return Some((Sum::parse(hex)?, &name[base(name)..]));
    }
    // `HEX  NAME`, or `HEX *NAME`; a list of one may have the sum alone.
    let (hex, name) = line.split_once(' ').unwrap_or((line, ""));
    let name = name.trim_start_matches(' ').strip_prefix('*').unwrap_or(name.trim_start_matches(' '));
    Some((Sum::parse(hex)?, &name[base(name)..]))
}

/// The file of a list that fits a pattern: the latest version, with its strongest sum.
pub fn find<'a>(text: &'a str, pattern: &str) -> Option<(Sum, &'a str)> {
    let entries = entries(text);
    // The sum alone is about the one file that was asked for.
    if let [(sum, "")] = entries.as_slice() {
        return Some((sum.clone(), ""));
    }
    let fitting = entries.into_iter().filter(|(_, name)| glob::fits(pattern, name));
    fitting.max_by(|(a, x), (b, y)| glob::by_version(x, y).then(a.kind.cmp(&b.kind)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_as_they_are_written() {
        let (a, b, c) = ("a".repeat(64), "B".repeat(128), "c".repeat(64));
        let md5 = "d".repeat(32);
        let text = format!(
            "### MD5SUMS:\n{md5}  x-1.9.iso\n### SHA256SUMS:\n{a}  x-1.9.iso\r\n{c} *./dir/x-1.10.iso\nSHA512 (x-1.9.iso) = {b}\n{c}  x-1.10.zip\n",
        );
        let all = entries(&text);
        assert_eq!(
            all.iter().map(|(_, n)| *n).collect::<Vec<_>>(),
            ["x-1.9.iso", "x-1.10.iso", "x-1.9.iso", "x-1.10.zip"]
        );
        assert_eq!(find(&text, "x-*.iso"), Some((Sum { kind: Kind::Sha256, hex: c.clone() }, "x-1.10.iso")));
        assert_eq!(
            find(&text, "x-1.9.iso"),
            Some((Sum { kind: Kind::Sha512, hex: b.to_lowercase() }, "x-1.9.iso")),
            "the stronger one"
        );
        assert_eq!(find(&text, "y.iso"), None);
        assert_eq!(find(&format!("{a}\n"), "y.iso").unwrap().0.hex, a);
        assert_eq!(entries("<html>\n\n"), []);
    }

    #[test]
    fn sums() {
        let of = |kind| Sum::of(kind, &mut &b"abc"[..], &mut |_| ()).unwrap().hex;
        assert_eq!(of(Kind::Sha256), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(of(Kind::Sha512).starts_with("ddaf35a193617abacc417349ae204131"));
    }
}
