// SPDX-License-Identifier: GPL-3.0-or-later
//! Images that must be unpacked before they are one: compressed ones, and disks as programs for
//! virtual machines keep them. The result is sparse where there are zeros.

use super::tarball::Packing;
use crate::{catalogue::Staging, interrupt, meter::Meter, tool::Tool};
use anyhow::{Context, Result, bail};
use std::{
    fs::{self, File},
    io::{ErrorKind, Read},
    os::unix::fs::FileExt,
    path::Path,
};

/// An image that unpacks to more is none.
const MAX: u64 = 16 << 40;
/// Zeros of this length are left out of files.
const BLOCK: usize = 64 << 10;

/// A format that qemu-img reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Virtual {
    /// QEMU's.
    Qcow2,
    /// VMware's.
    Vmdk,
    /// VirtualBox's.
    Vdi,
    /// Hyper-V's.
    Vhdx,
}

impl Virtual {
    /// By content. `head`: how the file begins.
    pub fn recognise(head: &[u8]) -> Option<Virtual> {
        let at = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|b| b.starts_with(magic));
        match () {
            () if at(0, b"QFI\xfb") => Some(Virtual::Qcow2),
            () if at(0, b"KDMV") => Some(Virtual::Vmdk),
            () if at(64, &0xbeda_107f_u32.to_le_bytes()) => Some(Virtual::Vdi),
            () if at(0, b"vhdxfile") => Some(Virtual::Vhdx),
            () => None,
        }
    }

    /// As qemu-img calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Virtual::Qcow2 => "qcow2",
            Virtual::Vmdk => "vmdk",
            Virtual::Vdi => "vdi",
            Virtual::Vhdx => "vhdx",
        }
    }

    /// What of other files an image would have qemu-img read: it names them itself, and could name any.
    fn refers(self, head: &[u8]) -> Option<&'static str> {
        let zero = |range: std::ops::Range<usize>| head.get(range).is_none_or(|b| b.iter().all(|b| *b == 0));
        match self {
            Virtual::Qcow2 if !zero(8..16) => Some("a backing file"),
            // Incompatible feature 2, of version 3 on.
            Virtual::Qcow2 if head.get(7) > Some(&2) && head.get(79).is_some_and(|b| b & 4 != 0) => {
                Some("a data file of its own")
            }
            // Capacity 0: there is a description instead, with the names of files.
            Virtual::Vmdk if zero(12..20) => Some("other files"),
            _ => None,
        }
    }
}

/// Make a raw disk of it. `shown` names it in errors.
pub fn raw(from: &Path, format: Virtual, shown: &str, to: &Path) -> Result<()> {
    let mut head = Vec::new();
    let file = File::open(from).with_context(|| format!("opening {shown}"))?;
    file.take(512).read_to_end(&mut head).with_context(|| format!("reading {shown}"))?;
    if let Some(what) = format.refers(&head) {
        bail!(
            "'{shown}' is a {0} that needs {what}: make one whole image of it first, with `qemu-img convert -O {0}`",
            format.as_str()
        );
    }
    let mut meter = Meter::new("converting, written so far", None);
    Tool::new("qemu-img", "qemu-utils")
        .args(["convert", "-f", format.as_str(), "-O", "raw"])
        .args([from, to])
        .run(&mut || meter.update(written(to)))
}

fn written(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).map_or(0, |m| m.blocks() * 512)
}

/// Unpack a compressed image into the staging folder.
pub fn unpack(from: &Path, packing: Packing, name: &str, staging: &Staging) -> Result<()> {
    let mut running = packing.decompress(from)?.context("a compressed file")?;
    let to = staging.create(name)?;
    let mut meter = Meter::new("unpacking", None);
    let (mut at, mut buf) = (0, vec![0; BLOCK]);
    loop {
        interrupt::check()?;
        let mut have = 0;
        while have < BLOCK {
            match running.read(&mut buf[have..]) {
                Ok(0) => break,
                Ok(n) => have += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e).with_context(|| format!("unpacking {}", from.display())),
            }
        }
        if have == 0 {
            break;
        }
        if buf[..have].iter().any(|b| *b != 0) {
            to.write_all_at(&buf[..have], at).with_context(|| format!("unpacking {}", from.display()))?;
        }
        at += have as u64;
        if at > MAX {
            bail!("'{}' unpacks to more than {MAX} bytes", from.display());
        }
        meter.update(at);
    }
    to.set_len(at).with_context(|| format!("unpacking {}", from.display()))?;
    running.wait(&mut || ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_content() {
        let mut vdi = vec![0; 512];
        vdi[64..68].copy_from_slice(&[0x7f, 0x10, 0xda, 0xbe]);
        for (head, format) in [
            (&b"QFI\xfb\0\0\0\x03"[..], Some(Virtual::Qcow2)),
            (b"KDMV", Some(Virtual::Vmdk)),
            (b"vhdxfile", Some(Virtual::Vhdx)),
            (&vdi, Some(Virtual::Vdi)),
            (b"# Disk DescriptorFile", None),
            (b"", None),
        ] {
            assert_eq!(Virtual::recognise(head), format);
        }
    }

    #[test]
    fn what_names_other_files() {
        let qcow2 = |backing: u8, version: u8, features: u8| {
            let mut head = [b"QFI\xfb\0\0\0".as_slice(), &[version], &[0; 504]].concat();
            (head[15], head[79]) = (backing, features);
            Virtual::Qcow2.refers(&head)
        };
        assert_eq!(qcow2(0, 3, 1), None);
        assert_eq!(qcow2(9, 2, 0), Some("a backing file"));
        assert_eq!(qcow2(0, 3, 4), Some("a data file of its own"));
        assert_eq!(qcow2(0, 2, 4), None, "version 2 has something else there");
        assert_eq!(Virtual::Vmdk.refers(&[0; 512]), Some("other files"));
        let mut vmdk = [0; 512];
        vmdk[13] = 1;
        assert_eq!(Virtual::Vmdk.refers(&vmdk), None);
    }
}
