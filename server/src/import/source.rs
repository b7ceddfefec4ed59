// SPDX-License-Identifier: GPL-3.0-or-later
//! What the admin gave us: recognised by content, whole, or refused in one sentence.

use super::{
    disk,
    iso::Volume,
    tarball::{Packing, compression, is_tar},
    whole::whole,
};
use crate::import::virtual_disk::Virtual;
use anyhow::{Context, Result, bail};
use bootspec::manifest::{CONTENT_BYTES, Content, Format, Kind as Wanted, MAGIC_BYTES};
use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

/// The kinds of source.
#[derive(Debug, PartialEq)]
pub enum SourceKind {
    /// A filesystem image of this format and this many bytes: the payload as it is.
    Image(Format, u64),
    /// A live ISO of this many bytes: the payload as it is.
    Iso(Volume, u64),
    /// A disk image of this many bytes: the payload as it is.
    Disk(u64),
    /// One of these, compressed.
    Packed(Packing),
    /// A disk as a virtual machine's program keeps it.
    Virtual(Virtual),
    /// A root directory.
    Directory,
    /// A root tarball.
    Tarball(Packing),
}

/// A source that can become an image.
#[derive(Debug)]
pub struct ImportSource {
    /// Where it is, absolute.
    pub path: PathBuf,
    /// What it is.
    pub kind: SourceKind,
}

impl ImportSource {
    /// Look at `path`. `wanted`: what it must be, if that was said.
    pub fn recognise(path: &Path, wanted: Option<Wanted>) -> Result<ImportSource> {
        let source = ImportSource::look(path, &path.display().to_string())?;
        source.refuse_other_than(wanted, path)?;
        Ok(source)
    }

    /// Refuse it when it is something else than what was said.
    pub fn refuse_other_than(&self, wanted: Option<Wanted>, path: &Path) -> Result<()> {
        let is = match &self.kind {
            SourceKind::Iso(..) => Wanted::Iso,
            SourceKind::Disk(_) => Wanted::Disk,
            // Known when it is unpacked.
            SourceKind::Packed(_) | SourceKind::Virtual(_) => return Ok(()),
            SourceKind::Image(..) | SourceKind::Directory | SourceKind::Tarball(_) => Wanted::Filesystem,
        };
        match wanted {
            Some(wanted) if wanted != is => {
                let name = |kind| match kind {
                    Wanted::Filesystem => "filesystem",
                    Wanted::Iso => "iso",
                    Wanted::Disk => "disk",
                    Wanted::Ltsp => "ltsp",
                };
                bail!(
                    "'{}' is not a valid {}: omit --kind, or use --kind {}",
                    path.display(),
                    name(wanted),
                    name(is)
                )
            }
            _ => Ok(()),
        }
    }

    /// What it is. `shown` names it in errors.
    pub fn look(path: &Path, shown: &str) -> Result<ImportSource> {
        let absolute = path.canonicalize().with_context(|| format!("opening {shown}"))?;
        let meta = absolute.metadata().with_context(|| format!("opening {shown}"))?;
        if meta.is_dir() {
            refuse_mounts_below(&absolute)?;
            return Ok(ImportSource { path: absolute, kind: SourceKind::Directory });
        }
        if !meta.is_file() {
            bail!("'{shown}' is neither a file nor a directory");
        }
        if meta.len() == 0 {
            bail!("'{shown}' is empty");
        }
        let mut head = Vec::new();
        let file = File::open(&absolute).with_context(|| format!("opening {shown}"))?;
        file.take(HEAD as u64).read_to_end(&mut head).with_context(|| format!("reading {shown}"))?;
        if head.get(0x202..0x206) == Some(b"HdrS") {
            bail!("'{shown}' is a Linux kernel: add the root filesystem, and give this file with --kernel");
        }
        let kind = match Content::recognise(&head) {
            Some(Content::Iso) => {
                let mut file = File::open(&absolute).with_context(|| format!("opening {shown}"))?;
                let volume = Volume::read(&mut file).with_context(|| format!("reading {shown}"))?;
                let Some(volume) = volume else {
                    bail!("'{shown}' is an ISO image without a volume descriptor: it is damaged")
                };
                if meta.len() < volume.size {
                    bail!(
                        "'{shown}' is truncated: its ISO 9660 needs {} bytes, the file has {}",
                        volume.size,
                        meta.len()
                    );
                }
                SourceKind::Iso(volume, meta.len())
            }
            Some(Content::Filesystem(format)) => {
                whole(format, &head, meta.len()).map_err(|why| anyhow::anyhow!("'{shown}' {why}"))?;
                SourceKind::Image(format, meta.len())
            }
            Some(Content::Disk) if disk::is_one(&absolute, shown)? => SourceKind::Disk(meta.len()),
            Some(Content::Disk) | None => match (Virtual::recognise(&head), packed(&absolute, &head)?) {
                (Some(format), _) => SourceKind::Virtual(format),
                (None, Some(found)) => found,
                (None, None) => bail!(
                    "'{shown}' is {}: give a live ISO, a disk image, a squashfs, erofs or ext4 image, a root directory or a root tarball",
                    guess(&head)
                ),
            },
        };
        Ok(ImportSource { path: absolute, kind })
    }

    /// The image's name when `--name` is not given: the file's, without what says its format.
    pub fn default_name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        if self.kind == SourceKind::Directory { name.into_owned() } else { name_of(&name).to_owned() }
    }
}

/// A file's name without what says its format.
pub fn name_of(file: &str) -> &str {
    const ENDS: [&str; 23] = [
        ".iso",
        ".ISO",
        ".gz",
        ".xz",
        ".zst",
        ".bz2",
        ".lz4",
        ".tbz2",
        ".tgz",
        ".txz",
        ".tzst",
        ".tar",
        ".squashfs",
        ".sqfs",
        ".sfs",
        ".erofs",
        ".ext4",
        ".img",
        ".raw",
        ".qcow2",
        ".vmdk",
        ".vdi",
        ".vhdx",
    ];
    let mut name = file;
    while let Some(short) = ENDS.iter().find_map(|e| name.strip_suffix(e)) {
        name = short;
    }
    name
}

/// Enough for every magic.
const HEAD: usize = CONTENT_BYTES;

/// Recognise a tarball, or a compressed image, by content; `head` is how the file begins.
fn packed(path: &Path, head: &[u8]) -> Result<Option<SourceKind>> {
    let Some(packing) = compression(head) else {
        return Ok(is_tar(head).then_some(SourceKind::Tarball(Packing::Plain)));
    };
    let mut unpacked = Vec::new();
    let mut running = packing.decompress(path)?.context("a compressed file")?;
    let head = running.by_ref().take(CONTENT_BYTES as u64);
    { head }.read_to_end(&mut unpacked).context("reading the head of what is compressed")?;
    if unpacked.len() < CONTENT_BYTES {
        // It has ended: perhaps because it could not go on.
        running.wait_unread()?;
    }
    Ok(match Content::recognise(&unpacked) {
        _ if is_tar(&unpacked) => Some(SourceKind::Tarball(packing)),
        Some(_) => Some(SourceKind::Packed(packing)),
        None => Virtual::recognise(&unpacked).map(|_| SourceKind::Packed(packing)),
    })
}

/// What a file without a root filesystem is.
fn guess(head: &[u8]) -> &'static str {
    let at = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|b| b.starts_with(magic));
    match () {
        () if at(510, &[0x55, 0xAA]) => "a boot sector without partitions",
        () if at(0, b"070701") => "a cpio archive",
        () if text(head) => "a text file",
        () => "not a filesystem that BootTorrent knows",
    }
}

fn text(head: &[u8]) -> bool {
    let head = &head[..head.len().min(MAGIC_BYTES)];
    let valid = match std::str::from_utf8(head) {
        Ok(_) => true,
        // Cut in the middle of a character.
        Err(e) => e.error_len().is_none(),
    };
    valid && !head.iter().any(|b| *b < b' ' && !b"\t\n\r\x0c\x1b".contains(b))
}

/// A mounted /proc or /dev in a root directory would go into the image.
fn refuse_mounts_below(root: &Path) -> Result<()> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").context("reading /proc/self/mountinfo")?;
    match mounts(&table).into_iter().find(|m| m != root && m.starts_with(root)) {
        Some(mount) => {
            bail!("{} is a mount point inside the root directory: unmount it first", mount.display())
        }
        None => Ok(()),
    }
}

/// The mount points in a mountinfo table (proc(5)): the fifth field, spaces written as `\040`.
fn mounts(table: &str) -> Vec<PathBuf> {
    let field = |l: &str| l.split(' ').nth(4).map(|m| PathBuf::from(m.replace("\\040", " ")));
    table.lines().filter_map(field).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(bytes: &[u8]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, bytes).unwrap();
        ImportSource::recognise(&path, None)
            .unwrap_err()
            .to_string()
            .replace(&format!("'{}'", path.display()), "X")
    }

    #[test]
    fn refuses_in_one_sentence() {
        let want = ": give a live ISO, a disk image, a squashfs, erofs or ext4 image, a root directory or a root tarball";
        let mut disk = vec![0; 1024];
        disk[510..512].copy_from_slice(&[0x55, 0xAA]);
        let mut iso = vec![0; 0x9000];
        iso[0x8000..0x8006].copy_from_slice(b"\x01CD001");
        iso[0x8000 + 80] = 100;
        iso[0x8000 + 129] = 8;
        let mut old = vec![0; 4096];
        old[..4].copy_from_slice(b"hsqs");
        old[28] = 3;
        let mut ext = vec![0; 4096];
        ext[1080..1082].copy_from_slice(&[0x53, 0xEF]);
        ext[1028..1032].copy_from_slice(&100u32.to_le_bytes());
        let mut dirty = ext.clone();
        dirty[1024 + 0x60] = 4;
        let mut erofs = vec![0; 4096];
        erofs[1024..1028].copy_from_slice(&[0xe2, 0xe1, 0xf5, 0xe0]);
        erofs[1024 + 12] = 12;
        erofs[1024 + 36] = 3;
        for (bytes, sentence) in [
            (&b""[..], "X is empty".to_owned()),
            (b"hello\n", format!("X is a text file{want}")),
            (&[0; 5000], format!("X is not a filesystem that BootTorrent knows{want}")),
            (&disk, format!("X is a boot sector without partitions{want}")),
            (&iso, "X is truncated: its ISO 9660 needs 204800 bytes, the file has 36864".into()),
            (&iso[..0x8700], "X is an ISO image without a volume descriptor: it is damaged".into()),
            (b"hsqs", "X is truncated: its squashfs needs 96 bytes, the file has 4".into()),
            (&old, "X is a squashfs of version 3: only version 4 can be booted".into()),
            (&ext, "X is truncated: its ext4 needs 102400 bytes, the file has 4096".into()),
            (&dirty, "X was not unmounted cleanly: run `e2fsck -f` on it first".into()),
            (&erofs, "X is truncated: its erofs needs 12288 bytes, the file has 4096".into()),
        ] {
            assert_eq!(refusal(bytes), sentence);
        }
    }

    #[test]
    fn names_come_from_files() {
        for (path, kind, name) in [
            ("/x/lab.squashfs", SourceKind::Image(Format::Squashfs, 1), "lab"),
            ("/x/debian-13.1.tar.xz", SourceKind::Tarball(Packing::Xz), "debian-13.1"),
            ("/x/root.img", SourceKind::Directory, "root.img"),
            ("/x/13.1", SourceKind::Image(Format::Ext4, 1), "13.1"),
        ] {
            assert_eq!(ImportSource { path: path.into(), kind }.default_name(), name);
        }
    }

    #[test]
    fn reads_mountinfo() {
        let table = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:5 / /a\\040b/proc rw - proc proc rw\n";
        assert_eq!(mounts(table), [PathBuf::from("/"), PathBuf::from("/a b/proc")]);
    }
}
