// SPDX-License-Identifier: GPL-3.0-or-later
//! The links below /dev/disk by which disks are named on the command line, as udev makes them (60-persistent-storage.rules):
//! by the label and UUID of their filesystem, and by their serial number. Nobody else makes them here.

use crate::{device::encode, disks};
use bootspec::{
    manifest::MAGIC_BYTES,
    partition::{Superblock, Table},
};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::unix::{fs::FileExt, fs::symlink},
    path::Path,
};

/// Make the links of disks that were not there before; `seen` has the names of those that were.
pub fn make(sys: &Path, dev: &Path, seen: &mut BTreeSet<String>) {
    for entry in fs::read_dir(sys.join("class/block")).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !disks::is_disk(&name) || seen.contains(&name) {
            continue;
        }
        // devtmpfs is a moment later.
        let Ok(device) = File::open(dev.join(&name)) else { continue };
        seen.insert(name.clone());
        let mut links = Vec::new();
        if let Some(found) = filesystem(&device) {
            links.extend([("by-label", found.label, name.clone()), ("by-uuid", found.uuid, name.clone())]);
        }
        if let Some(disk) = disks::disk(sys, &name).filter(|d| d.part_of.is_none()) {
            links.extend(
                partitions(&device, &name).into_iter().map(|(uuid, part)| ("by-partuuid", uuid, part)),
            );
            if !disk.serial.is_empty() {
                links.push(("by-id", format!("disk_{}", disk.serial.replace(' ', "_")), name.clone()));
            }
        }
        for (kind, value, to) in links.into_iter().filter(|(_, value, _)| !value.is_empty()) {
            let folder = dev.join("disk").join(kind);
            let _ = fs::create_dir_all(&folder)
                .and_then(|()| symlink(format!("../../{to}"), folder.join(encode(&value))));
        }
    }
}

/// The filesystem on a device, if it is one of an image's kinds: ext4 is the one that keeps images here.
fn filesystem(device: &File) -> Option<Superblock> {
    let mut head = vec![0; MAGIC_BYTES];
    device.read_exact_at(&mut head, 0).ok()?;
    Superblock::read(&head)
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
        let made = Command::new("/sbin/mke2fs")
            .args(["-q", "-t", "ext4", "-L", "my images", "-U", uuid])
            .arg(dev.join("vda"))
            .arg("8M")
            .status()
            .unwrap();
        assert!(made.success());
        let mut seen = BTreeSet::new();
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
