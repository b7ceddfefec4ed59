// SPDX-License-Identifier: GPL-3.0-or-later
//! Files become a layer: the same bytes for the same files and the same machine or group.

use super::content::{Content, Item, What};
use crate::hosts::EntryKey;
use anyhow::{Result, ensure};
use bootspec::{
    layer::{MAX_LAYER, WHITEOUT, head, split},
    text::printable,
};
use flate2::{Compression, GzBuilder};
use initrd::Member;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{Cursor, Write},
};

const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const KIND: u32 = 0o170_000;
/// Headers and padding of an archive, beside what is in it.
const HEADERS: u64 = 32 << 20;

/// The layer of these files for a machine, a group or everybody.
pub fn layer(content: &Content, who: &EntryKey) -> Result<Vec<u8>> {
    packed(content, who, GzBuilder::new())
}

/// The same for private files, with a random number in it: the sum, which everybody may read, tells nothing of them.
pub fn private_layer(content: &Content, who: &EntryKey) -> Result<Vec<u8>> {
    let salt: [u8; 16] = rand::random();
    let salt: String = salt.iter().map(|b| format!("{b:02x}")).collect();
    packed(content, who, GzBuilder::new().comment(salt))
}

fn packed(content: &Content, who: &EntryKey, gzip: GzBuilder) -> Result<Vec<u8>> {
    let removes = |path: &[u8]| {
        path.rsplit(|b| *b == b'/').next().is_some_and(|name| name.starts_with(WHITEOUT.as_bytes()))
    };
    // Removals are of what was there before: they come first, whatever their names.
    let mut order: Vec<(&Vec<u8>, &Item)> = content.items.iter().collect();
    order.sort_by_key(|(path, _)| !removes(path));
    let first = |path: &'_ [u8], item: &'_ Item| match &item.what {
        What::Same(first) => first.clone(),
        _ => path.to_vec(),
    };
    let mut names: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    order.iter().for_each(|(path, item)| *names.entry(first(path, item)).or_default() += 1);
    let mut numbers: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    let mut archive = Vec::new();
    for (path, item) in order {
        let (file, next) = (first(path, item), numbers.len() as u64 + 1);
        let links = names[&file];
        // The first of several names has the bytes.
        let is_new = !numbers.contains_key(&file);
        let number = *numbers.entry(file.clone()).or_insert(next);
        let (kind, bytes) = match &item.what {
            What::Folder => (FOLDER, &[][..]),
            What::Link(to) => (LINK, &to[..]),
            What::File(_) | What::Same(_) if !is_new => (FILE, &[][..]),
            What::File(bytes) => (FILE, &bytes[..]),
            What::Same(_) => match &content.items[&file].what {
                What::File(bytes) => (FILE, &bytes[..]),
                _ => (FILE, &[][..]),
            },
        };
        let Item { mode, uid, gid, .. } = *item;
        let (name, mode, inode) = (path.clone(), kind | mode, (number, 0, 0));
        initrd::append(
            &mut archive,
            &Member { name, mode, uid, gid, inode, links, ..Member::default() },
            bytes,
        );
    }
    initrd::end(&mut archive);
    let mut gzip = gzip.mtime(0).write(head(&who.to_string()).into_bytes(), Compression::best());
    gzip.write_all(&archive).expect("a Vec takes everything");
    let layer = gzip.finish().expect("a Vec takes everything");
    ensure!(
        layer.len() <= MAX_LAYER,
        "the packed files have more than {} MiB: put large files into the image",
        MAX_LAYER >> 20
    );
    Ok(layer)
}

/// What is in a layer, a line for each file as `ls -l` has it.
pub fn list(layer: &[u8]) -> Result<String> {
    let (_, archive) = split(layer).map_err(anyhow::Error::msg)?;
    let mut out = String::new();
    initrd::walk(Cursor::new(archive), MAX_LAYER as u64 + HEADERS, &mut |member, bytes| {
        let Member { name, mode, uid, gid, size, .. } = member;
        let mut target = String::new();
        let kind = match mode & KIND {
            FOLDER => 'd',
            LINK => {
                let mut to = Vec::new();
                bytes.read_to_end(&mut to)?;
                target = format!(" -> {}", printable(&String::from_utf8_lossy(&to), 200));
                'l'
            }
            _ => '-',
        };
        let bit = |at: u32, c: char| if mode & (1 << at) != 0 { c } else { '-' };
        let bits: String = (0..9).rev().map(|at| bit(at, ['x', 'w', 'r'][at as usize % 3])).collect();
        let special = if mode & 0o6000 != 0 { "  setuid or setgid" } else { "" };
        let name = printable(&String::from_utf8_lossy(name), 300);
        let owner = format!("{uid}:{gid}");
        writeln!(out, "{kind}{bits} {owner:<11} {size:>9} {name}{target}{special}")?;
        Ok(())
    })?;
    Ok(out)
}
