// SPDX-License-Identifier: GPL-3.0-or-later
//! Unified kernel images (UAPI.5): an EFI program that has a kernel, an initrd and a command line in sections of its own.
//! mkosi and bootc put them on the EFI system partition instead of a kernel in /boot.
//!
//! A reader of our own, as small as that takes: nothing that the file says of itself is believed beyond its end.

use super::{
    kernel::compare,
    tree::{Tree, plain},
};
use crate::catalogue::Staging;
use anyhow::{Context, Result, bail};
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::FileExt,
};

/// Where the file is that is booted when nobody has chosen another (UEFI 2.10 §3.5), and where unified kernel images are
/// (UAPI.1), below the folder on which the EFI system partition is mounted.
const FOLDER: [&str; 2] = ["EFI", "Linux"];
const DEFAULT: [&str; 2] = ["EFI", "BOOT"];
const DEFAULT_FILE: &str = "BOOTX64.EFI";
/// Folders on which it is mounted.
const MOUNTED: [&str; 3] = ["efi", "boot/efi", "boot"];

/// A PE program has no more sections than that.
const MAX_SECTIONS: u64 = 96;
const SECTION: u64 = 40;
/// What a kernel reads of a command line, and more than any version has.
const MAX_CMDLINE: u64 = 4096;
const MAX_VERSION: u64 = 256;
const MAX_KERNEL: u64 = 256 << 20;
const MAX_INITRD: u64 = 2 << 30;

/// A part of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Section {
    at: u64,
    size: u64,
}

/// What is in one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unified {
    linux: Section,
    initrd: Option<Section>,
    /// The kernel parameters in it.
    pub cmdline: String,
    /// The kernel's version, where it says so.
    pub version: Option<String>,
}

impl Unified {
    /// Read what `file` has. `None`: it is not a unified kernel image.
    pub fn read(file: &File) -> Result<Option<Unified>> {
        let len = file.metadata().context("asking for a size")?.len();
        let Some(sections) = sections(file, len)? else { return Ok(None) };
        // Of several profiles (UAPI.5) the first one's: it has what all share.
        let find = |name: &str| sections.iter().find(|(n, _)| n == name).map(|(_, s)| *s);
        let text = |name: &str, most: u64| -> Result<Option<String>> {
            let Some(Section { at, size }) = find(name) else { return Ok(None) };
            if size > most {
                bail!("its section {name} has {size} bytes");
            }
            let mut bytes = vec![0; size as usize];
            file.read_exact_at(&mut bytes, at).with_context(|| format!("reading its section {name}"))?;
            let text = String::from_utf8_lossy(&bytes);
            Ok(Some(text.trim_matches(|c: char| c == '\0' || c.is_whitespace()).to_owned()))
        };
        let Some(linux) = find(".linux") else { return Ok(None) };
        let initrd = find(".initrd").filter(|s| s.size > 0);
        if linux.size == 0 || linux.size > MAX_KERNEL || initrd.is_some_and(|s| s.size > MAX_INITRD) {
            bail!("its kernel or its initrd has an impossible size");
        }
        Ok(Some(Unified {
            linux,
            initrd,
            cmdline: text(".cmdline", MAX_CMDLINE)?.unwrap_or_default(),
            version: text(".uname", MAX_VERSION)?.filter(|v| plain(v) && !v.is_empty()),
        }))
    }

    /// Copy its kernel.
    pub fn copy_kernel(&self, from: &File, to: &mut File) -> Result<()> {
        copy(from, self.linux, to)
    }

    /// Copy its initrd. `false`: it has none.
    pub fn copy_initrd(&self, from: &File, to: &mut File) -> Result<bool> {
        self.initrd.map_or(Ok(false), |section| copy(from, section, to).map(|()| true))
    }

    /// Its kernel parameters without those that name another root, or that other initrds read.
    pub fn parameters(&self) -> String {
        let other = |word: &&str| {
            let name = word.split('=').next().unwrap_or(word);
            !(OTHERS.contains(&name)
                || ["rd.", "systemd.verity", "luks.", "mount.usr"].iter().any(|b| name.starts_with(b)))
        };
        self.cmdline.split_whitespace().filter(other).collect::<Vec<_>>().join(" ")
    }
}

/// Parameters that are about a root on a disk, and about how it is found there.
const OTHERS: [&str; 12] = [
    "root",
    "rootfstype",
    "rootflags",
    "ro",
    "rw",
    "roothash",
    "usrhash",
    "resume",
    "initrd",
    "boot",
    "ip",
    "BOOTIF",
];

fn copy(from: &File, Section { at, size }: Section, to: &mut File) -> Result<()> {
    let mut from = from.try_clone().context("duplicating a file handle")?;
    from.seek(SeekFrom::Start(at)).context("seeking in a unified kernel image")?;
    let copied = io::copy(&mut from.take(size), to).context("copying out of a unified kernel image")?;
    if copied != size {
        bail!("a unified kernel image ends too early");
    }
    to.flush().context("copying out of a unified kernel image")
}

/// The sections of a PE program, with their names. `None`: it is none.
fn sections(file: &File, len: u64) -> Result<Option<Vec<(String, Section)>>> {
    let read = |at: u64, size: u64| -> Result<Option<Vec<u8>>> {
        if at.checked_add(size).is_none_or(|end| end > len) {
            return Ok(None);
        }
        let mut bytes = vec![0; size as usize];
        file.read_exact_at(&mut bytes, at).context("reading an EFI program")?;
        Ok(Some(bytes))
    };
    let Some(dos) = read(0, 64)?.filter(|b| b.starts_with(b"MZ")) else { return Ok(None) };
    let header = number(&dos[60..64]);
    let Some(pe) = read(header, 24)?.filter(|b| b.starts_with(b"PE\0\0")) else { return Ok(None) };
    let (count, optional) = (number(&pe[6..8]), number(&pe[20..22]));
    if count > MAX_SECTIONS {
        return Ok(None);
    }
    let Some(table) = read(header + 24 + optional, count * SECTION)? else { return Ok(None) };
    let mut found = Vec::new();
    for entry in table.chunks_exact(SECTION as usize) {
        let name = entry[..8].split(|b| *b == 0).next().unwrap_or_default();
        // The size in memory is the true one: in the file it is rounded up.
        let (memory, size, at) = (number(&entry[8..12]), number(&entry[16..20]), number(&entry[20..24]));
        let size = if memory == 0 { size } else { size.min(memory) };
        if at + size > len {
            bail!("its section {} ends behind the file", String::from_utf8_lossy(name).escape_debug());
        }
        found.push((String::from_utf8_lossy(name).into_owned(), Section { at, size }));
    }
    Ok(Some(found))
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b))
}

/// The unified kernel image that a tree boots: the newest one; else the default, if it is one.
pub fn find(tree: &dyn Tree, staging: &Staging) -> Result<Option<String>> {
    for mounted in MOUNTED {
        let Some((folder, names)) = below(tree, mounted, &FOLDER)? else { continue };
        let is_one = |n: &&String| n.to_ascii_lowercase().ends_with(".efi") && plain(n);
        if let Some(newest) = names.iter().filter(is_one).max_by(|a, b| compare(a, b)) {
            return Ok(Some(format!("{folder}/{newest}")));
        }
    }
    for mounted in MOUNTED {
        let Some((folder, names)) = below(tree, mounted, &DEFAULT)? else { continue };
        let Some(name) = names.iter().find(|n| n.eq_ignore_ascii_case(DEFAULT_FILE)) else { continue };
        let path = format!("{folder}/{name}");
        let mut file = tempfile::tempfile_in(staging.path("")).context("creating a temporary file")?;
        tree.read(&path, &mut file)?;
        // Of a program that is not whole, its own firmware says what is wrong.
        if matches!(Unified::read(&file), Ok(Some(_))) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// A folder below another, and what is in it. On FAT the case of letters means nothing.
fn below(tree: &dyn Tree, from: &str, folders: &[&str]) -> Result<Option<(String, Vec<String>)>> {
    if let Some((parent, last)) = from.rsplit_once('/')
        && !tree.names(parent)?.iter().any(|n| n == last)
    {
        return Ok(None);
    }
    let (mut path, mut names) = (from.to_owned(), tree.names(from)?);
    for folder in folders {
        let Some(name) = names.iter().find(|n| n.eq_ignore_ascii_case(folder)) else { return Ok(None) };
        path = format!("{path}/{name}");
        names = tree.names(&path)?;
    }
    Ok(Some((path, names)))
}

#[cfg(test)]
#[path = "uki_tests.rs"]
mod tests;
