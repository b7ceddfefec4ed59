// SPDX-License-Identifier: GPL-3.0-or-later
//! What a disk image of a virtual machine needs besides itself. It names other files itself, and could name any file
//! of this machine, so an image that needs one is refused by what its structures say, before qemu-img sees it.

use crate::import::virtual_disk::Virtual;
use std::{fs::File, io, os::unix::fs::FileExt};

/// A VMDK's sector.
const SECTOR: u64 = 512;
/// What QEMU reads of a VMDK's embedded description.
const DESCRIPTION: usize = 20 * 512;
/// In a VMDK, this place of its grain directory means that the header is at the end.
const AT_END: u64 = u64::MAX;
/// A VHDX's two tables of regions.
const REGIONS: [u64; 2] = [192 << 10, 256 << 10];
/// Entries of a VHDX's tables, at most (as in its specification).
const ENTRIES: usize = 2047;

/// What of other files `format` would have qemu-img read. Errors: the file cannot be read.
pub fn refers(file: &File, format: Virtual) -> io::Result<Option<&'static str>> {
    let bytes = Bytes(file);
    match format {
        Virtual::Qcow2 => qcow2(&bytes),
        Virtual::Vmdk => vmdk(&bytes),
        Virtual::Vdi => vdi(&bytes),
        Virtual::Vhdx => vhdx(&bytes),
    }
}

/// A file of which what is not there is zero.
struct Bytes<'a>(&'a File);

impl Bytes<'_> {
    fn get(&self, at: u64, length: usize) -> io::Result<Vec<u8>> {
        let (mut bytes, mut have) = (vec![0; length], 0);
        while have < length {
            let Some(at) = at.checked_add(have as u64).filter(|at| i64::try_from(*at).is_ok()) else { break };
            match self.0.read_at(&mut bytes[have..], at)? {
                0 => break,
                n => have += n,
            }
        }
        Ok(bytes)
    }

    fn le32(&self, at: u64) -> io::Result<u32> {
        Ok(le(&self.get(at, 4)?) as u32)
    }

    fn le64(&self, at: u64) -> io::Result<u64> {
        Ok(le(&self.get(at, 8)?))
    }
}

fn le(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b))
}

fn be(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b))
}

fn qcow2(file: &Bytes) -> io::Result<Option<&'static str>> {
    let head = file.get(0, 104)?;
    let version = be(&head[4..8]);
    Ok(match () {
        () if be(&head[8..16]) != 0 || be(&head[16..20]) != 0 => Some("a backing file"),
        // Incompatible feature 2, of version 3 on.
        () if version > 2 && be(&head[72..80]) & 4 != 0 => Some("a data file of its own"),
        () => None,
    })
}

/// A sparse extent with its description in it; the header may be repeated at the end.
fn vmdk(file: &Bytes) -> io::Result<Option<&'static str>> {
    let size = file.0.metadata()?.len();
    let mut headers = vec![0];
    // QEMU takes the one at the end where the first one says so. Both must be harmless.
    if file.le64(56)? == AT_END {
        headers.push(size.saturating_sub(2 * SECTOR));
    }
    for header in headers {
        let magic = file.get(header, 4)?;
        if magic != *b"KDMV" {
            return Ok(Some("a header that is not where it says"));
        }
        // Capacity 0: there is a description instead, with the names of files.
        if file.le64(header + 12)? == 0 {
            return Ok(Some("other files"));
        }
        let place = file.le64(header + 28)?.saturating_mul(SECTOR);
        if place != 0
            && let Some(what) = description(&file.get(place, DESCRIPTION)?)
        {
            return Ok(Some(what));
        }
    }
    Ok(None)
}

/// QEMU looks for words anywhere in the text, and so do we.
fn description(bytes: &[u8]) -> Option<&'static str> {
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    let parent = |rest: &str| {
        let id: String = rest.trim_start_matches([' ', '=', '"']).chars().take(8).collect();
        id != "ffffffff"
    };
    if text.contains("parentfilenamehint") || text.split("parentcid").skip(1).any(parent) {
        return Some("a parent file");
    }
    let extent = |line: &str| {
        let mut words = line.split_whitespace();
        let access = words.next().is_some_and(|w| matches!(w, "rw" | "rdonly" | "noaccess"));
        access && words.nth(1).is_some_and(|kind| kind != "sparse")
    };
    let sparse = text.lines().filter(|l| l.trim_start().starts_with("rw ")).count();
    (text.lines().any(extent) || sparse > 1).then_some("other files")
}

/// Dynamic and static disks are whole; the others change one that is elsewhere.
fn vdi(file: &Bytes) -> io::Result<Option<&'static str>> {
    let kind = file.le32(0x4c)?;
    // uuidLinkage and uuidParentModify.
    let linked = file.get(0x1a8, 32)?.iter().any(|b| *b != 0);
    Ok((!matches!(kind, 1 | 2) || linked).then_some("a parent file"))
}

/// By its metadata: whether it has a parent, and where that is.
fn vhdx(file: &Bytes) -> io::Result<Option<&'static str>> {
    const METADATA: [u8; 16] =
        [0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e];
    const PARAMETERS: [u8; 16] =
        [0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b];
    const LOCATOR: [u8; 16] =
        [0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c];
    for table in REGIONS {
        let count = (file.le32(table + 8)? as usize).min(ENTRIES);
        for region in file.get(table + 16, count * 32)?.chunks_exact(32) {
            if region[..16] != METADATA {
                continue;
            }
            let place = le(&region[16..24]);
            let count = (le(&file.get(place.saturating_add(10), 2)?) as usize).min(ENTRIES);
            for item in file.get(place.saturating_add(32), count * 32)?.chunks_exact(32) {
                let flags = place.saturating_add(le(&item[16..20])).saturating_add(4);
                if item[..16] == LOCATOR || (item[..16] == PARAMETERS && file.le32(flags)? & 2 != 0) {
                    return Ok(Some("a parent file"));
                }
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(parts: &[(u64, &[u8])]) -> File {
        let file = tempfile::tempfile().unwrap();
        for (at, bytes) in parts {
            file.write_all_at(bytes, *at).unwrap();
        }
        (&file).flush().unwrap();
        file
    }

    #[test]
    fn what_names_other_files() {
        let qcow2 = |backing: u8, version: u8, features: u8| {
            let head: [(u64, &[u8]); 4] =
                [(0, b"QFI\xfb\0\0\0"), (7, &[version]), (15, &[backing]), (79, &[features])];
            refers(&file(&head), Virtual::Qcow2).unwrap()
        };
        assert_eq!(qcow2(0, 3, 1), None);
        assert_eq!(qcow2(9, 2, 0), Some("a backing file"));
        assert_eq!(qcow2(0, 3, 4), Some("a data file of its own"));
        assert_eq!(qcow2(0, 2, 4), None, "version 2 has something else there");
        let vdi = |kind: u8, linked: u8| {
            refers(&file(&[(0x4c, &[kind]), (0x1b0, &[linked])]), Virtual::Vdi).unwrap()
        };
        assert_eq!((vdi(1, 0), vdi(2, 0)), (None, None));
        assert_eq!((vdi(4, 0), vdi(1, 7)), (Some("a parent file"), Some("a parent file")));
    }

    #[test]
    fn a_vmdks_description() {
        let vmdk = |text: &str, capacity: u8, more: &[(u64, &[u8])]| {
            let mut parts: Vec<(u64, &[u8])> =
                vec![(0, b"KDMV"), (13, std::slice::from_ref(&capacity)), (28, &[1]), (512, text.as_bytes())];
            parts.extend(more);
            refers(&file(&parts), Virtual::Vmdk).unwrap()
        };
        let whole = "# Disk DescriptorFile\nCID=1\nparentCID=ffffffff\nRW 8 SPARSE \"x.vmdk\"\n";
        assert_eq!(vmdk(whole, 1, &[]), None);
        assert_eq!(vmdk(whole, 0, &[]), Some("other files"));
        for (text, what) in [
            ("parentCID=12345678\n", "a parent file"),
            ("parentCID=ffffffff\nparentFileNameHint=\"json:{}\"\n", "a parent file"),
            ("x=1 PARENTFILENAMEHINT=\"/etc/shadow\"", "a parent file"),
            ("parentCID=ffffffff\nRW 8 FLAT \"/etc/shadow\" 0\n", "other files"),
            ("parentCID=ffffffff\nRW 8 SPARSE \"a\"\nRW 8 SPARSE \"b\"\n", "other files"),
        ] {
            assert_eq!(vmdk(text, 1, &[]), Some(what), "{text}");
        }
        // The header at the end counts as well.
        let end: u64 = 1 << 20;
        let hint = b"parentFileNameHint=\"/etc/shadow\"";
        let parts: [(u64, &[u8]); 6] = [
            (56, &[0xff; 8]),
            (end, b"KDMV"),
            (end + 13, &[1]),
            (end + 29, &[1]),
            (256 * 512, hint),
            (end + 1023, &[0]),
        ];
        assert_eq!(vmdk(whole, 1, &parts), Some("a parent file"));
    }

    #[test]
    fn a_vhdxs_parent() {
        let metadata: [u8; 16] =
            [0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e];
        let parameters: [u8; 16] =
            [0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b];
        let vhdx = |flags: u8, table: u64| {
            let at = 1 << 20;
            let parts: [(u64, &[u8]); 8] = [
                (table + 8, &[1]),
                (table + 16, &metadata),
                (table + 32, &[0, 0, 0x10]),
                (at + 10, &[1]),
                (at + 32, &parameters),
                (at + 48, &[0, 0, 1]),
                (at + (1 << 16) + 4, &[flags]),
                (at + (1 << 17), &[0]),
            ];
            refers(&file(&parts), Virtual::Vhdx).unwrap()
        };
        for table in REGIONS {
            assert_eq!((vhdx(0, table), vhdx(2, table)), (None, Some("a parent file")));
        }
    }
}
