// SPDX-License-Identifier: GPL-3.0-or-later
//! What the admin gives as files for machines: all of it is in memory, and what no machine could take is refused.

use crate::owner;
use anyhow::{Context, Result, bail, ensure};
use bootspec::{
    layer::{MAX_LAYER, MAX_MEMBERS, Values, Wish, wish},
    text::{count, printable},
};
use initrd::Compression;
use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File, Metadata},
    io::{BufReader, Read, Seek},
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::{FileTypeExt, MetadataExt},
    },
    path::Path,
};
use tar::EntryType;

/// What a path in it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A folder.
    Folder,
    /// A file with these bytes.
    File(Vec<u8>),
    /// A link to this.
    Link(Vec<u8>),
    /// Another name of the file at this path.
    Same(Vec<u8>),
}

/// A file, folder or link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What it is.
    pub what: What,
    /// Its permissions.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// Files, by their paths below the root of machines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// In the order of their paths.
    pub items: BTreeMap<Vec<u8>, Item>,
    bytes: usize,
}

impl Content {
    /// Read a folder, or a tarball, packed or not. Errors: one sentence with the path.
    pub fn read(from: &Path) -> Result<Content> {
        let _root = owner::act_as_root();
        let meta = fs::metadata(from).with_context(|| format!("reading {}", from.display()))?;
        let mut content = Content::default();
        match meta.is_dir() {
            true => content.folder(from, &mut Vec::new(), &mut HashMap::new())?,
            false => content.tarball(from).with_context(|| from.display().to_string())?,
        }
        content.check().with_context(|| from.display().to_string())?;
        Ok(content)
    }

    fn folder(
        &mut self,
        at: &Path,
        path: &mut Vec<u8>,
        names: &mut HashMap<(u64, u64), Vec<u8>>,
    ) -> Result<()> {
        let entries = fs::read_dir(at).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
        let mut entries = entries.with_context(|| format!("reading {}", at.display()))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let (from, length) = (entry.path(), path.len());
            if length > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(entry.file_name().as_bytes());
            let meta = entry.metadata().with_context(|| format!("reading {}", from.display()))?;
            let what = self.what(&from, path, &meta, names)?;
            let is_folder = what == What::Folder;
            let (mode, uid, gid) = (meta.mode() & 0o7777, meta.uid(), meta.gid());
            self.add(path.clone(), Item { what, mode, uid, gid })?;
            if is_folder {
                self.folder(&from, path, names)?;
            }
            path.truncate(length);
        }
        Ok(())
    }

    fn what(
        &self,
        from: &Path,
        path: &[u8],
        meta: &Metadata,
        names: &mut HashMap<(u64, u64), Vec<u8>>,
    ) -> Result<What> {
        let (kind, reading) = (meta.file_type(), || format!("reading {}", from.display()));
        if kind.is_dir() {
            return Ok(What::Folder);
        }
        if kind.is_symlink() {
            return Ok(What::Link(fs::read_link(from).with_context(reading)?.into_os_string().into_vec()));
        }
        if !kind.is_file() {
            let is_device = kind.is_block_device() || kind.is_char_device();
            return Err(not_taken(path, if is_device { "a device" } else { "a socket or a pipe" }));
        }
        if meta.nlink() > 1 {
            if let Some(first) = names.get(&(meta.dev(), meta.ino())) {
                return Ok(What::Same(first.clone()));
            }
            names.insert((meta.dev(), meta.ino()), path.to_vec());
        }
        let file = File::open(from).with_context(reading)?;
        Ok(What::File(self.bytes(file).with_context(reading)?))
    }

    fn tarball(&mut self, from: &Path) -> Result<()> {
        let mut file = File::open(from).context("opening it")?;
        let mut magic = [0; 6];
        let _ = file.read(&mut magic).context("reading it")?;
        file.rewind().context("reading it")?;
        let mut file = BufReader::new(file);
        match Compression::recognise(&magic) {
            None => self.tar(&mut file),
            Some(compression) => match compression.decoder(&mut file).context("unpacking it")? {
                Some(mut plain) => self.tar(&mut plain),
                None => bail!("it is packed with {}: use gzip, xz or zstd", compression.program().0),
            },
        }
    }

    fn tar(&mut self, from: &mut dyn Read) -> Result<()> {
        // Headers, padding, and what pads the end.
        let mut archive = tar::Archive::new(from.take(2 * MAX_LAYER as u64));
        let odd = "it is neither a folder nor a tarball";
        for entry in archive.entries().context(odd)? {
            let mut entry = entry.context(odd)?;
            let name = entry.path_bytes().into_owned();
            let name = name.strip_prefix(b"./").unwrap_or(&name);
            let path = name.strip_suffix(b"/").unwrap_or(name).to_vec();
            if matches!(&path[..], b"" | b".") {
                continue;
            }
            let header = entry.header().clone();
            let kind = header.entry_type();
            let target = || entry.link_name_bytes().map(|t| t.into_owned()).unwrap_or_default();
            let what = match kind {
                EntryType::Directory => What::Folder,
                EntryType::Symlink => What::Link(target()),
                EntryType::Link => {
                    let target = target();
                    What::Same(target.strip_prefix(b"./").unwrap_or(&target).to_vec())
                }
                EntryType::Regular | EntryType::Continuous => What::File(self.bytes(&mut entry)?),
                EntryType::XGlobalHeader => continue,
                EntryType::Block | EntryType::Char => return Err(not_taken(&path, "a device")),
                EntryType::Fifo => return Err(not_taken(&path, "a socket or a pipe")),
                _ => return Err(not_taken(&path, "of a kind that is not known here")),
            };
            let number = |n: std::io::Result<u64>| n.ok().and_then(|n| u32::try_from(n).ok()).context(odd);
            let (uid, gid) = (number(header.uid())?, number(header.gid())?);
            let mode = header.mode().context(odd)? & 0o7777;
            self.add(path, Item { what, mode, uid, gid })?;
        }
        Ok(())
    }

    /// All of a file, as far as there is room for it.
    fn bytes(&self, from: impl Read) -> Result<Vec<u8>> {
        let (mut bytes, room) = (Vec::new(), MAX_LAYER - self.bytes);
        from.take(room as u64 + 1).read_to_end(&mut bytes)?;
        ensure!(
            bytes.len() <= room,
            "the files have more than {} MiB: put large files into the image",
            MAX_LAYER >> 20
        );
        Ok(bytes)
    }

    /// What comes later takes the place of what was there, as in tar.
    fn add(&mut self, path: Vec<u8>, item: Item) -> Result<()> {
        let (_, wish) = wish(&path).map_err(anyhow::Error::msg)?;
        if let What::File(bytes) = &item.what {
            self.bytes += bytes.len();
            if matches!(wish, Wish::Fill(_))
                && let Some(word) = Values::unknown(bytes)
            {
                bail!(
                    "{}: {word} is not a valid placeholder: use {{{{name}}}}, {{{{mac}}}}, {{{{ip}}}}, {{{{group}}}} or {{{{serial}}}}",
                    shown(&path)
                );
            }
        } else if matches!(wish, Wish::Fill(_)) {
            bail!("{}: only a file can be a template", shown(&path));
        }
        self.items.insert(path, item);
        ensure!(
            self.items.len() <= MAX_MEMBERS,
            "there are more than {MAX_MEMBERS} files: put them into the image"
        );
        Ok(())
    }

    /// What only shows when all of it is there.
    fn check(&self) -> Result<()> {
        ensure!(!self.items.is_empty(), "there are no files in it");
        for (path, item) in &self.items {
            let above = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| &path[..at]);
            let odd = above.into_iter().find(|a| self.items.get(*a).is_some_and(|i| i.what != What::Folder));
            if let Some(odd) = odd {
                bail!("{} is not a folder, but {} is in it", shown(odd), shown(path));
            }
            if let What::Same(first) = &item.what {
                let there = matches!(self.items.get(first).map(|i| &i.what), Some(What::File(_)));
                ensure!(there, "{} is another name of {}, which is not in it", shown(path), shown(first));
            }
            let (folders, wish) = wish(path).map_err(anyhow::Error::msg)?;
            if let Wish::Fill(name) = wish {
                let filled = [folders, vec![name]].concat().join(&b'/');
                let both = self.items.contains_key(&filled);
                ensure!(!both, "{} and {} write the same file", shown(path), shown(&filled));
            }
        }
        Ok(())
    }

    /// What the admin should know of it: one sentence each.
    pub fn notes(&self) -> Vec<String> {
        let list = |items: Vec<&Vec<u8>>| {
            let first: Vec<String> = items.iter().take(3).map(|p| shown(p)).collect();
            let more = items.len().saturating_sub(3);
            if more > 0 { format!("{} and {more} more", first.join(", ")) } else { first.join(", ") }
        };
        let those = |is: &dyn Fn(&Item) -> bool| -> Vec<&Vec<u8>> {
            self.items.iter().filter(|(_, i)| is(i)).map(|(path, _)| path).collect()
        };
        let mut notes = Vec::new();
        let setuid = those(&|i| matches!(i.what, What::File(_)) && i.mode & 0o6000 != 0);
        if !setuid.is_empty() {
            notes.push(format!("these files are setuid or setgid: {}", list(setuid)));
        }
        let people = those(&|i| i.uid >= 1000);
        if !people.is_empty() {
            let what = count(people.len(), "file");
            notes.push(format!(
                "{what} not owned by root or a system user: {}; machines get the same owners",
                list(people)
            ));
        }
        notes
    }
}

fn not_taken(path: &[u8], what: &str) -> anyhow::Error {
    anyhow::anyhow!("{} is {what}: only files, folders and links are supported", shown(path))
}

fn shown(path: &[u8]) -> String {
    printable(&String::from_utf8_lossy(path), 120)
}

#[cfg(test)]
#[path = "content_tests.rs"]
mod tests;
