// SPDX-License-Identifier: GPL-3.0-or-later
//! All members of an initrd, with their bytes.

use super::Compression;
use anyhow::{Context, Result, bail, ensure};
use std::io::{self, BufReader, Read, Seek, SeekFrom};

/// The kernel's own limit of names in it (PATH_MAX).
const MAX_NAME: u64 = 4096;
const MAGIC: usize = 6;

/// A file, folder, link or device in an archive (cpio(5), newc).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Its path, without `/` or `./` in front.
    pub name: Vec<u8>,
    /// In which archive it is, from 1 on.
    pub archive: usize,
    /// Its number in that archive, and those of the disk it was on: hard links have the same.
    pub inode: (u64, u64, u64),
    /// Kind and permissions, as in stat(2).
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// How many names it has.
    pub links: u64,
    /// Bytes. Of several names of a file, the last one has them.
    pub size: u64,
    /// Of a device: major and minor number.
    pub device: (u64, u64),
}

/// What an initrd consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// The number of archives.
    pub archives: usize,
    /// How they are packed.
    pub packed: Vec<Compression>,
}

/// Called with each member and its bytes.
type Each<'a> = dyn FnMut(&Member, &mut dyn Read) -> Result<()> + 'a;

/// Read an initrd that unpacks to at most `most` bytes. As the kernel does, stop at what is not an archive.
pub fn walk(from: impl Read + Seek, most: u64, each: &mut Each) -> Result<Walked> {
    let mut from = BufReader::with_capacity(1 << 16, from);
    let (mut walked, mut at, mut unpacked) = (Walked::default(), 0, 0);
    loop {
        let mut plain = Stream { from: &mut from, at, most };
        let Some(magic) = archives(&mut plain, &mut walked.archives, each)? else { break };
        let start = plain.at - MAGIC as u64;
        let Some(compression) = Compression::recognise(&magic) else { break };
        from.seek(SeekFrom::Start(start)).context("seeking")?;
        let Some(mut decoder) = compression.decoder(&mut from).context("unpacking")? else {
            bail!("it is packed with {}, which is not known here", compression.program().0);
        };
        walked.packed.push(compression);
        let mut inner = Stream { from: &mut *decoder, at: 0, most: most - unpacked };
        archives(&mut inner, &mut walked.archives, each)?;
        // To where the packed part ends.
        inner.skip_all()?;
        unpacked += inner.at;
        drop(decoder);
        at = from.stream_position().context("seeking")?;
    }
    Ok(walked)
}

/// Archives that are not packed. `None`: there is no more. Otherwise what follows begins with these bytes.
fn archives(from: &mut Stream, count: &mut usize, each: &mut Each) -> Result<Option<[u8; MAGIC]>> {
    while let Some(magic) = from.skip_padding()? {
        // An archive that does not begin at a multiple of four is none for the kernel.
        if !is_newc(&magic) || !(from.at - MAGIC as u64).is_multiple_of(4) {
            return Ok(Some(magic));
        }
        *count += 1;
        archive(from, *count, magic, each)?;
    }
    Ok(None)
}

fn archive(from: &mut Stream, archive: usize, first: [u8; MAGIC], each: &mut Each) -> Result<()> {
    let mut magic = first;
    loop {
        ensure!(is_newc(&magic), "a member of the archive begins with {:?}", String::from_utf8_lossy(&magic));
        let fields = from.bytes::<104>()?;
        let field = |n: usize| {
            let digits = std::str::from_utf8(&fields[n * 8..n * 8 + 8]).unwrap_or("");
            u64::from_str_radix(digits, 16).context("the archive has a damaged header")
        };
        let (size, length) = (field(6)?, field(11)?);
        ensure!(length <= MAX_NAME, "the archive has a name of {length} bytes");
        let mut name = vec![0; length as usize];
        from.exact(&mut name)?;
        while name.last() == Some(&0) {
            name.pop();
        }
        if name == b"TRAILER!!!" {
            return Ok(());
        }
        name.drain(..in_front(&name));
        let member = Member {
            name,
            archive,
            inode: (field(0)?, field(7)?, field(8)?),
            mode: field(1)? as u32,
            uid: field(2)? as u32,
            gid: field(3)? as u32,
            links: field(4)?,
            size,
            device: (field(9)?, field(10)?),
        };
        from.align()?;
        ensure!(size <= from.most.saturating_sub(from.at), "it unpacks to more than {} bytes", from.most);
        let end = from.at + size;
        each(&member, &mut (&mut *from).take(size))?;
        // What nobody has read.
        from.skip(end - from.at)?;
        from.align()?;
        magic = from.bytes()?;
    }
}

/// Bytes of `/` and `./` that a name begins with.
fn in_front(name: &[u8]) -> usize {
    let mut rest = name;
    while let Some(shorter) = rest.strip_prefix(b"/").or_else(|| rest.strip_prefix(b"./")) {
        rest = shorter;
    }
    name.len() - rest.len()
}

fn is_newc(magic: &[u8; MAGIC]) -> bool {
    matches!(magic, b"070701" | b"070702")
}

/// A reader that knows how far it is, and ends at `most` bytes.
struct Stream<'a> {
    from: &'a mut dyn Read,
    at: u64,
    most: u64,
}

impl Read for Stream<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(to)?;
        self.at += n as u64;
        if self.at > self.most {
            return Err(io::Error::other(format!("it unpacks to more than {} bytes", self.most)));
        }
        Ok(n)
    }
}

impl Stream<'_> {
    fn exact(&mut self, to: &mut [u8]) -> Result<()> {
        self.read_exact(to).context("reading an archive")
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        self.exact(&mut out).map(|()| out)
    }

    fn skip(&mut self, bytes: u64) -> Result<()> {
        let skipped =
            io::copy(&mut self.by_ref().take(bytes), &mut io::sink()).context("reading an archive")?;
        ensure!(skipped == bytes, "the archive ends too early");
        Ok(())
    }

    fn skip_all(&mut self) -> Result<()> {
        io::copy(self, &mut io::sink()).context("unpacking").map(drop)
    }

    /// To the next multiple of four: cpio's members begin there.
    fn align(&mut self) -> Result<()> {
        self.skip(self.at.next_multiple_of(4) - self.at)
    }

    /// The first bytes that do not begin with zero; `None` at the end.
    fn skip_padding(&mut self) -> Result<Option<[u8; MAGIC]>> {
        let mut magic = [0; MAGIC];
        while magic[0] == 0 {
            if self.read(&mut magic[..1]).context("reading")? == 0 {
                return Ok(None);
            }
        }
        match self.read_exact(&mut magic[1..]) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            read => read.context("reading").map(|()| Some(magic)),
        }
    }
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
