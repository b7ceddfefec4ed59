// SPDX-License-Identifier: GPL-3.0-or-later
//! Making the payload: a copy of an image, or a filesystem packed from a root
//! directory or a root tarball. Owners, device nodes, extended attributes and
//! hard links are kept.

use super::{convert::HOURS, tarball::Packing};
use crate::{
    catalogue::Staging,
    interrupt,
    meter::Meter,
    tool::{Running, Tool},
};
use anyhow::{Context, Result, bail};
use bootspec::manifest::Format;
use nix::{
    errno::Errno,
    unistd::{Whence, lseek64},
};
use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::DirBuilderExt,
    path::Path,
};

/// Bytes copied between two looks at the clock and the interrupt flag.
const STEP: u64 = 16 << 20;

/// The filesystem that directories and tarballs are packed into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Compress {
    /// squashfs with zstd: the smallest.
    #[default]
    Squashfs,
    /// erofs with lz4hc: larger, and faster to read.
    Erofs,
}

impl Compress {
    /// The payload's format.
    pub fn format(self) -> Format {
        match self {
            Compress::Squashfs => Format::Squashfs,
            Compress::Erofs => Format::Erofs,
        }
    }
}

/// Copy an image.
pub fn copy(from: &Path, size: u64, staging: &Staging) -> Result<()> {
    let shown = from.display();
    let mut source = File::open(from).with_context(|| format!("opening {shown}"))?;
    let mut to = staging.create(crate::catalogue::PAYLOAD)?;
    let mut meter = Meter::new("copying", Some(size));
    let (mut done, reading) = (0, || format!("copying {shown}"));
    loop {
        interrupt::check()?;
        // Holes stay holes: disk images are full of them.
        let data = match lseek64(&source, done as i64, Whence::SeekData) {
            Ok(at) => at as u64,
            Err(Errno::ENXIO) => break,
            Err(_) => done,
        };
        let end = lseek64(&source, data as i64, Whence::SeekHole).map_or(u64::MAX, |at| at as u64);
        source.seek(SeekFrom::Start(data)).with_context(reading)?;
        to.seek(SeekFrom::Start(data)).with_context(reading)?;
        // copy_file_range(2) by way of io::copy: no bytes move where the filesystem can share them.
        let step = STEP.min(end.saturating_sub(data)).max(1);
        match io::copy(&mut source.by_ref().take(step), &mut to).with_context(reading)? {
            0 => break,
            n => done = data + n,
        }
        meter.update(done);
    }
    let now = source.metadata().with_context(reading)?.len();
    done = done.max(now);
    to.set_len(done).with_context(reading)?;
    if done != size {
        bail!("'{shown}' changed while it was read: it had {size} bytes, and now {done}");
    }
    Ok(())
}

/// Pack a root directory.
pub fn directory(root: &Path, compress: Compress, staging: &Staging) -> Result<()> {
    let payload = staging.path(crate::catalogue::PAYLOAD);
    let tool = match compress {
        Compress::Squashfs => {
            squashfs(Tool::new("mksquashfs", "squashfs-tools").arg(root).arg(&payload)).arg("-noappend")
        }
        Compress::Erofs => erofs(Tool::new("mkfs.erofs", "erofs-utils")).arg(&payload).arg(root),
    };
    tool.run_watched(&mut growing(&payload, staging))
}

/// Pack a root tarball.
pub fn tarball(archive: &Path, packing: Packing, compress: Compress, staging: &Staging) -> Result<()> {
    let payload = staging.path(crate::catalogue::PAYLOAD);
    let mut unpacking = packing.decompress(archive)?;
    let stdin = match &mut unpacking {
        Some(running) => running.take_stdout()?,
        None => File::open(archive).with_context(|| format!("opening {}", archive.display()))?.into(),
    };
    match compress {
        Compress::Squashfs => {
            // sqfstar does not take the root folder's own entry ("./") from the archive: 0777 without these.
            let root = ["-root-mode", "755", "-root-uid", "0", "-root-gid", "0", "-root-time", "0"];
            // It packs owners and devices as the archive has them: for that it need not be root. Its memory it bounds itself.
            let tool = Tool::parser("sqfstar", "squashfs-tools")
                .bounds(|b| (b.seconds, b.memory, b.file) = (24 * 3600, None, 16 << 40));
            let tool = squashfs(tool).arg("-force").args(root).to_file(&payload)?;
            tool.stdin(stdin).run_watched(&mut growing(&payload, staging))?;
        }
        Compress::Erofs => {
            if !nix::unistd::geteuid().is_root() {
                bail!(
                    "making an erofs from a tarball needs root, so that owners and devices are kept: use sudo, or --compress squashfs"
                );
            }
            let scratch = staging.path("root");
            DirBuilder::new()
                .mode(0o755)
                .create(&scratch)
                .with_context(|| format!("creating {}", scratch.display()))?;
            let keep =
                ["--numeric-owner", "--same-owner", "--same-permissions", "--xattrs", "--xattrs-include=*"];
            // Root, since it makes files of all owners, but nowhere else.
            let tar = Tool::parser("tar", "tar")
                .as_root()
                .bounds(|b| (b.seconds, b.file) = (HOURS, 16 << 40))
                .args(["-x", "-f", "-"])
                .args(keep)
                .into_folder(&scratch, |name| format!("--directory={name}"))?;
            tar.stdin(stdin).run_watched(&mut || staging.room().keep())?;
            directory(&scratch, compress, staging)?;
            fs::remove_dir_all(&scratch).with_context(|| format!("deleting {}", scratch.display()))?;
        }
    }
    // A damaged archive may still have looked whole to the program that read it, which may stop
    // reading at the archive's end mark, before the padding behind it.
    unpacking.map_or(Ok(()), Running::wait_unread)
}

/// The same tree gives the same bytes, whenever and wherever it is packed.
fn squashfs(tool: Tool) -> Tool {
    tool.args(["-comp", "zstd", "-mkfs-time", "0", "-no-progress", "-quiet", "-exit-on-error"])
}

/// Likewise: a fixed UUID, and a build time that no file is newer than. Files keep their times: Python compares them.
fn erofs(tool: Tool) -> Tool {
    tool.args(["-zlz4hc", "-U", "b0077022-0000-4000-8000-000000000000"])
        .env("SOURCE_DATE_EPOCH", "4102444800")
}

fn growing(payload: &Path, staging: &Staging) -> impl FnMut() -> Result<()> {
    let mut meter = Meter::new("packing, written so far", None);
    move || {
        meter.update(fs::metadata(payload).map_or(0, |m| m.len()));
        staging.room().keep()
    }
}
