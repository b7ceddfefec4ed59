// SPDX-License-Identifier: GPL-3.0-or-later
//! A payload with partitions: which one is the root, and how it is mounted.
//!
//! A file gets a loop device of just that partition; of a disk that was written, the kernel
//! knows them. Which partition it is is decided from the image alone:
//! other disks of the machine may have the same labels.

use crate::{
    identity::Tree,
    mounts::{self, Loop, Mounted, Root},
};
use anyhow::{Context, anyhow, bail};
use bootspec::{
    fstab::lines,
    manifest::{Format, MAGIC_BYTES},
    partition::{Partition, PartitionName, Superblock, Table},
    units::human_size,
};
use loopdev::LoopDevice;
use std::{
    fs::{self, File},
    os::unix::fs::{FileExt, FileTypeExt},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// How long a partition's node may take to appear.
const PATIENCE: Duration = Duration::from_secs(5);

/// A partition, and the filesystem in it if it is one that can be a root.
type Seen = (Partition, Option<Superblock>);

/// Mount the root partition of a payload, under an overlay, on the root mount point.
pub fn mount(root: &Root) -> anyhow::Result<Mounted> {
    let shown = root.payload.display();
    let file = File::open(root.payload).with_context(|| format!("opening {shown}"))?;
    let is_disk = file.metadata().is_ok_and(|m| m.file_type().is_block_device());
    let (table, seen) = look(&file).with_context(|| format!("reading the partition table of {shown}"))?;
    let candidates = candidates(&seen, root.asked.partition.as_ref())?;
    drop(file);

    let mut why = None;
    for (partition, superblock) in candidates {
        let device = device(root, partition, is_disk)?;
        match mounts::mount_lower(&device.node, superblock.format, root) {
            Ok(lower) => {
                mounts::overlay(&lower, root)?;
                let (n, format) = (partition.number, superblock.format.as_str());
                let what =
                    format!("{format} on partition {n} of a {} disk {}", table.scheme, root.writes.what());
                return Ok(Mounted { what, also: others(root, &seen, n, is_disk) });
            }
            Err(e) => why = Some(e.context(format!("partition {}", partition.number))),
        }
    }
    Err(why.unwrap_or_else(|| anyhow!("no partition can be mounted")))
}

/// A partition's block device.
struct Device {
    node: PathBuf,
    /// Held until the mount holds it: without a user it would be gone (autoclear).
    _loop: Option<LoopDevice>,
}

fn device(root: &Root, partition: &Partition, is_disk: bool) -> anyhow::Result<Device> {
    if is_disk {
        return Ok(Device { node: appeared(node(root.payload, partition.number))?, _loop: None });
    }
    let part = Loop::Part { start: partition.start, size: partition.size };
    let device = mounts::attach(root.payload, part)?;
    Ok(Device { node: device.path().context("finding the loop device's path")?, _loop: Some(device) })
}

/// Mount the image's other partitions where its fstab wants them, each below an overlay of its own: /var or /home
/// would be empty otherwise. Those that cannot be mounted are left out, and fstab's reader says so. Returns where.
fn others(root: &Root, seen: &[Seen], root_partition: u32, is_disk: bool) -> Vec<String> {
    let tree = Tree::new(root.root);
    let fstab = tree.read("etc/fstab").unwrap_or_default();
    let mut wanted: Vec<_> = lines(&fstab)
        .filter(|l| {
            l.is_disk() && l.at.starts_with('/') && l.at.len() > 1 && !l.at.split('/').any(|p| p == "..")
        })
        .collect();
    // /var before /var/lib.
    wanted.sort_by_key(|l| l.at.len());
    let mut also: Vec<String> = Vec::new();
    for line in wanted {
        let Some(name) = PartitionName::from_root(line.what.trim_matches('"')) else { continue };
        let is = |(p, s): &&Seen| s.as_ref().is_some_and(|s| name.is(p, &s.label, &s.uuid));
        let Some((partition, Some(superblock))) = seen.iter().find(is) else { continue };
        let at = line.at.trim_end_matches('/').to_owned();
        if partition.number == root_partition || also.contains(&at) {
            continue;
        }
        if mount_other(root, partition, superblock, is_disk, &at).is_ok() {
            also.push(at);
        }
    }
    also
}

fn mount_other(
    root: &Root,
    partition: &Partition,
    superblock: &Superblock,
    is_disk: bool,
    at: &str,
) -> anyhow::Result<()> {
    let to = Tree::new(root.root).folder(at.trim_start_matches('/'))?;
    let part = format!("-{}", partition.number);
    let lower = root.run.join(format!("lower{part}"));
    let device = device(root, partition, is_disk)?;
    mounts::mount_read_only(&device.node, superblock.format, &lower, "")?;
    mounts::overlay_at(&lower, root, &part, &to).inspect_err(|_| mounts::detach(&lower))
}

/// The filesystems on a payload's partitions.
pub fn formats(payload: &Path) -> anyhow::Result<Vec<Format>> {
    let file = File::open(payload).with_context(|| format!("opening {}", payload.display()))?;
    let (_, seen) = look(&file).context("reading its partition table")?;
    Ok(seen.into_iter().filter_map(|(_, s)| Some(s?.format)).collect())
}

fn look(file: &File) -> anyhow::Result<(Table, Vec<Seen>)> {
    let mut read = |at: u64, len: usize| {
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, at).map(|()| bytes)
    };
    let Some(table) = Table::read(&mut read)? else {
        bail!("it has none that Linux can read: the image is not a disk image, or is damaged");
    };
    let seen = table.partitions.iter().map(|p| {
        let head = read(p.start, MAGIC_BYTES).unwrap_or_default();
        (p.clone(), Superblock::read(&head))
    });
    let seen = seen.collect();
    Ok((table, seen))
}

/// The partitions that may be the root, the likeliest first. A name decides alone.
fn candidates<'a>(
    seen: &'a [Seen],
    name: Option<&PartitionName>,
) -> anyhow::Result<Vec<(&'a Partition, &'a Superblock)>> {
    let list = || seen.iter().map(shown).collect::<Vec<_>>().join(", ");
    if let Some(name) = name {
        let is = |(p, s): &&Seen| {
            let (label, uuid) = s.as_ref().map_or(("", ""), |s| (&s.label, &s.uuid));
            name.is(p, label, uuid)
        };
        return match seen.iter().find(is) {
            Some((p, Some(s))) => Ok(vec![(p, s)]),
            Some(other) => bail!(
                "partition {} of the image cannot be the root: only squashfs, erofs and ext4 can; choose with boottorrent.partition=",
                shown(other)
            ),
            None => bail!(
                "the image has no partition {name}: it has {}; choose with boottorrent.partition=",
                list()
            ),
        };
    }
    let mut all: Vec<_> = seen.iter().filter_map(|(p, s)| Some((p, s.as_ref()?))).collect();
    all.sort_by_key(|(p, _)| (!p.is_marked_as_root(), std::cmp::Reverse(p.size)));
    if all.is_empty() {
        bail!(
            "no partition of the image can be the root: only squashfs, erofs and ext4 can, and it has {}",
            list()
        );
    }
    Ok(all)
}

fn shown((p, s): &Seen) -> String {
    let what = match s {
        Some(s) if !s.label.is_empty() => format!("{} '{}'", s.format.as_str(), s.label),
        Some(s) => s.format.as_str().into(),
        None => "something else".into(),
    };
    format!("{} ({}, {what})", p.number, human_size(p.size))
}

/// As the kernel names it: sda2, but loop0p2 and nvme0n1p2.
fn node(disk: &Path, number: u32) -> PathBuf {
    let disk = disk.display().to_string();
    let p = if disk.ends_with(|c: char| c.is_ascii_digit()) { "p" } else { "" };
    format!("{disk}{p}{number}").into()
}

fn appeared(node: PathBuf) -> anyhow::Result<PathBuf> {
    let begun = Instant::now();
    while fs::symlink_metadata(&node).is_err() {
        if begun.elapsed() > PATIENCE {
            bail!("the kernel did not find the partition {}: see dmesg", node.display());
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(node)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bootspec::partition::ROOTS;

    fn disk() -> Vec<Seen> {
        let partition = |number, size, kind: &str| Partition {
            number,
            start: 0,
            size,
            uuid: format!("p{number}"),
            kind: kind.into(),
        };
        let ext4 = |label: &str| {
            Some(Superblock { format: Format::Ext4, label: label.into(), uuid: format!("u-{label}") })
        };
        vec![
            (partition(1, 100 << 20, "esp"), None),
            (partition(2, 1 << 30, "linux"), ext4("root")),
            (partition(3, 8 << 30, "linux"), ext4("home")),
            (partition(15, 1 << 30, "linux"), ext4("")),
        ]
    }

    fn order(seen: &[Seen], name: Option<&str>) -> Result<Vec<u32>, String> {
        let name = name.map(|n| n.parse().unwrap());
        let all = candidates(seen, name.as_ref()).map_err(|e| e.to_string())?;
        Ok(all.iter().map(|(p, _)| p.number).collect())
    }

    #[test]
    fn a_name_decides_else_the_type_else_the_size() {
        let mut seen = disk();
        assert_eq!(order(&seen, None).unwrap(), [3, 2, 15]);
        seen[1].0.kind = ROOTS[1].into();
        assert_eq!(order(&seen, None).unwrap(), [2, 3, 15]);
        for (name, number) in [("15", 15), ("LABEL=home", 3), ("UUID=U-ROOT", 2), ("PARTUUID=P2", 2)] {
            assert_eq!(order(&seen, Some(name)).unwrap(), [number], "{name}");
        }
    }

    #[test]
    fn what_cannot_be_is_told_with_what_there_is() {
        let seen = disk();
        assert_eq!(
            order(&seen, Some("LABEL=rot")).unwrap_err(),
            "the image has no partition LABEL=rot: it has 1 (100 MiB, something else), 2 (1.00 GiB, ext4 'root'), \
             3 (8.00 GiB, ext4 'home'), 15 (1.00 GiB, ext4); choose with boottorrent.partition="
        );
        assert_eq!(
            order(&seen, Some("1")).unwrap_err(),
            "partition 1 (100 MiB, something else) of the image cannot be the root: only squashfs, erofs and ext4 can; \
             choose with boottorrent.partition="
        );
        assert_eq!(
            order(&seen[..1], None).unwrap_err(),
            "no partition of the image can be the root: only squashfs, erofs and ext4 can, and it has 1 (100 MiB, something else)"
        );
    }

    #[test]
    fn nodes_as_the_kernel_names_them() {
        for (disk, partition) in
            [("/dev/sda", "/dev/sda2"), ("/dev/loop0", "/dev/loop0p2"), ("/dev/nvme0n1", "/dev/nvme0n1p2")]
        {
            assert_eq!(node(Path::new(disk), 2), Path::new(partition));
        }
    }
}
