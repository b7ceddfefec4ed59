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
    pub kind: DigestKind,
    /// Its hexadecimal digits, lower case.
    pub hex: String,
}

/// The kinds that can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DigestKind {
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl DigestKind {
    /// The name for people.
    pub fn as_str(self) -> &'static str {
        match self {
            DigestKind::Sha256 => "SHA-256",
            DigestKind::Sha512 => "SHA-512",
        }
    }
}

impl Sum {
    /// A sum from its digits; `None`: they are none of a SHA-256 or SHA-512.
    pub fn parse(hex: &str) -> Option<Sum> {
        let kind = match hex.len() {
            64 => DigestKind::Sha256,
            128 => DigestKind::Sha512,
            _ => return None,
        };
        hex.bytes().all(|b| b.is_ascii_hexdigit()).then(|| Sum { kind, hex: hex.to_ascii_lowercase() })
    }

    /// The sum of what `from` gives.
    pub fn of(kind: DigestKind, from: &mut dyn Read, seen: &mut dyn FnMut(u64)) -> std::io::Result<Sum> {
        let hex = match kind {
            DigestKind::Sha256 => digest::<Sha256>(from, seen)?,
            DigestKind::Sha512 => digest::<Sha512>(from, seen)?,
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

/// A list's text: UTF-8 with or without a mark in front, or UTF-16 with one, as PowerShell writes it.
pub fn text(bytes: &[u8]) -> String {
    let wide = |bytes: &[u8], number: fn([u8; 2]) -> u16| {
        let units = bytes.chunks_exact(2).map(|b| number([b[0], b[1]]));
        char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
    };
    match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8_lossy(rest).into_owned(),
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// The entries of a list: sum, and the file's path as it stands there, without a leading `./` or `/`.
pub fn entries(text: &str) -> Vec<(Sum, &str)> {
    text.lines().filter_map(|l| entry(l.trim())).collect()
}

fn entry(line: &str) -> Option<(Sum, &str)> {
    // `SHA256 (NAME) = HEX`, as sha256sum --tag; `SHA256(NAME)= HEX` and `SHA2-256(NAME)= HEX`, as openssl dgst.
    for tag in ["SHA256", "SHA512", "SHA2-256", "SHA2-512"] {
        let tagged = line.strip_prefix(tag).and_then(|rest| rest.trim_start().strip_prefix('('));
        if let Some((name, hex)) = tagged.and_then(|rest| rest.rsplit_once(')')) {
            return Some((Sum::parse(hex.trim_start().strip_prefix('=')?.trim())?, path(name)));
        }
    }
    // `HEX  NAME`, or `HEX *NAME`; a list of one may have the sum alone.
    let (first, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    if let Some(sum) = Sum::parse(first) {
        let rest = rest.trim_start();
        return Some((sum, path(rest.strip_prefix('*').unwrap_or(rest))));
    }
    // `NAME  HEX`.
    let (name, hex) = line.rsplit_once([' ', '\t'])?;
    Some((Sum::parse(hex)?, path(name.trim_end().trim_end_matches(':'))))
}

fn path(name: &str) -> &str {
    let name = name.strip_prefix("./").unwrap_or(name);
    name.trim_start_matches('/')
}

/// Several sums in a list may be the file's: which one is, nobody says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("has different checksums for files called '{name}': {}; give the address of the one that is meant, or --sum", .paths.join(", "))]
pub struct Ambiguous {
    name: String,
    paths: Vec<String>,
}

/// The file of a list that fits a pattern (of its name, or with a `/` of its path): the latest version, with its
/// strongest sum. Of those with one name in several folders, the one whose path is the end of `address`.
pub fn find<'a>(text: &'a str, pattern: &str, address: &str) -> Result<Option<(Sum, &'a str)>, Ambiguous> {
    let entries = entries(text);
    // The sum alone is about the one file that was asked for.
    if let [(sum, "")] = entries.as_slice() {
        return Ok(Some((sum.clone(), "")));
    }
    let base = |path: &'a str| path.rsplit('/').next().unwrap_or(path);
    let fits = |path: &'a str| match pattern.contains('/') {
        true => glob::fits(pattern, path),
        false => glob::fits(pattern, base(path)),
    };
    let fitting: Vec<_> = entries.into_iter().filter(|(_, path)| fits(path)).collect();
    let best =
        fitting.iter().max_by(|(a, x), (b, y)| glob::by_version(base(x), base(y)).then(a.kind.cmp(&b.kind)));
    let Some((best, at)) = best.cloned() else { return Ok(None) };
    let rivals: Vec<_> =
        fitting.into_iter().filter(|(sum, path)| base(path) == base(at) && sum.kind == best.kind).collect();
    if rivals.iter().all(|(sum, _)| *sum == best) {
        return Ok(Some((best, at)));
    }
    let ends = |path: &str| address == path || address.ends_with(&format!("/{path}"));
    // `netboot/gtk/mini.iso` rather than `mini.iso`.
    let meant = rivals.iter().filter(|(_, path)| ends(path)).max_by_key(|(_, path)| path.len());
    match meant {
        Some((sum, path)) => Ok(Some((sum.clone(), path))),
        None => Err(Ambiguous {
            name: base(at).to_owned(),
            paths: rivals.iter().map(|(_, path)| (*path).to_owned()).take(8).collect(),
        }),
    }
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
            ["x-1.9.iso", "dir/x-1.10.iso", "x-1.9.iso", "x-1.10.zip"]
        );
        let find = |text: &'static str, pattern: &str| find(text, pattern, "").unwrap();
        let text: &'static str = text.leak();
        assert_eq!(
            find(text, "x-*.iso"),
            Some((Sum { kind: DigestKind::Sha256, hex: c.clone() }, "dir/x-1.10.iso"))
        );
        assert_eq!(
            find(text, "x-1.9.iso"),
            Some((Sum { kind: DigestKind::Sha512, hex: b.to_lowercase() }, "x-1.9.iso")),
            "the stronger one"
        );
        assert_eq!(find(text, "y.iso"), None);
        assert_eq!(find(format!("{a}\n").leak(), "y.iso").unwrap().0.hex, a);
        assert_eq!(entries("<html>\n\n"), []);
    }

    /// server.md F11.
    #[test]
    fn lists_as_the_world_writes_them() {
        let (a, b) = ("a".repeat(64), "b".repeat(64));
        for line in [
            format!("SHA256(x.iso)= {a}"),
            format!("SHA2-256(x.iso)= {a}"),
            format!("{a}\tx.iso"),
            format!("x.iso  {a}"),
            format!("x.iso: {a}"),
            format!("{a}  /srv/x.iso"),
        ] {
            assert_eq!(find(&line, "x.iso", "").unwrap().unwrap().0.hex, a, "{line}");
        }
        let line = format!("{a}  x.iso\r\n");
        let wide = |order: fn(u16) -> [u8; 2]| line.encode_utf16().flat_map(order).collect::<Vec<u8>>();
        for bytes in [
            [&[0xef, 0xbb, 0xbf], line.as_bytes()].concat(),
            [&[0xff, 0xfe][..], &wide(u16::to_le_bytes)].concat(),
            [&[0xfe, 0xff][..], &wide(u16::to_be_bytes)].concat(),
        ] {
            assert_eq!(text(&bytes), line);
        }
        let installer = format!("{a}  ./netboot/mini.iso\n{b}  ./netboot/gtk/mini.iso\n");
        let of = |address: &str| find(&installer, "mini.iso", address).map(|f| f.unwrap().0.hex);
        assert_eq!(of("https://x/images/netboot/mini.iso"), Ok(a.clone()));
        assert_eq!(of("https://x/images/netboot/gtk/mini.iso"), Ok(b));
        let e = of("https://x/mini.iso").unwrap_err().to_string();
        assert!(
            e.starts_with(
                "has different checksums for files called 'mini.iso': netboot/mini.iso, netboot/gtk"
            ),
            "{e}"
        );
        assert_eq!(find(&installer, "netboot/mini.iso", "").unwrap().unwrap().0.hex, a);
    }

    #[test]
    fn sums() {
        let of = |kind| Sum::of(kind, &mut &b"abc"[..], &mut |_| ()).unwrap().hex;
        assert_eq!(
            of(DigestKind::Sha256),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert!(of(DigestKind::Sha512).starts_with("ddaf35a193617abacc417349ae204131"));
    }
}
