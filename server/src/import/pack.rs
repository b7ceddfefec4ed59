// SPDX-License-Identifier: GPL-3.0-or-later
//! Making the payload: a copy of an image, or a filesystem packed from a root
//! directory or a root tarball. Owners, device nodes, extended attributes and
//! hard links are kept.

use super::{
    exclude::{self, Exclude},
    request::{Compress, Request},
    tarball::Packing,
    tree::{Folder, Tree},
};
use crate::{
    catalogue::Staging,
    import::tarball::HOURS,
    interrupt,
    meter::Meter,
    tool::{Running, Tool},
};
use anyhow::{Context, Result, bail};
use bootspec::units::human_size;
use nix::{
    errno::Errno,
    unistd::{Whence, lseek64},
};
use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::{DirBuilderExt, FileExt},
    path::{Path, PathBuf},
    process::Stdio,
};

/// Bytes copied between two looks at the clock and the interrupt flag.
const STEP: u64 = 16 << 20;

/// Copy an image.
pub fn copy(from: &Path, size: u64, staging: &Staging) -> Result<()> {
    let shown = from.display();
    let mut source = File::open(from).with_context(|| format!("opening {shown}"))?;
    let mut to = staging.create(crate::catalogue::PAYLOAD)?;
    let meter = Meter::new("copying", Some(size));
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

/// Pack a root directory, without the kernels and initrds in it; what the admin should hear comes back.
pub fn directory(
    root: &Path,
    compress: Compress,
    exclude: &[Exclude],
    staging: &Staging,
) -> Result<Vec<String>> {
    let payload = staging.path(crate::catalogue::PAYLOAD);
    let (left, bytes) = boot_files(root)?;
    let excluded = exclude::all(exclude);
    let tool = match compress {
        Compress::Squashfs => {
            let tool = Tool::new("mksquashfs", "squashfs-tools").arg(root).arg(&payload);
            // Everything behind `-e` is left out.
            let patterns = excluded.iter().chain(&left).map(Exclude::for_squashfs);
            squashfs(tool).args(["-noappend", "-regex", "-e"]).args(patterns)
        }
        Compress::Erofs => {
            let patterns = excluded.iter().chain(&left).map(|e| format!("--exclude-regex={}", e.for_erofs()));
            erofs(Tool::new("mkfs.erofs", "erofs-utils")).args(patterns).arg(&payload).arg(root)
        }
    };
    let mut notes = heard(compress.tool(), &tool.run_heard(&mut growing(&payload, staging))?);
    if bytes > 0 {
        notes.push(format!("kernels and initrds ({}) are left out of the payload", human_size(bytes)));
    }
    notes.extend(exclude::notes(root, exclude)?);
    Ok(notes)
}

/// Kernels and initrds of a root, and their bytes: machines have loaded theirs before they fetch the payload.
fn boot_files(root: &Path) -> Result<(Vec<Exclude>, u64)> {
    let tree = Folder(root.to_owned());
    let names = tree.names("boot")?.into_iter();
    let is_one = |n: &String| !n.contains('*') && BOOT_FILES.iter().any(|begin| n.starts_with(begin));
    let mut found: Vec<String> = names.filter(is_one).map(|n| format!("boot/{n}")).collect();
    for version in tree.names("usr/lib/modules")? {
        found.push(format!("usr/lib/modules/{version}/vmlinuz"));
    }
    let size =
        |path: &String| fs::symlink_metadata(root.join(path)).ok().filter(|m| m.is_file()).map(|m| m.len());
    let mut sized: Vec<(String, u64)> =
        found.into_iter().filter_map(|p| Some((size(&p)?, p)).map(|(s, p)| (p, s))).collect();
    sized.sort();
    let bytes = sized.iter().map(|(_, size)| size).sum();
    Ok((sized.into_iter().map(|(path, _)| Exclude::file(path)).collect(), bytes))
}

/// How the names of kernels and initrds in /boot begin.
const BOOT_FILES: [&str; 4] = ["vmlinuz-", "initrd.img-", "initrd-", "initramfs-"];

/// What a tarball became.
pub enum Unpacked {
    /// A folder, as root makes it. With what the admin should hear.
    Folder(PathBuf, Vec<String>),
    /// The payload itself: without root rights nothing can be unpacked with its owners.
    Payload(Vec<String>),
}

/// Unpack a root tarball, or pack it as it comes.
pub fn tarball(archive: &Path, packing: Packing, request: &Request, staging: &Staging) -> Result<Unpacked> {
    let mut unpacking = packing.decompress(archive)?;
    let stdin = match &mut unpacking {
        Some(running) => running.take_stdout()?,
        None => {
            let file = File::open(archive).with_context(|| format!("opening {}", archive.display()))?;
            refuse_cut(&file)?;
            file.into()
        }
    };
    let unpacked = match nix::unistd::geteuid().is_root() {
        true => unpack(stdin, staging)?,
        false if request.compress == Compress::Squashfs => {
            Unpacked::Payload(stream(stdin, &request.exclude, staging)?)
        }
        false => bail!(
            "making an erofs from a tarball needs root, so that owners and devices are kept: use sudo, or --compress squashfs"
        ),
    };
    // A damaged archive may still have looked whole to the program that read it, which may stop
    // reading at the archive's end mark, before the padding behind it.
    unpacking.map_or(Ok(()), Running::wait_unread)?;
    Ok(unpacked)
}

const END: usize = 1024;

/// Two blocks of zeros end an archive (pax(1)). tar itself takes one that was cut between two files; of a compressed
/// one the decompressor knows.
fn refuse_cut(archive: &File) -> Result<()> {
    let mut end = [1; END];
    let len = archive.metadata().context("asking for the tarball's size")?.len();
    let read = archive.read_exact_at(&mut end, len.saturating_sub(END as u64));
    if read.is_err() || end.iter().any(|b| *b != 0) {
        bail!("the tarball is truncated: the zero blocks at its end are missing; pack or copy it again");
    }
    Ok(())
}

/// By tar itself, so that the archive means what tar means by it: of a name that is there twice the last one counts,
/// files may be sparse, and directories may be reached by links.
fn unpack(stdin: Stdio, staging: &Staging) -> Result<Unpacked> {
    let scratch = staging.path("root");
    DirBuilder::new()
        .mode(0o755)
        .create(&scratch)
        .with_context(|| format!("creating {}", scratch.display()))?;
    let keep =
        ["--numeric-owner", "--same-owner", "--same-permissions", "--acls", "--xattrs", "--xattrs-include=*"];
    // Root, since it makes files of all owners, but nowhere else.
    let tar = Tool::parser("tar", "tar")
        .as_root()
        .bounds(|b| (b.seconds, b.file) = (HOURS, 16 << 40))
        .args(["-x", "-f", "-"])
        .args(keep)
        .into_folder(&scratch, |name| format!("--directory={name}"))?;
    let notes = heard("tar", &tar.stdin(stdin).run_heard(&mut || staging.room().keep())?);
    Ok(Unpacked::Folder(scratch, notes))
}

/// Without root rights nothing can be unpacked with its owners: sqfstar packs the stream. It differs from tar where it
/// warns, and what it would make then is not what the archive means.
fn stream(stdin: Stdio, exclude: &[Exclude], staging: &Staging) -> Result<Vec<String>> {
    let payload = staging.path(crate::catalogue::PAYLOAD);
    // sqfstar does not take the root folder's own entry ("./") from the archive: 0777 without these.
    let root = ["-root-mode", "755", "-root-uid", "0", "-root-gid", "0", "-root-time", "0"];
    // It packs owners and devices as the archive has them: for that it need not be root. Its memory it bounds itself.
    let tool = Tool::parser("sqfstar", "squashfs-tools")
        .bounds(|b| (b.seconds, b.memory, b.file) = (24 * 3600, None, 16 << 40));
    let tool = squashfs(tool).args(["-force", "-regex"]).args(root).to_file(&payload)?;
    // Behind the payload's name everything is left out.
    let excluded = exclude::all(exclude);
    let tool = tool.args(excluded.iter().map(Exclude::for_squashfs));
    let said = tool.stdin(stdin).run_heard(&mut growing(&payload, staging)).context(AS_ROOT)?;
    let notes = heard("sqfstar", &said);
    let loses = |line: &&String| line.contains("already exists") || line.contains("hardlink");
    match notes.iter().find(loses) {
        Some(line) => bail!("{AS_ROOT}: {line}"),
        None => Ok(notes),
    }
}

const AS_ROOT: &str = "packing the tarball without root rights (with sudo, tar unpacks it, which reads more)";

impl Compress {
    fn tool(self) -> &'static str {
        match self {
            Compress::Squashfs => "mksquashfs",
            Compress::Erofs => "mkfs.erofs",
        }
    }
}

/// Lines of what a program said that the admin gets to see.
const MAX_HEARD: usize = 5;

/// What a program said although all went well: each line once.
fn heard(program: &str, said: &str) -> Vec<String> {
    let mut lines: Vec<&str> = Vec::new();
    for line in said.lines().map(str::trim).filter(|l| !l.is_empty()) {
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    let mut notes = Vec::new();
    // squashfs has no POSIX ACLs; mksquashfs says so for each file.
    let about_acls = |l: &&str| l.contains("posix_acl");
    if lines.iter().any(about_acls) {
        notes.push(
            "POSIX ACLs are lost, since squashfs has none: use --compress erofs to keep them".to_owned(),
        );
        lines.retain(|l| !about_acls(l));
    }
    let more = lines.len().saturating_sub(MAX_HEARD);
    notes.extend(lines.into_iter().take(MAX_HEARD).map(|l| match l.starts_with(program) {
        true => l.to_owned(),
        false => format!("{program}: {l}"),
    }));
    if more > 0 {
        notes.push(format!("{program}: {more} more warnings"));
    }
    notes
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
    let meter = Meter::new("packing, written so far", None);
    move || {
        meter.update(fs::metadata(payload).map_or(0, |m| m.len()));
        staging.room().keep()
    }
}
