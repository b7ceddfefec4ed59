// SPDX-License-Identifier: GPL-3.0-or-later
//! The files on an ISO, by bsdtar (libarchive), which reads Rock Ridge and Joliet names and is
//! fuzzed. Nothing is mounted, so it needs no root, and no path of the ISO is ever one of ours.

use crate::{import::tree::plain, tool::Tool};
use anyhow::{Context, Result, bail};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// A list of files longer than this is none of a live system.
const MAX_LISTING: usize = 64 << 20;
/// Links followed one after the other.
const MAX_LINKS: usize = 8;

/// An ISO's list of files.
pub struct Files {
    iso: PathBuf,
    /// Each path, and where it points if it is a link.
    entries: BTreeMap<String, Option<String>>,
}

impl Files {
    /// List them.
    pub fn open(iso: &Path) -> Result<Files> {
        let listing = tool().args(["-tvf"]).file(iso)?.output(MAX_LISTING)?;
        Ok(Files::listed(iso, &listing))
    }

    /// Those in bsdtar's own list.
    pub fn listed(iso: &Path, listing: &str) -> Files {
        Files { iso: iso.to_owned(), entries: parse(listing) }
    }

    /// All paths.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The file that a path means: with links followed, and whatever its letters' case where
    /// there is no such file otherwise. `None`: there is none that could be read.
    pub fn find(&self, path: &str) -> Option<String> {
        let mut path = match self.entries.get_key_value(path) {
            Some((path, _)) => path.clone(),
            None => self.entries.keys().find(|p| p.eq_ignore_ascii_case(path))?.clone(),
        };
        for _ in 0..MAX_LINKS {
            match self.entries.get(&path)? {
                Some(link) => path = follow(&path, link)?,
                None => return plain(&path).then_some(path),
            }
        }
        None
    }

    /// Read a small file.
    pub fn read(&self, path: &str, limit: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.pour(path, limit as u64, |from| {
            from.read_to_end(&mut bytes).with_context(|| format!("reading /{path}")).map(drop)
        })?;
        Ok(bytes)
    }

    /// Copy a file to the end of another.
    pub fn copy(&self, path: &str, limit: u64, to: &mut File) -> Result<()> {
        self.pour(path, limit, |from| {
            io::copy(from, to).with_context(|| format!("copying /{path}")).map(drop)
        })
    }

    fn pour(
        &self,
        path: &str,
        limit: u64,
        sink: impl FnOnce(&mut io::Take<&mut crate::tool::Running>) -> Result<()>,
    ) -> Result<()> {
        if !plain(path) {
            bail!("/{path} is not a valid name for a kernel or an initrd: use letters, digits and . _ + ~ -");
        }
        // The first of that name is all.
        let mut running = tool().args(["-xOqf"]).file(&self.iso)?.args(["--", path]).reader()?;
        let mut from = (&mut running).take(limit + 1);
        sink(&mut from)?;
        if from.limit() == 0 {
            bail!("/{path} is larger than {limit} bytes");
        }
        running.wait_unread()
    }
}

fn tool() -> Tool {
    Tool::parser("bsdtar", "libarchive-tools")
}

/// As `bsdtar -tv` prints them: `lrwxrwxrwx  1 0  0  0 Nov 23 01:18 live/vmlinuz -> vmlinuz-6.1`. Of several names
/// with the same extents the later ones are hard links, without bytes, whatever their first letter:
/// `-r--r--r--  2 0  0  0 Nov 26 13:47 live/initrd.img link to live/initrd.img-6.1`.
fn parse(listing: &str) -> BTreeMap<String, Option<String>> {
    let entry = |line: &str| {
        let mut columns = Vec::new();
        let mut rest = line;
        for _ in 0..8 {
            let end = rest.find(char::is_whitespace)?;
            columns.push(&rest[..end]);
            rest = rest[end..].trim_start();
        }
        let path = |p: &str| p.trim_start_matches("./").trim_end_matches('/').to_owned();
        let linked =
            rest.rsplit_once(" link to ").map(|(from, to)| (path(from), Some(format!("/{}", path(to)))));
        match line.as_bytes().first()? {
            // A name may have these words in it too.
            b'-' if columns[1] != "1" && columns[4] == "0" && linked.is_some() => linked,
            b'-' => Some((path(rest), None)),
            b'l' => rest.split_once(" -> ").map(|(from, to)| (path(from), Some(to.to_owned()))),
            b'h' => linked,
            _ => None,
        }
    };
    listing.lines().filter_map(entry).collect()
}

/// Where a link leads, inside the ISO.
fn follow(path: &str, link: &str) -> Option<String> {
    let base = if link.starts_with('/') { "" } else { path.rsplit_once('/').map_or("", |(dir, _)| dir) };
    let mut parts: Vec<&str> = base.split('/').filter(|p| !p.is_empty()).collect();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_bsdtars_listing() {
        let files = Files::listed(
            Path::new(""),
            "dr-xr-xr-x  4 0      0        2048 Nov 23 01:18 .\n\
             dr-xr-xr-x  2 0      0        2048 Nov 23  2024 live\n\
             -r--r--r--  1 0      0     8247232 Nov 23 01:17 live/vmlinuz-6.1\n\
             lrwxrwxrwx  1 0      0           0 Nov 23 01:17 live/vmlinuz -> vmlinuz-6.1\n\
             lrwxrwxrwx  1 0      0           0 Nov 23 01:17 out -> ../../etc/passwd\n\
             lrwxrwxrwx  1 0      0           0 Nov 23 01:17 loop -> loop\n\
             -r--r--r--  2 0      0           0 Nov 23 01:17 live/again link to live/vmlinuz-6.1\n\
             -r--r--r--  1 0      0           0 Nov 23 01:17 live/not link to x\n\
             -r--r--r--  1 0      0          12 Nov 23 01:18 EFI/BOOT/GRUB.CFG\n\
             -r--r--r--  1 0      0          12 Nov 23 01:18 with space/x\n",
        );
        let find = |p: &str| files.find(p);
        assert_eq!(find("live/vmlinuz").as_deref(), Some("live/vmlinuz-6.1"));
        assert_eq!(find("live/again").as_deref(), Some("live/vmlinuz-6.1"));
        assert_eq!(find("EFI/BOOT/grub.cfg").as_deref(), Some("EFI/BOOT/GRUB.CFG"));
        for nothing in ["live", "out", "loop", "nowhere", "with space/x", ""] {
            assert_eq!(find(nothing), None, "{nothing}");
        }
    }
}
