// SPDX-License-Identifier: GPL-3.0-or-later
//! Kernel command lines, manifests, and what is on disks.

use crate::shape::{self, Ask};
use bootspec::{
    ImageManifest, InfoHash, Params,
    device::{DeviceName, Overlay, Target},
    ltsp::Ltsp,
    manifest::Content,
    partition::{PartitionName, Superblock, Table},
    text::clean,
    trust::{Evidence, Keys, Newest, Statement, Wanted},
    units,
    vlan::Vlan,
};
use std::{
    io::{Error, ErrorKind},
    path::Component,
};

/// What is read of a command line means the same when it is written again.
pub fn cmdline(data: &[u8]) {
    let line = String::from_utf8_lossy(data);
    let (mut params, remarks) = Params::parse(&line);
    for remark in &remarks {
        shape::one_line(&clean(&remark.to_string(), &[]));
    }
    let written = params.render();
    let (again, _) = Params::parse(&written);
    // The kernel knows no way to write a quote: those are left out, once.
    assert_eq!(Params::parse(&again.render()).0.render(), again.render());
    if remarks.is_empty() && !line.contains('"') {
        assert_eq!(again.render(), written, "{line:?}");
    }
    for name in params.target.iter().filter_map(|t| match t {
        Target::Cache(name) | Target::Device(name) => Some(name),
        Target::Ram | Target::Stream => None,
    }) {
        device(name);
    }
    if let Overlay::Kept(name) = &params.overlay {
        device(name);
    }
    params.mkfs.iter().for_each(device);
    let name = params.image.clone();
    if let Ok(Some(ltsp)) = Ltsp::adopt(&mut params, &line) {
        assert!(ltsp.path.components().all(|c| matches!(c, Component::Normal(_))), "{ltsp:?}");
    } else {
        assert_eq!(params.image, name);
    }
    if let Ok(Some(vlan)) = Vlan::of(&line) {
        assert!((1..=15).contains(&vlan.name.len()) && (1..4095).contains(&vlan.id), "{vlan:?}");
        assert!(!vlan.name.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control()), "{vlan:?}");
    }
    let _ = PartitionName::from_root(&line);
    for parse in [units::parse_size, units::parse_rate] {
        let _ = parse(&line);
    }
}

/// It is below /dev, and nothing else.
fn device(name: &DeviceName) {
    let text = name.to_string();
    assert!(!text.contains(char::is_control), "{text:?}");
    match name {
        DeviceName::Path(path) => {
            let rest = path.strip_prefix("/dev/").expect("below /dev");
            assert!(rest.split('/').all(|p| !["", ".", ".."].contains(&p)), "{path:?}");
        }
        DeviceName::Label(v) | DeviceName::Uuid(v) | DeviceName::PartUuid(v) | DeviceName::Serial(v) => {
            assert!(!v.contains('/') && !["", ".", ".."].contains(&v.as_str()), "{v:?}");
        }
    }
}

/// A manifest that was changed by hand, or came with a catalogue from elsewhere.
pub fn manifest(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(manifest) = toml::from_str::<ImageManifest>(&text) else { return };
    let name = manifest.name.as_str();
    assert!(!name.contains(['/', '\0', ' ', '"', '$', '\'']) && !name.starts_with('.') && name.is_ascii());
    let again = toml::to_string(&manifest).expect("it was TOML");
    assert_eq!(toml::from_str::<ImageManifest>(&again).expect("our own"), manifest);
    shape::one_line(&manifest.what());
    let append = manifest.append.clone();
    let ask = Ask { wanted: None, append: &append, mac: Some("52-54-00-00-00-01") };
    shape::scripts(std::slice::from_ref(&manifest), ask);
    shape::scripts(&[manifest, shape::image("other")], ask);
}

/// Reads of a disk that an honest or a lying table may take.
const MAX_READS: usize = 600;

/// A disk: its partition table, also with the sums of a GPT put right, and the filesystem at its beginning.
pub fn partition(data: &[u8]) {
    table(data);
    if let Some(sealed) = sealed(data) {
        table(&sealed);
    }
    let _ = Content::recognise(data);
    let _ = boottorrent_agent::superblock::recognise(data);
    if let Some(superblock) = Superblock::read(data) {
        // Sixteen bytes, each of which may become a sign for what is not text.
        assert!(superblock.label.len() <= 48 && superblock.uuid.len() <= 36);
    }
}

fn table(disk: &[u8]) {
    let mut reads = 0;
    let read = Table::read(&mut |at, len| {
        reads += 1;
        assert!(len <= 256 * 512 && reads <= MAX_READS, "bounded");
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let part = at.checked_add(len).and_then(|end| disk.get(at..end));
        part.map(<[u8]>::to_vec).ok_or_else(|| Error::from(ErrorKind::UnexpectedEof))
    });
    let Ok(Some(table)) = read else { return };
    assert!(table.partitions.len() <= 256 + 4);
    for p in &table.partitions {
        assert!(p.start.checked_add(p.size).is_some_and(|end| end <= table.needs) && p.number > 0, "{p:?}");
        shape::one_line(&format!("{} {}", p.uuid, p.kind));
    }
}

/// The same disk with checksums of its GPT that are right: else nothing behind them would ever be read.
fn sealed(disk: &[u8]) -> Option<Vec<u8>> {
    let mut disk = disk.to_vec();
    let number = |disk: &[u8], at: usize| {
        disk.get(at..at + 4).map(|b| u32::from_le_bytes(b.try_into().expect("four")) as usize)
    };
    let (count, each) = (number(&disk, 512 + 80)?, number(&disk, 512 + 84)?);
    let first = number(&disk, 512 + 72)?.checked_mul(512)?;
    let entries = disk.get(first..first.checked_add(count.checked_mul(each)?)?)?;
    let sum = crc32fast::hash(entries);
    disk.get_mut(512 + 88..512 + 92)?.copy_from_slice(&sum.to_le_bytes());
    disk[512 + 16..512 + 20].fill(0);
    let head = disk.get(512..512 + number(&disk, 512 + 12)?.min(512))?;
    let sum = crc32fast::hash(head);
    disk[512 + 16..512 + 20].copy_from_slice(&sum.to_le_bytes());
    Some(disk)
}

/// A key of the tests, made once by minisign: nobody signs with it.
const KEY: &str = include_str!("test.pub");

/// A statement, and behind an empty line its signature, judged by a machine with one key.
pub fn statement(data: &[u8]) {
    let end = data.windows(2).position(|w| w == b"\n\n").map_or(data.len(), |at| at + 1);
    let signature = data.get(end + 1..).unwrap_or_default();
    let evidence = Evidence { statement: data[..end].to_vec(), signature: signature.to_vec() };
    if let Ok(statement) = Statement::parse(&evidence.statement) {
        // There is one way to write it.
        assert_eq!(statement.to_string().as_bytes(), evidence.statement);
        assert!(!statement.parameters.contains(char::is_control));
    }
    let mut keys = Keys::default();
    keys.add(KEY.as_bytes()).expect("a key of minisign");
    let newest = Newest::new();
    let wanted = Wanted { name: Some("lab"), infohash: InfoHash([0xab; 20]), size: 1 << 20, newest: &newest };
    match keys.judge(&evidence, &wanted) {
        Ok(signed) => panic!("nobody has the secret key: {signed:?}"),
        Err(why) => shape::one_line(&clean(&why.sentence("lab", &keys), &[])),
    }
    // Whatever is put among the keys.
    let _ = Keys::default().add(data);
}
