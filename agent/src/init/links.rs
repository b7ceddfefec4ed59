// SPDX-License-Identifier: GPL-3.0-or-later
//! The links below /dev/disk by which disks are named on the command line, as udev makes them (60-persistent-storage.rules):
//! by the label and UUID of their filesystem, and by their serial number. Nobody else makes them here.

use crate::{device::encode, disks};
use bootspec::{
    manifest::MAGIC_BYTES,
    partition::{self, Superblock, Table},
};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::unix::{fs::FileExt, fs::symlink},
    path::Path,
};

/// Make the links of disks that were not there before; `seen` has the names of those that were. An empty disk is looked at
/// again: `boottorrent.mkfs=` makes a filesystem on it, which udev would see too.
pub fn make(sys: &Path, dev: &Path, seen: &mut BTreeSet<String>) {
    for entry in fs::read_dir(sys.join("class/block")).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !disks::is_disk(&name) || seen.contains(&name) {
            continue;
        }
        // devtmpfs is a moment later.
        let Ok(device) = File::open(dev.join(&name)) else { continue };
        let mut links = Vec::new();
        let found = filesystem(&device);
        let mut is_empty = found.is_none();
        if let Some((label, uuid)) = found {
            links.extend([("by-label", label, name.clone()), ("by-uuid", uuid, name.clone())]);
        }
        if let Some(disk) = disks::disk(sys, &name).filter(|d| d.part_of.is_none()) {
            let parts = partitions(&device, &name);
            is_empty &= parts.is_empty();
            links.extend(parts.into_iter().map(|(uuid, part)| ("by-partuuid", uuid, part)));
            if !disk.serial.is_empty() {
                links.push(("by-id", format!("disk_{}", disk.serial.replace(' ', "_")), name.clone()));
            }
        }
        if !is_empty {
            seen.insert(name);
        }
        for (kind, value, to) in links.into_iter().filter(|(_, value, _)| !value.is_empty()) {
            let folder = dev.join("disk").join(kind);
            let _ = fs::create_dir_all(&folder)
                .and_then(|()| symlink(format!("../../{to}"), folder.join(encode(&value))));
        }
    }
}

/// Label and UUID of the filesystem on a device, if it is one of an image's kinds, or XFS: ext4 and XFS keep images here.
fn filesystem(device: &File) -> Option<(String, String)> {
    let mut head = vec![0; MAGIC_BYTES];
    device.read_exact_at(&mut head, 0).ok()?;
    Superblock::read(&head).map(|found| (found.label, found.uuid)).or_else(|| xfs(&head))
}

/// Those of XFS: `sb_fname` and `sb_uuid` of its superblock (xfs_format.h).
fn xfs(head: &[u8]) -> Option<(String, String)> {
    let rest = head.strip_prefix(b"XFSB")?;
    let label = rest.get(104..116)?.split(|b| *b == 0).next().unwrap_or_default();
    Some((String::from_utf8_lossy(label).into_owned(), partition::uuid(rest.get(28..44)?)))
}

/// The partitions of a disk: their UUIDs, and the names that the kernel gives them.
fn partitions(device: &File, name: &str) -> Vec<(String, String)> {
    let mut read = |at: u64, length: usize| {
        let mut bytes = vec![0; length];
        device.read_exact_at(&mut bytes, at).map(|()| bytes)
    };
    let between = if name.ends_with(|c: char| c.is_ascii_digit()) { "p" } else { "" };
    let table = Table::read(&mut read).ok().flatten();
    let all = table.map(|t| t.partitions).unwrap_or_default();
    all.into_iter().map(|p| (p.uuid, format!("{name}{between}{}", p.number))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// The filesystem's own tool says what it is called.
    #[test]
    fn what_mke2fs_calls_it() {
        let dir = tempfile::tempdir().unwrap();
        let (sys, dev) = (dir.path().join("sys"), dir.path().join("dev"));
        for name in ["vda", "loop0"] {
            fs::create_dir_all(sys.join("class/block").join(name)).unwrap();
        }
        fs::create_dir(&dev).unwrap();
        fs::write(sys.join("class/block/vda/size"), "2048\n").unwrap();
        fs::write(sys.join("class/block/vda/serial"), "DISK 1\n").unwrap();
        let uuid = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";
        File::create(dev.join("vda")).unwrap().set_len(8 << 20).unwrap();
        let mut seen = BTreeSet::new();
        make(&sys, &dev, &mut seen);
        let by_serial = fs::read_link(dev.join("disk/by-id/disk_DISK_1")).unwrap();
        assert_eq!((by_serial.to_str(), seen.len()), (Some("../../vda"), 0), "it may be formatted yet");
        let made = Command::new("/sbin/mke2fs")
            .args(["-q", "-t", "ext4", "-L", "my images", "-U", uuid])
            .arg(dev.join("vda"))
            .status()
            .unwrap();
        assert!(made.success());
        make(&sys, &dev, &mut seen);
        assert_eq!(seen, BTreeSet::from(["vda".to_owned()]));
        for name in ["LABEL=my images", &format!("UUID={uuid}"), "SERIAL=DISK 1"] {
            let name: bootspec::DeviceName = match name.strip_prefix("SERIAL=") {
                Some(serial) => bootspec::DeviceName::Serial(serial.into()),
                None => name.parse().unwrap(),
            };
            assert_eq!(
                crate::device::look(&dev, &name).unwrap(),
                Some(dev.canonicalize().unwrap().join("vda")),
                "{name}"
            );
        }
    }
}
