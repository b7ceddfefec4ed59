// SPDX-License-Identifier: GPL-3.0-or-later
//! A live ISO whose own initrd machines take out of the ISO: they are sent an initrd that this server makes, with the modules
//! of the ISO's.

use crate::{
    catalogue::{INITRD, Staging, own::Index},
    family::spec,
    import::{
        own::{self, Contents, KernelFacts},
        tree::Tree,
    },
    interrupt,
};
use ::initrd::{Section, walk};
use anyhow::{Context, Result};
use bootspec::{
    live::{IsoPart, LIVE, LiveInitrd},
    manifest::Family,
};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
    path::Path,
};

/// Files of an ISO begin at multiples of this.
const SECTOR: u64 = 2048;
/// So much of an ISO is read at a time.
const STEP: usize = 1 << 20;
/// Files of an ISO that begin as a part of the initrd does, and are compared with it.
const MAX_TRIES: usize = 16;
/// An initrd that unpacks to more than this would not fit into many machines.
const MAX_UNPACKED: u64 = 2 << 30;
/// What a tmpfs gives a file at once.
const PAGE: u64 = 4096;
/// What our initrd loads before the ISO's own takes over.
const MODULES: [&str; 2] = ["af_packet", "loop"];

/// Kernel and initrd of an ISO.
pub struct LiveBoot<'a> {
    /// Whose initrd it is.
    pub family: Family,
    /// Where on the ISO it is, for people.
    pub from: &'a str,
    /// Of the files that the initrd in the staging folder consists of.
    pub sizes: &'a [u64],
    /// The kernel's version.
    pub version: Option<&'a str>,
}

/// Make it. The inner error says why machines must be sent the ISO's own initrd instead.
pub fn make(iso: &Path, boot: &LiveBoot, staging: &Staging) -> Result<Result<Index, String>> {
    let LiveBoot { family, from, sizes, version } = *boot;
    if !spec(family).second {
        return Ok(Err(format!("it cannot hand over to an initrd of {}", family.as_str())));
    }
    let initrd = File::open(staging.path(INITRD)).context("opening the initrd")?;
    let (mut parts, mut begin) = (Vec::new(), 0);
    let file = File::open(iso).with_context(|| format!("opening {}", iso.display()))?;
    for size in sizes {
        let Some(at) = find(&file, &Section::new(&initrd, begin, *size), *size)? else {
            return Ok(Err(format!("{from} is not stored on the ISO in one piece")));
        };
        parts.push(IsoPart { at, size: *size });
        begin = (begin + size).next_multiple_of(4);
    }
    let (modules, unpacked) = match Modules::read(&initrd, begin, staging)? {
        Ok(read) => read,
        Err(why) => return Ok(Err(format!("{from} {why}"))),
    };
    let live = LiveInitrd { family, unpacked, parts };
    let live = serde_json::to_vec(&live).context("writing where the initrd is")?;
    let contents = Contents {
        modules: MODULES.to_vec(),
        files: [(LIVE.trim_start_matches('/').to_owned(), live.into())].into(),
    };
    // An ISO has its kernel's configuration inside its root, where it is not looked for.
    let kernel = KernelFacts { version, unpacks_xz: true, fallback: true };
    own::make(&modules, &contents, &kernel, staging)
}

/// Where on an ISO the bytes of a file are.
fn find(iso: &File, wanted: &Section, size: u64) -> Result<Option<u64>> {
    let mut head = vec![0; SECTOR.min(size) as usize];
    wanted.clone().read_exact(&mut head).context("reading the initrd")?;
    let mut buf = vec![0; STEP];
    let (mut at, mut tries) = (0, 0);
    loop {
        interrupt::check()?;
        let n = read_some(iso, &mut buf, at)?;
        for (n, sector) in buf[..n].chunks(SECTOR as usize).enumerate() {
            let start = at + n as u64 * SECTOR;
            if !sector.starts_with(&head) {
                continue;
            }
            if tries == MAX_TRIES {
                return Ok(None);
            }
            tries += 1;
            if is_same(Section::new(iso, start, size), wanted.clone())? {
                return Ok(Some(start));
            }
        }
        if n < STEP {
            return Ok(None);
        }
        at += STEP as u64;
    }
}

/// As much as there is, up to all of `buf`.
fn read_some(file: &File, buf: &mut [u8], at: u64) -> Result<usize> {
    let mut n = 0;
    while n < buf.len() {
        match file.read_at(&mut buf[n..], at + n as u64).context("reading the ISO")? {
            0 => break,
            more => n += more,
        }
    }
    Ok(n)
}

/// Whether both have the same bytes.
pub fn is_same(mut one: impl Read, mut other: impl Read) -> Result<bool> {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    loop {
        interrupt::check()?;
        a.clear();
        b.clear();
        one.by_ref().take(STEP as u64).read_to_end(&mut a).context("reading the ISO")?;
        other.by_ref().take(STEP as u64).read_to_end(&mut b).context("reading the initrd")?;
        if a != b || a.is_empty() {
            return Ok(a == b);
        }
    }
}

/// Kernel modules and firmware of an initrd: their bytes are in one file without a name, so no path of theirs is ever ours.
struct Modules {
    bytes: File,
    files: BTreeMap<String, (u64, u64)>,
}

impl Modules {
    /// Those of an initrd of this size, and the bytes of a tmpfs that all of it takes. The inner error says why machines could
    /// not unpack it.
    fn read(initrd: &File, size: u64, staging: &Staging) -> Result<Result<(Modules, u64), String>> {
        let mut bytes = tempfile::tempfile_in(staging.path("")).context("creating a temporary file")?;
        let (mut files, mut at, mut unpacked) = (BTreeMap::new(), 0, 0);
        let walked = walk(Section::new(initrd, 0, size), MAX_UNPACKED, &mut |member, from| {
            interrupt::check()?;
            unpacked += member.size.next_multiple_of(PAGE);
            let Ok(name) = std::str::from_utf8(&member.name) else { return Ok(()) };
            let of = |folder: &str| name.strip_prefix("usr/").unwrap_or(name).starts_with(folder);
            if member.mode & 0o170_000 == 0o100_000 && (of("lib/modules/") || of("lib/firmware/")) {
                let copied = io::copy(from, &mut bytes).context("copying a kernel module")?;
                files.insert(name.to_owned(), (at, copied));
                at += copied;
            }
            Ok(())
        });
        let walked = match walked {
            Ok(walked) => walked,
            Err(e) => return Ok(Err(format!("cannot be unpacked on machines: {e:#}"))),
        };
        if let Some(packed) = walked.packed.iter().find(|p| !p.is_usual()) {
            return Ok(Err(format!("is packed with {}, which the agent cannot unpack", packed.program().0)));
        }
        Ok(Ok((Modules { bytes, files }, unpacked)))
    }
}

impl Tree for Modules {
    fn names(&self, folder: &str) -> Result<Vec<String>> {
        let below = self.files.keys().filter_map(|path| path.strip_prefix(folder)?.strip_prefix('/'));
        let mut names: Vec<String> = below.filter_map(|p| p.split('/').next()).map(str::to_owned).collect();
        names.dedup();
        Ok(names)
    }

    fn link(&self, _: &str) -> Result<Option<String>> {
        Ok(None)
    }

    fn read(&self, path: &str, to: &mut File) -> Result<()> {
        let (at, size) = self.files.get(path).with_context(|| format!("the initrd has no /{path}"))?;
        io::copy(&mut Section::new(&self.bytes, *at, *size), to)
            .map(drop)
            .with_context(|| format!("copying /{path}"))
    }
}

/// Length of a file, before what is copied to its end.
pub fn length(file: &mut File) -> Result<u64> {
    file.seek(SeekFrom::End(0)).context("seeking in the initrd")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_file_is_found_where_it_begins() {
        let (mut iso, mut file) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let content: Vec<u8> = (0..3_000_000u32).map(|n| (n / 7) as u8).collect();
        file.write_all(&content).unwrap();
        let mut bytes = vec![0; 5 << 20];
        // Another file begins the same.
        bytes[4096..4096 + 4000].copy_from_slice(&content[..4000]);
        let at = (1 << 20) - 2048;
        bytes[at..at + content.len()].copy_from_slice(&content);
        iso.write_all(&bytes).unwrap();
        let found = |size| find(&iso, &Section::new(&file, 0, size), size).unwrap();
        assert_eq!(found(3_000_000), Some(at as u64));
        assert_eq!(found(100), Some(4096));
        iso.write_all_at(b"x", at as u64 + 2_999_999).unwrap();
        assert_eq!(found(3_000_000), None, "its last byte differs");
    }
}
