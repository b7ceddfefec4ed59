// SPDX-License-Identifier: GPL-3.0-or-later
//! Looking into an initrd: is our boot script in it, and our agent?
//!
//! An initrd is cpio archives (newc) one after the other, each of them plain or compressed in its own way, as the
//! kernel reads them (init/initramfs.c): microcode, compressed modules, the main one, an add-on. All are
//! read as streams; nothing is unpacked.

use crate::{family::FAMILIES, interrupt, tool::Tool};
use ::initrd::Compression;
use anyhow::{Context, Result, bail};
use bootspec::{KEYS_DIR, manifest::Family};
use std::{
    collections::{BTreeSet, HashSet},
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    path::Path,
};

/// What must be inside: made by initramfs-tools, the boot script; made by dracut, the hook of our module
/// (its folder is elsewhere since dracut 106); and in both, the agent.
const SCRIPT: &str = "scripts/boottorrent";
const HOOK: &str = "/dracut/hooks/mount/50-mount-boottorrent.sh";
const AGENT: &str = "usr/bin/boottorrent-agent";

/// What every initrd of dracut has.
const DRACUT_LIB: &str = "dracut-lib.sh";

/// An initrd that unpacks to more than this is none.
const MAX_UNPACKED: u64 = 8 << 30;
/// The kernel's own limit of names in it (PATH_MAX).
const MAX_NAME: u64 = 4096;

/// What is known of an initrd that was not made with our hook.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Foreign {
    /// Whose scripts are in it.
    pub family: Option<Family>,
    /// Whether what the add-on needs of it is there: what is not, in a sentence's end.
    pub lacks: Option<&'static str>,
}

/// Find out whose initrd it is. `shown` names it in errors.
pub fn family(initrd: &Path, shown: &str) -> Result<Foreign> {
    // Whether its mark is there, and what the add-on needs of it.
    let mut found = [(false, false); FAMILIES.len()];
    let archives = scan(initrd, &mut |name| {
        let file = name.rsplit('/').next().unwrap_or(name);
        let is = |known: &str| name == known || file == known;
        for ((mark, needs), spec) in found.iter_mut().zip(&FAMILIES) {
            *mark |= is(spec.mark);
            *needs |= spec.needs.as_ref().is_none_or(|n| n.any.iter().any(|known| is(known)));
        }
        true
    })
    .with_context(|| format!("reading the initrd {shown}"))?;
    if archives == 0 {
        bail!("{shown} is not an initrd: there is no cpio archive in it");
    }
    let Some((spec, (_, has))) = FAMILIES.iter().zip(found).find(|(_, (mark, _))| *mark) else {
        return Ok(Foreign::default());
    };
    let (family, lacks) = (Some(spec.family), spec.needs.as_ref().filter(|_| !has).map(|n| n.what));
    Ok(Foreign { family, lacks })
}

/// The kernel modules in an initrd, by name.
pub fn names(initrd: &Path, shown: &str) -> Result<HashSet<String>> {
    let mut found = HashSet::new();
    let module = |name: &str| name.contains(".ko").then(|| module_name(name));
    scan(initrd, &mut |name| {
        found.extend(module(name));
        true
    })
    .with_context(|| format!("reading the initrd {shown}"))?;
    Ok(found)
}

/// `kernel/fs/overlayfs/overlay.ko.xz` is called `overlay`; in names `-` and `_` are the same.
pub fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

/// The kernel versions for which there are modules in an initrd.
pub fn module_versions(initrd: &Path, shown: &str) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    scan(initrd, &mut |name| {
        let name = name.strip_prefix("usr/").unwrap_or(name);
        if let Some((version, rest)) = name.strip_prefix("lib/modules/").and_then(|n| n.split_once('/'))
            && rest.contains(".ko")
        {
            found.insert(version.to_owned());
        }
        true
    })
    .with_context(|| format!("reading the initrd {shown}"))?;
    Ok(found)
}

/// Whether there is a public key in an initrd: then it boots only what that key signed.
pub fn has_key(initrd: &Path, shown: &str) -> Result<bool> {
    let mut found = false;
    let folder = KEYS_DIR.trim_start_matches('/');
    scan(initrd, &mut |name| {
        found |= name.strip_prefix(folder).is_some_and(|file| file.ends_with(".pub"));
        !found
    })
    .with_context(|| format!("reading the initrd {shown}"))?;
    Ok(found)
}

/// Whether there is a driver for a network card in an initrd.
pub fn has_network(initrd: &Path, shown: &str) -> Result<bool> {
    let mut found = false;
    scan(initrd, &mut |name| {
        found |= name.contains("/kernel/drivers/net/") && name.contains(".ko");
        !found
    })
    .with_context(|| format!("reading the initrd {shown}"))?;
    Ok(found)
}

/// Refuse an initrd with which a machine would not boot from us. `shown` names it in the error.
pub fn check(initrd: &Path, shown: &str) -> Result<()> {
    let (mut script, mut agent, mut dracut) = (false, false, false);
    let archives = scan(initrd, &mut |name| {
        script |= name == SCRIPT || name.ends_with(HOOK);
        // usr-merged images have the agent in /usr/bin, whatever the archive calls it.
        agent |= name == AGENT || Some(name) == AGENT.strip_prefix("usr/");
        dracut |= name.rsplit('/').next() == Some(DRACUT_LIB);
        !(script && agent)
    })
    .with_context(|| format!("reading the initrd {shown}"))?;
    if archives == 0 {
        bail!("{shown} is not an initrd: there is no cpio archive in it");
    }
    let missing = match (script, agent, dracut) {
        (true, true, _) => return Ok(()),
        (false, _, true) => "BootTorrent's dracut module".to_owned(),
        (false, _, false) => format!("BootTorrent's boot script ({SCRIPT})"),
        (true, false, _) => format!("BootTorrent's agent ({AGENT})"),
    };
    let mend = if dracut {
        "install the package boottorrent-dracut in the image"
    } else {
        "install the package boottorrent-initramfs-tools in the image"
    };
    bail!("the initrd {shown} lacks {missing}: {mend}")
}

/// Call `each` with every name in the initrd until it says `false`. The number of archives seen.
fn scan(initrd: &Path, each: &mut dyn FnMut(&str) -> bool) -> Result<usize> {
    let file = File::open(initrd).with_context(|| format!("opening {}", initrd.display()))?;
    let mut plain = Stream::new(BufReader::with_capacity(1 << 16, file));
    let (mut count, mut unpacked) = (0, 0);
    while let End::Other(magic) = archives(&mut plain, &mut count, each)? {
        // The kernel stops at what it does not know; what does not begin with an archive is not an initrd.
        let Some(compression) = Compression::recognise(&magic) else { break };
        let start = plain.at - magic.len() as u64;
        plain.from.seek(SeekFrom::Start(start)).context("seeking")?;
        let Some(decoder) = compression.decoder(&mut plain.from).context("unpacking")? else {
            // Rare ones, of which nobody says where they end: what follows is not seen.
            let (program, package) = compression.program();
            let mut file = plain.from.into_inner();
            file.seek(SeekFrom::Start(start)).context("seeking")?;
            let mut inner = Stream::new(Tool::parser(program, package).arg("-dc").stdin(file).reader()?);
            archives(&mut inner, &mut count, each)?;
            break;
        };
        let mut inner = Stream::new(decoder);
        if archives(&mut inner, &mut count, each)? == End::Enough {
            break;
        }
        // To where the compressed part ends.
        inner.skip_all()?;
        unpacked += inner.at;
        if unpacked > MAX_UNPACKED {
            bail!("it unpacks to more than {MAX_UNPACKED} bytes");
        }
        drop(inner);
        plain.at = plain.from.stream_position().context("seeking")?;
    }
    Ok(count)
}

/// Why no more archives are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// There are no more bytes.
    Over,
    /// Something else follows, which begins so.
    Other([u8; 6]),
    /// Whoever is told the names has enough.
    Enough,
}

/// Read archives that are not compressed, one behind the other. `each` is told every name until it says `false`;
/// `count` grows with each archive.
pub fn archives<R: Read>(
    from: &mut Stream<R>,
    count: &mut usize,
    each: &mut dyn FnMut(&str) -> bool,
) -> Result<End> {
    while let Some(magic) = from.skip_padding()? {
        // An archive that does not begin at a multiple of four is none for the kernel.
        if !is_newc(&magic) || !(from.at - magic.len() as u64).is_multiple_of(4) {
            return Ok(End::Other(magic));
        }
        *count += 1;
        if !archive(from, magic, each)? {
            return Ok(End::Enough);
        }
    }
    Ok(End::Over)
}

fn is_newc(magic: &[u8; 6]) -> bool {
    matches!(magic, b"070701" | b"070702")
}

/// A reader that knows how far it is.
pub struct Stream<R> {
    from: R,
    at: u64,
}

impl<R: Read> Stream<R> {
    /// From its beginning.
    pub fn new(from: R) -> Stream<R> {
        Stream { from, at: 0 }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        self.from.read_exact(&mut out).context("the archive ends too early")?;
        self.at += N as u64;
        Ok(out)
    }

    fn skip(&mut self, bytes: u64) -> Result<()> {
        self.at += bytes;
        if self.at > MAX_UNPACKED {
            bail!("it unpacks to more than {MAX_UNPACKED} bytes");
        }
        interrupt::check()?;
        if io::copy(&mut self.from.by_ref().take(bytes), &mut io::sink()).context("reading")? < bytes {
            bail!("the archive ends too early");
        }
        Ok(())
    }

    fn skip_all(&mut self) -> Result<()> {
        let mut buf = vec![0; 1 << 16];
        loop {
            match self.from.read(&mut buf).context("unpacking")? as u64 {
                0 => return Ok(()),
                n => self.at += n,
            }
            if self.at > MAX_UNPACKED {
                bail!("it unpacks to more than {MAX_UNPACKED} bytes");
            }
            interrupt::check()?;
        }
    }

    /// To the next multiple of four: cpio's members begin there.
    fn align(&mut self) -> Result<()> {
        self.skip(self.at.next_multiple_of(4) - self.at)
    }

    /// The first six bytes that do not begin with zero; `None` at the end.
    fn skip_padding(&mut self) -> Result<Option<[u8; 6]>> {
        let mut first = [0];
        loop {
            if self.from.read(&mut first).context("reading")? == 0 {
                return Ok(None);
            }
            self.at += 1;
            if self.at > MAX_UNPACKED {
                return Ok(None);
            }
            if first[0] != 0 {
                break;
            }
        }
        let mut magic = [first[0], 0, 0, 0, 0, 0];
        match self.from.read_exact(&mut magic[1..]) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read.context("reading")?,
        }
        self.at += 5;
        Ok(Some(magic))
    }
}

/// Read one archive whose first magic is read already. `false`: `each` has enough.
fn archive<R: Read>(
    from: &mut Stream<R>,
    magic: [u8; 6],
    each: &mut dyn FnMut(&str) -> bool,
) -> Result<bool> {
    let mut magic = magic;
    loop {
        if !is_newc(&magic) {
            bail!("a member of the archive begins with {:?}", String::from_utf8_lossy(&magic));
        }
        let fields = from.take::<104>()?;
        let field = |n: usize| {
            let digits = std::str::from_utf8(&fields[n * 8..n * 8 + 8]).unwrap_or("");
            u64::from_str_radix(digits, 16).context("the archive has a damaged header")
        };
        let (size, name_size) = (field(6)?, field(11)?);
        if name_size > MAX_NAME {
            bail!("the archive has a name of {name_size} bytes");
        }
        let mut name = vec![0; name_size as usize];
        from.from.read_exact(&mut name).context("the archive ends too early")?;
        from.at += name_size;
        let name = String::from_utf8_lossy(&name);
        let name = name.trim_end_matches('\0').trim_start_matches("./").trim_start_matches('/');
        if name == "TRAILER!!!" {
            return Ok(true);
        }
        if !each(name) {
            return Ok(false);
        }
        from.align()?;
        from.skip(size)?;
        from.align()?;
        magic = from.take()?;
    }
}

#[cfg(test)]
#[path = "initrd_tests.rs"]
mod tests;
