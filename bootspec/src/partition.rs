// SPDX-License-Identifier: GPL-3.0-or-later
//! Partition tables (GPT and MBR), as much of them as a boot needs. No I/O.
//!
//! Server and agent both read them. Numbers and PARTUUIDs are those of Linux.
//! What is read may be hostile: every table is bounded, and nothing is believed
//! beyond the disk's end. The crates that do this either stop at what Linux
//! takes (hybrid tables, logical partitions) or fall over headers that lie.

use crate::manifest::Format;
use std::{fmt, io, str::FromStr};

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// As in /dev/sdaN.
    pub number: u32,
    /// Its first byte.
    pub start: u64,
    /// Its bytes.
    pub size: u64,
    /// What Linux calls PARTUUID.
    pub uuid: String,
    /// The type: a GUID, or two hex digits.
    pub kind: String,
}

/// The types of a root filesystem for x86-64 and arm64 (Discoverable Partitions Specification).
pub const ROOTS: [&str; 2] = ["4f68bce3-e8cd-4db1-96e7-fbcaf984b709", "b921b045-1df0-41c3-af44-4c6f280d3fae"];

impl Partition {
    /// Whether its type says that it is the root.
    pub fn is_marked_as_root(&self) -> bool {
        ROOTS.contains(&self.kind.as_str())
    }
}

/// What is on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// "GPT" or "MBR".
    pub scheme: &'static str,
    /// Bytes of the sectors that it counts in.
    pub sector: u32,
    /// In the order of their numbers.
    pub partitions: Vec<Partition>,
    /// Where the last partition or the second table ends: the disk has at least these bytes.
    pub needs: u64,
}

/// Partitions at most: what Linux looks at.
const MAX: usize = 256;

type Read<'a> = &'a mut dyn FnMut(u64, usize) -> io::Result<Vec<u8>>;

impl Table {
    /// Read the table. `read` gives that many bytes from an offset. `None`: there is none that can be read.
    pub fn read(read: Read) -> io::Result<Option<Table>> {
        let first = read(0, 512)?;
        if first[510..512] != [0x55, 0xaa] {
            return Ok(None);
        }
        let slots = slots(&first);
        if slots.iter().any(|s| s.kind == 0xee) {
            for sector in [512, 4096] {
                if let Some(table) = gpt(read, sector)? {
                    return Ok(Some(table));
                }
            }
            return Ok(None);
        }
        mbr(read, &first, &slots).map(Some)
    }
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + N].iter().rev().fold(0, |n, b| n << 8 | u64::from(*b))
}

/// The second and third byte groups of a GUID are stored backwards.
fn guid(b: &[u8]) -> String {
    const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    let mut out = String::new();
    for (n, at) in ORDER.into_iter().enumerate() {
        let dash = if matches!(n, 4 | 6 | 8 | 10) { "-" } else { "" };
        out += &format!("{dash}{:02x}", b[at]);
    }
    out
}

/// As in Ethernet and gzip; the tables are small.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { c >> 1 ^ 0xedb8_8320 } else { c >> 1 })
    })
}

fn gpt(read: Read, sector: u64) -> io::Result<Option<Table>> {
    let mut head = read(sector, 512)?;
    let size = number::<4>(&head, 12) as usize;
    if !head.starts_with(b"EFI PART") || !(92..=512).contains(&size) {
        return Ok(None);
    }
    let sum = number::<4>(&head, 16) as u32;
    head[16..20].fill(0);
    let (second, first_entry) = (number::<8>(&head, 32), number::<8>(&head, 72));
    let (count, each) = (number::<4>(&head, 80) as usize, number::<4>(&head, 84) as usize);
    if crc32(&head[..size]) != sum || count > MAX || !(128..=512).contains(&each) {
        return Ok(None);
    }
    let Some(at) = first_entry.checked_mul(sector) else { return Ok(None) };
    let entries = read(at, count * each)?;
    if crc32(&entries) != number::<4>(&head, 88) as u32 {
        return Ok(None);
    }
    let mut partitions = Vec::new();
    for (n, e) in entries.chunks_exact(each).enumerate().filter(|(_, e)| e[..16] != [0; 16]) {
        let (first, last) = (number::<8>(e, 32), number::<8>(e, 40));
        let span = last.checked_sub(first).and_then(|s| s.checked_add(1));
        let bytes = |sectors: u64| sectors.checked_mul(sector);
        let (Some(start), Some(size), Some(_)) =
            (bytes(first), span.and_then(bytes), last.checked_add(1).and_then(bytes))
        else {
            return Ok(None);
        };
        let (uuid, kind) = (guid(&e[16..32]), guid(&e[..16]));
        partitions.push(Partition { number: n as u32 + 1, start, size, uuid, kind });
    }
    let backup = second.saturating_add(1).saturating_mul(sector);
    let needs = partitions.iter().map(|p| p.start + p.size).fold(backup, u64::max);
    Ok(Some(Table { scheme: "GPT", sector: sector as u32, partitions, needs }))
}

/// One of the four places of an MBR.
struct Slot {
    number: u32,
    kind: u8,
    start: u64,
    size: u64,
}

impl Slot {
    fn extended(&self) -> bool {
        matches!(self.kind, 0x05 | 0x0f | 0x85)
    }
}

/// The places that are taken.
fn slots(sector: &[u8]) -> Vec<Slot> {
    let slot = |n: usize| {
        let at = 446 + 16 * n;
        let (start, size) = (number::<4>(sector, at + 8) * 512, number::<4>(sector, at + 12) * 512);
        Slot { number: n as u32 + 1, kind: sector[at + 4], start, size }
    };
    (0..4).map(slot).filter(|s| s.kind != 0 && s.size > 0).collect()
}

fn mbr(read: Read, first: &[u8], slots_: &[Slot]) -> io::Result<Table> {
    let signature = number::<4>(first, 440);
    let partition = |number: u32, kind: u8, start: u64, size: u64| Partition {
        number,
        start,
        size,
        uuid: format!("{signature:08x}-{number:02x}"),
        kind: format!("{kind:02x}"),
    };
    let plain = slots_.iter().filter(|s| !s.extended());
    let mut partitions: Vec<_> = plain.map(|s| partition(s.number, s.kind, s.start, s.size)).collect();
    let mut needs = slots_.iter().map(|s| s.start + s.size).max().unwrap_or(512);
    // Logical partitions: a chain of sectors, each with one partition and the place of the next sector.
    if let Some(extended) = slots_.iter().find(|s| s.extended()) {
        let mut at = extended.start;
        // By the links and not by what was found: there may be links only.
        for _ in 0..MAX {
            let sector = read(at, 512)?;
            let inner = if sector[510..512] == [0x55, 0xaa] { slots(&sector) } else { Vec::new() };
            if let Some(s) = inner.iter().find(|s| !s.extended()) {
                let number = partitions.iter().map(|p| p.number + 1).max().unwrap_or(0).max(5);
                partitions.push(partition(number, s.kind, at + s.start, s.size));
                needs = needs.max(at + s.start + s.size);
            }
            // Forward only: a chain that turns back has no end.
            match inner.iter().find(|s| s.extended()).map(|s| extended.start + s.start) {
                Some(next) if next > at => at = next,
                _ => break,
            }
        }
    }
    Ok(Table { scheme: "MBR", sector: 512, partitions, needs })
}

/// What a filesystem says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// What it is.
    pub format: Format,
    /// Its label; squashfs has none.
    pub label: String,
    /// Its UUID; squashfs has none.
    pub uuid: String,
}

/// A filesystem's UUID as text. `bytes`: 16, in their order.
pub fn uuid(bytes: &[u8]) -> String {
    let hex = |b: &[u8]| b.iter().map(|b| format!("{b:02x}")).collect::<String>();
    [&bytes[..4], &bytes[4..6], &bytes[6..8], &bytes[8..10], &bytes[10..]].map(hex).join("-")
}

impl Superblock {
    /// Read it. `head`: the first [`crate::manifest::MAGIC_BYTES`] bytes, or fewer if there are no more.
    pub fn read(head: &[u8]) -> Option<Superblock> {
        let format = Format::recognise(head)?;
        let text = |at: usize| {
            let bytes = head.get(at..at + 16).unwrap_or_default();
            let text = bytes.split(|b| *b == 0).next().unwrap_or_default();
            String::from_utf8_lossy(text).into_owned()
        };
        let uuid = |at: usize| uuid(head.get(at..at + 16).unwrap_or(&[0; 16]));
        let (label, uuid) = match format {
            Format::Squashfs => (String::new(), String::new()),
            Format::Erofs => (text(1024 + 64), uuid(1024 + 48)),
            Format::Ext4 => (text(1024 + 120), uuid(1024 + 104)),
        };
        Some(Superblock { format, label, uuid })
    }
}

/// A partition as admins name it: by number, or by what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartitionName {
    /// As in /dev/sdaN.
    Number(u32),
    /// The label of the filesystem.
    Label(String),
    /// The UUID of the filesystem.
    Uuid(String),
    /// The UUID of the partition.
    PartUuid(String),
}

/// How a [`PartitionName`] is written.
pub const PARTITION: &str = "N|LABEL=…|UUID=…|PARTUUID=…";

impl FromStr for PartitionName {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let bad = || format!("'{s}' names no partition: write {PARTITION}");
        if let Ok(n @ 1..) = s.parse() {
            return Ok(PartitionName::Number(n));
        }
        let plain = |v: &&str| !v.is_empty() && v.len() <= 200 && !v.chars().any(char::is_control);
        match s.split_once('=').filter(|(_, v)| plain(v)) {
            Some(("LABEL", v)) => Ok(PartitionName::Label(v.to_owned())),
            Some(("UUID", v)) => Ok(PartitionName::Uuid(v.to_owned())),
            Some(("PARTUUID", v)) => Ok(PartitionName::PartUuid(v.to_owned())),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for PartitionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PartitionName::Number(n) => write!(f, "{n}"),
            PartitionName::Label(v) => write!(f, "LABEL={v}"),
            PartitionName::Uuid(v) => write!(f, "UUID={v}"),
            PartitionName::PartUuid(v) => write!(f, "PARTUUID={v}"),
        }
    }
}

impl PartitionName {
    /// What the kernel's own `root=` says about a disk image: of a device's name only the number counts.
    pub fn from_root(root: &str) -> Option<PartitionName> {
        let Some(path) = root.strip_prefix("/dev/") else { return root.parse().ok() };
        if let Some((folder, value)) = path.strip_prefix("disk/by-").and_then(|p| p.split_once('/')) {
            let key = match folder {
                "label" => "LABEL",
                "uuid" => "UUID",
                "partuuid" => "PARTUUID",
                _ => return None,
            };
            return format!("{key}={value}").parse().ok();
        }
        let digits = path.len() - path.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let name = &path[..path.len() - digits];
        // sda2, vda2; nvme0n1p2, mmcblk0p2.
        let disk = ["sd", "vd", "hd", "xvd"].iter().any(|d| name.starts_with(d)) || name.ends_with('p');
        if disk { path[path.len() - digits..].parse().ok() } else { None }
    }

    /// Whether it is this one. `label`, `id`: of the filesystem in it.
    pub fn is(&self, partition: &Partition, label: &str, id: &str) -> bool {
        match self {
            PartitionName::Number(n) => partition.number == *n,
            PartitionName::Label(l) => l == label,
            PartitionName::Uuid(u) => u.eq_ignore_ascii_case(id),
            PartitionName::PartUuid(u) => u.eq_ignore_ascii_case(&partition.uuid),
        }
    }
}

#[cfg(test)]
#[path = "partition_tests.rs"]
mod tests;
