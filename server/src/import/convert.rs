// SPDX-License-Identifier: GPL-3.0-or-later
//! Images that must be unpacked before they are one: compressed ones, and disks as programs for
//! virtual machines keep them. The result is sparse where there are zeros.

use super::{
    refers::refers,
    tarball::{HOURS, Packing},
    virtual_disk::Virtual,
};
use crate::{
    catalogue::{PAYLOAD, Staging},
    interrupt,
    meter::Meter,
    tool::Tool,
};
use anyhow::{Context, Result, bail};
use bootspec::units::human_size;
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
/// Bytes between two looks at the room.
const LOOK: u64 = 1 << 20;

/// Make a raw disk of it, which is the payload. `shown` names it in errors.
pub fn raw(from: &Path, format: Virtual, shown: &str, staging: &Staging) -> Result<()> {
    let file = File::open(from).with_context(|| format!("opening {shown}"))?;
    let needs = refers(&file, format).with_context(|| format!("reading {shown}"))?;
    if let Some(what) = needs {
        bail!(
            "'{shown}' is a {0} that needs {what}: make one whole image of it first, with `qemu-img convert -O {0}`",
            format.as_str()
        );
    }
    let size = virtual_size(from, format)?;
    if size > MAX {
        bail!("'{shown}' is a disk of {}; an image has at most {}", human_size(size), human_size(MAX));
    }
    let payload = staging.path(PAYLOAD);
    staging.create(PAYLOAD)?.set_len(size).with_context(|| format!("making {}", payload.display()))?;
    let (meter, room) = (Meter::new("converting, written so far", None), staging.room());
    let convert = Tool::parser("qemu-img", "qemu-utils")
        .bounds(|b| (b.seconds, b.file) = (HOURS, MAX))
        .args(["convert", "-n", "--target-is-zero", "-O", "raw"])
        .file_as(from, |name| format.described(name))?
        .to_file(&payload)?;
    convert.run_watched(&mut || {
        meter.update(written(&payload));
        room.keep()
    })
}

/// The size of the disk in an image.
fn virtual_size(from: &Path, format: Virtual) -> Result<u64> {
    #[derive(serde::Deserialize)]
    struct Info {
        #[serde(rename = "virtual-size")]
        size: u64,
    }
    let tool = Tool::parser("qemu-img", "qemu-utils").args(["info", "--output=json"]);
    let told = tool.file_as(from, |name| format.described(name))?.output(1 << 20)?;
    let info: Info = serde_json::from_str(&told).context("reading what qemu-img says of the image")?;
    Ok(info.size)
}

fn written(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).map_or(0, |m| m.blocks() * 512)
}

/// Unpack a compressed image into the staging folder.
pub fn unpack(from: &Path, packing: Packing, name: &str, staging: &Staging) -> Result<()> {
    let mut running = packing.decompress(from)?.context("a compressed file")?;
    let (to, room) = (staging.create(name)?, staging.room());
    let meter = Meter::new("unpacking", None);
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
        if at % LOOK == 0 {
            room.keep()?;
        }
        if at > MAX {
            bail!("'{}' unpacks to more than {MAX} bytes", from.display());
        }
        meter.update(at);
    }
    to.set_len(at).with_context(|| format!("unpacking {}", from.display()))?;
    running.wait(&mut || ())
}
