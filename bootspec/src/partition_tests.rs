// SPDX-License-Identifier: GPL-3.0-or-later
use super::*;
use proptest::prelude::*;

/// A disk with a GPT of two partitions: an ESP and a root, as sgdisk makes it.
pub fn gpt_disk() -> Vec<u8> {
    let mut disk = vec![0; 1 << 20];
    disk[446 + 4] = 0xee;
    disk[446 + 8] = 1;
    disk[446 + 12..446 + 16].fill(0xff);
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    let mut entries = vec![0; 128 * 128];
    for (n, (first, last)) in [(34u64, 99u64), (100, 2000)].into_iter().enumerate() {
        let e = &mut entries[n * 2 * 128..][..128];
        e[..16].copy_from_slice(&[
            0xe3, 0xbc, 0x68, 0x4f, 0xcd, 0xe8, 0xb1, 0x4d, 0x96, 0xe7, 0xfb, 0xca, 0xf9, 0x84, 0xb7, 0x09,
        ]);
        e[16] = n as u8 + 1;
        e[32..40].copy_from_slice(&first.to_le_bytes());
        e[40..48].copy_from_slice(&last.to_le_bytes());
    }
    let head = &mut disk[512..1024];
    head[..8].copy_from_slice(b"EFI PART");
    head[12] = 92;
    head[24] = 1;
    head[32..40].copy_from_slice(&2047u64.to_le_bytes());
    head[72] = 2;
    head[80] = 128;
    head[84] = 128;
    head[88..92].copy_from_slice(&crc32(&entries).to_le_bytes());
    let sum = crc32(&head[..92]);
    head[16..20].copy_from_slice(&sum.to_le_bytes());
    disk[1024..1024 + entries.len()].copy_from_slice(&entries);
    disk
}

fn table(disk: &[u8]) -> io::Result<Option<Table>> {
    Table::read(&mut |at, len| {
        assert!(len <= 256 * 512, "bounded");
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let bytes = at.checked_add(len).and_then(|end| disk.get(at..end));
        bytes.map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    })
}

#[test]
fn the_usual_check_value_of_crc32() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}

#[test]
fn gpt() {
    let t = table(&gpt_disk()).unwrap().unwrap();
    assert_eq!((t.scheme, t.needs), ("GPT", 1 << 20));
    let root = &t.partitions[1];
    // Numbers are places in the table, gaps included.
    assert_eq!((root.number, root.start, root.size), (3, 51200, 1901 * 512));
    assert_eq!((root.kind.as_str(), root.uuid.as_str()), (ROOTS[0], "00000002-0000-0000-0000-000000000000"));
    let mut damaged = gpt_disk();
    damaged[1024 + 33] ^= 1;
    assert_eq!(table(&damaged).unwrap(), None, "what Linux does not take, neither do we");
}

#[test]
fn mbr_with_logical_partitions() {
    let mut disk = vec![0; 64 << 10];
    disk[440..444].copy_from_slice(&0xdead_beef_u32.to_le_bytes());
    let mut put = |sector: usize, slot: usize, kind: u8, start: u8, size: u8| {
        let at = sector * 512 + 446 + 16 * slot;
        (disk[at + 4], disk[at + 8], disk[at + 12]) = (kind, start, size);
        disk[sector * 512 + 510..sector * 512 + 512].copy_from_slice(&[0x55, 0xaa]);
    };
    put(0, 0, 0x83, 2, 8);
    put(0, 1, 0x05, 20, 60);
    put(20, 0, 0x83, 1, 9);
    put(20, 1, 0x05, 20, 30);
    put(40, 0, 0x82, 1, 29);
    put(40, 1, 0x05, 20, 30);
    let t = table(&disk).unwrap().unwrap();
    assert_eq!((t.scheme, t.needs), ("MBR", 80 * 512));
    let seen: Vec<_> = t.partitions.iter().map(|p| (p.number, p.start / 512, p.size / 512)).collect();
    assert_eq!(seen, [(1, 2, 8), (5, 21, 9), (6, 41, 29)]);
    assert_eq!(t.partitions[1].uuid, "deadbeef-05");
}

/// Each sector names the next one, and none has a partition: it is left before the disk is read to its end.
#[test]
fn a_chain_without_partitions_ends() {
    let link = |to: u32| {
        let mut sector = vec![0; 512];
        (sector[446 + 4], sector[446 + 12]) = (0x05, 1);
        sector[446 + 8..446 + 12].copy_from_slice(&to.to_le_bytes());
        sector[510..512].copy_from_slice(&[0x55, 0xaa]);
        sector
    };
    let mut reads = 0;
    let t = Table::read(&mut |at, _| {
        reads += 1;
        Ok(link((at / 512) as u32 + u32::from(at == 0)))
    });
    assert_eq!((t.unwrap().unwrap().partitions.len(), reads <= 300), (0, true), "{reads}");
}

#[test]
fn superblocks() {
    let mut head = vec![0; 2048];
    head[1080..1082].copy_from_slice(&[0x53, 0xef]);
    head[1128..1144].copy_from_slice(&[0x11; 16]);
    head[1144..1148].copy_from_slice(b"root");
    let ext4 = Superblock::read(&head).unwrap();
    assert_eq!((ext4.format, ext4.label.as_str()), (Format::Ext4, "root"));
    assert_eq!(ext4.uuid, "11111111-1111-1111-1111-111111111111");
    assert_eq!(Superblock::read(b"hsqs").unwrap().label, "");
    assert_eq!(Superblock::read(&[]), None);
}

#[test]
fn no_table() {
    assert_eq!(table(&[0; 512]).unwrap(), None);
    assert!(table(&[0; 100]).is_err());
}

#[test]
fn names() {
    for text in ["2", "LABEL=root", "UUID=ab-c", "PARTUUID=6d1f4c0e-01"] {
        assert_eq!(text.parse::<PartitionName>().unwrap().to_string(), text);
    }
    for bad in ["0", "", "two", "LABEL=", "/dev/sda1"] {
        assert!(bad.parse::<PartitionName>().is_err(), "{bad}");
    }
    let n = |n| Some(PartitionName::Number(n));
    for (root, name) in [
        ("/dev/vda2", n(2)),
        ("/dev/nvme0n1p15", n(15)),
        ("/dev/sda", None),
        ("/dev/nvme0n1", None),
        ("/dev/mapper/vg0", None),
        ("/dev/nfs", None),
        ("live:CDLABEL=x", None),
        ("/dev/disk/by-label/sys", Some(PartitionName::Label("sys".into()))),
        ("PARTUUID=1-2", Some(PartitionName::PartUuid("1-2".into()))),
    ] {
        assert_eq!(PartitionName::from_root(root), name, "{root}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(flips in proptest::collection::vec((0usize..17408, any::<u8>()), 0..12), sealed: bool) {
        let mut disk = gpt_disk();
        for (at, to) in flips {
            disk[at] = to;
        }
        if sealed {
            // Lies with a right checksum.
            let sum = crc32(&disk[1024..1024 + 128 * 128]);
            disk[512 + 88..512 + 92].copy_from_slice(&sum.to_le_bytes());
            disk[512 + 16..512 + 20].fill(0);
            let sum = crc32(&disk[512..512 + 92]);
            disk[512 + 16..512 + 20].copy_from_slice(&sum.to_le_bytes());
        }
        let _ = table(&disk);
    }
}
