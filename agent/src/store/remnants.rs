// SPDX-License-Identifier: GPL-3.0-or-later
//! What an image that is shorter than the disk leaves behind it: superblocks of a RAID at the disk's end. A system that
//! starts from the disk later may take it for a member of that RAID, and nothing is mounted.

use std::{fs::File, os::unix::fs::FileExt};

/// A superblock that lies at a disk's end.
struct Remnant {
    name: &'static str,
    magic: &'static [u8],
    /// Where its magic number is: by the disk's size and its sectors', in bytes. `None`: the disk is too small for one.
    at: fn(u64, u64) -> Option<u64>,
}

/// md(4), and mdadm's super0.c, super1.c, super-intel.c and super-ddf.c. LVM's label, as newer md superblocks, is in the first
/// sectors, which every image overwrites.
const REMNANTS: [Remnant; 4] = [
    Remnant {
        name: "a RAID superblock of mdadm (metadata 1.0)",
        magic: &[0xfc, 0x4e, 0x2b, 0xa9],
        at: |size, _| Some((size / 512).checked_sub(16)? / 8 * 8 * 512),
    },
    Remnant {
        name: "a RAID superblock of mdadm (metadata 0.90)",
        magic: &[0xfc, 0x4e, 0x2b, 0xa9],
        at: |size, _| (size / (64 << 10) * (64 << 10)).checked_sub(64 << 10),
    },
    Remnant {
        name: "the metadata of an Intel firmware RAID",
        magic: b"Intel Raid ISM Cfg Sig. ",
        at: |size, sector| size.checked_sub(2 * sector),
    },
    Remnant {
        name: "the metadata of a DDF firmware RAID",
        magic: &[0xde, 0x11, 0xde, 0x11],
        at: |size, sector| size.checked_sub(sector),
    },
];

/// The names of what is on a disk behind an image of `image` bytes. What cannot be read is not there.
pub(super) fn behind(disk: &File, size: u64, sector: u32, image: u64) -> Vec<&'static str> {
    let is_there = |r: &&Remnant| {
        let mut found = vec![0; r.magic.len()];
        let at = (r.at)(size, sector.into()).filter(|at| *at >= image);
        at.is_some_and(|at| disk.read_exact_at(&mut found, at).is_ok()) && found == r.magic
    };
    REMNANTS.iter().filter(is_there).map(|r| r.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const SIZE: u64 = (64 << 20) + 512 * 37;

    /// A disk with one superblock, which must be one for libblkid too: what it takes it for.
    fn seen(at: u64, parts: &[(u64, &[u8])], sector: u32) -> (Vec<&'static str>, String) {
        let disk = tempfile::NamedTempFile::new().unwrap();
        disk.as_file().set_len(SIZE).unwrap();
        for (offset, bytes) in parts {
            disk.as_file().write_all_at(bytes, at + offset).unwrap();
        }
        let blkid = Command::new("/usr/sbin/blkid")
            .args(["--probe", "--output", "value", "--match-tag", "TYPE"])
            .arg(disk.path())
            .output()
            .unwrap();
        let found = behind(disk.as_file(), SIZE, sector, 1 << 20);
        assert!(behind(disk.as_file(), SIZE, sector, SIZE).is_empty(), "the image covers it");
        (found, String::from_utf8(blkid.stdout).unwrap().trim().to_owned())
    }

    #[test]
    fn superblocks_are_where_libblkid_finds_them() {
        let magic = 0xa92b_4efc_u32.to_le_bytes();
        let at = (SIZE / 512 - 16) / 8 * 8 * 512;
        let one = [(0, &magic[..]), (4, &[1]), (144, &(at / 512).to_le_bytes())];
        let told = ("a RAID superblock of mdadm (metadata 1.0)", "linux_raid_member");
        assert_eq!(seen(at, &one, 512), (vec![told.0], told.1.into()));

        let at = (SIZE & !0xffff) - 0x1_0000;
        let zero = [(0, &magic[..]), (8, &90u32.to_le_bytes())];
        let told = ("a RAID superblock of mdadm (metadata 0.90)", "linux_raid_member");
        assert_eq!(seen(at, &zero, 512), (vec![told.0], told.1.into()));

        let intel = [(0, &b"Intel Raid ISM Cfg Sig. 1.0.00"[..])];
        let told = ("the metadata of an Intel firmware RAID", "isw_raid_member");
        assert_eq!(seen(SIZE - 1024, &intel, 512), (vec![told.0], told.1.into()));

        let ddf = [(0, &[0xde, 0x11, 0xde, 0x11][..])];
        let told = ("the metadata of a DDF firmware RAID", "ddf_raid_member");
        assert_eq!(seen(SIZE - 512, &ddf, 512), (vec![told.0], told.1.into()));
        assert_eq!(seen(SIZE - 4096, &ddf, 4096).0, [told.0]);
    }

    #[test]
    fn an_empty_disk_and_a_tiny_one_have_none() {
        let disk = tempfile::tempfile().unwrap();
        assert!(behind(&disk, 0, 512, 0).is_empty());
        disk.set_len(4096).unwrap();
        assert!(behind(&disk, 4096, 4096, 0).is_empty());
    }
}
