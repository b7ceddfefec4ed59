// SPDX-License-Identifier: GPL-3.0-or-later
//! What disks this machine has, and what uses them: from /sys and /proc.

use bootspec::units::human_size;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A block device, whole or a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// Its name, as in /dev/NAME.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// What its maker numbered it with, if anything.
    pub serial: String,
    /// Whether it refuses to be written.
    pub read_only: bool,
    /// The disk that it is a partition of.
    pub part_of: Option<String>,
    /// Bytes of its logical sectors, in which partition tables count.
    pub sector: u32,
}

impl Disk {
    /// Its node.
    pub fn node(&self) -> PathBuf {
        Path::new("/dev").join(&self.name)
    }

    /// As it is told to people.
    pub fn shown(&self) -> String {
        let serial = if self.serial.is_empty() { String::new() } else { format!(", serial {}", self.serial) };
        format!("/dev/{} ({}{serial})", self.name, human_size(self.size))
    }
}

fn text(path: &Path) -> Option<String> {
    // VPD pages begin with binary.
    let text = String::from_utf8_lossy(&fs::read(path).ok()?).into_owned();
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    Some(text.trim().to_owned()).filter(|t| !t.is_empty())
}

/// What /sys says about a block device. `sys`: /sys but in tests.
pub fn disk(sys: &Path, name: &str) -> Option<Disk> {
    let at = sys.join("class/block").join(name);
    let number = |file: &str| text(&at.join(file)).and_then(|t| t.parse::<u64>().ok());
    let size = number("size")? << 9;
    let part_of = at.join("partition").exists().then(|| {
        let whole = at.canonicalize().ok().and_then(|p| Some(p.parent()?.file_name()?.to_owned()));
        whole.unwrap_or_default().to_string_lossy().into_owned()
    });
    // virtio has it at the disk, NVMe at the controller, SCSI and ATA in a page that begins with four bytes of header.
    let serial = text(&at.join("serial"))
        .or_else(|| text(&at.join("device/serial")))
        .or_else(|| vpd(&fs::read(at.join("device/vpd_pg80")).ok()?));
    Some(Disk {
        name: name.to_owned(),
        size,
        serial: serial.unwrap_or_default(),
        read_only: number("ro") == Some(1),
        part_of,
        sector: number("queue/logical_block_size").and_then(|n| n.try_into().ok()).unwrap_or(512),
    })
}

fn vpd(page: &[u8]) -> Option<String> {
    let serial = String::from_utf8_lossy(page.get(4..)?).trim_matches(['\0', ' ']).to_owned();
    (!serial.is_empty()).then_some(serial)
}

/// Whether a block device of this name is a disk or a partition of one, and not made by the kernel or of others.
pub fn is_disk(name: &str) -> bool {
    !["loop", "ram", "zram", "sr", "fd", "dm-"].iter().any(|p| name.starts_with(p))
}

/// Every whole disk that could hold something: no loop devices, RAM disks and the like.
pub fn all(sys: &Path) -> Vec<Disk> {
    let names = fs::read_dir(sys.join("class/block")).into_iter().flatten().flatten();
    let mut names: Vec<String> = names.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|n| is_disk(n));
    names.sort();
    let disks = names.iter().filter_map(|n| disk(sys, n));
    disks.filter(|d| d.part_of.is_none() && d.size > 0).collect()
}

/// `there are /dev/vda (…), …`, for a name that fits none.
pub fn told(disks: &[Disk]) -> String {
    match disks {
        [] => "there is none; check the cable, and that the initrd has its driver".into(),
        some => format!("there are {}", some.iter().map(Disk::shown).collect::<Vec<_>>().join(", ")),
    }
}

/// What uses a disk or one of its partitions, in words. `mounts`, `swaps`: the texts of /proc/self/mounts and /proc/swaps.
pub fn used(disk: &Disk, mounts: &str, swaps: &str) -> Option<String> {
    let ours = |node: &str| {
        let name = node.strip_prefix("/dev/")?;
        let rest = name.strip_prefix(&disk.name)?;
        let partition = rest.strip_prefix('p').unwrap_or(rest).chars().all(|c| c.is_ascii_digit());
        partition.then(|| node.to_owned())
    };
    let mounted = mounts.lines().find_map(|l| {
        let mut words = l.split(' ');
        let node = ours(words.next()?)?;
        Some(format!("{node} is mounted on {}", words.next()?.replace("\\040", " ")))
    });
    let swap = || {
        let node = swaps.lines().find_map(|l| ours(l.split_whitespace().next()?))?;
        Some(format!("{node} is used as swap"))
    };
    mounted.or_else(swap)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sys() {
        let sys = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = sys.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("class/block/vda/size", "2048\n");
        put("class/block/vda/serial", "S1\n");
        put("class/block/vda/ro", "0\n");
        put("class/block/sda/size", "4096\n");
        put("class/block/sda/ro", "1\n");
        put("class/block/sda/device/vpd_pg80", "\0\u{1}\0\u{4} WD-7 ");
        put("class/block/vda1/size", "8\n");
        put("class/block/vda1/partition", "1\n");
        put("class/block/loop0/size", "8\n");
        put("class/block/sdb/size", "0\n");
        let all = all(sys.path());
        assert_eq!(told(&all), "there are /dev/sda (2.00 MiB, serial WD-7), /dev/vda (1.00 MiB, serial S1)");
        assert!(all[0].read_only && !all[1].read_only);
        assert!(disk(sys.path(), "vda1").unwrap().part_of.is_some());
        assert_eq!(disk(sys.path(), "null"), None);
        assert!(told(&[]).starts_with("there is none"));
    }

    #[test]
    fn who_uses_it() {
        let disk = |name: &str| Disk { name: name.into(), ..Disk::default() };
        let mounts =
            "proc /proc proc rw 0 0\n/dev/vdb1 /mnt/my\\040disk ext4 rw 0 0\n/dev/nvme0n1p2 / ext4 rw 0 0\n";
        let swaps = "Filename Type Size\n/dev/sda5 partition 100 0 -2\n";
        let used = |name: &str| used(&disk(name), mounts, swaps);
        assert_eq!(used("vdb").unwrap(), "/dev/vdb1 is mounted on /mnt/my disk");
        assert_eq!(used("nvme0n1").unwrap(), "/dev/nvme0n1p2 is mounted on /");
        assert_eq!(used("sda").unwrap(), "/dev/sda5 is used as swap");
        assert_eq!(used("vd"), None);
        assert_eq!(used("vda"), None);
        assert_eq!(used("sd"), None);
    }
}
