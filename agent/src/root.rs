// SPDX-License-Identifier: GPL-3.0-or-later
//! The payload becomes the root filesystem: loop device, read-only mount,
//! overlay on the initramfs' root mount point.

use crate::{disk, target::Writes};
use anyhow::{Context, anyhow, bail};
use bootspec::{
    Params, cmdline,
    manifest::{CONTENT_BYTES, Content, Format, Kind, MAGIC_BYTES},
    params::KindParam,
    partition::PartitionName,
};
use loopdev::{LoopControl, LoopDevice};
use nix::sys::stat::{Mode, umask};
use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};
use sys_mount::{FilesystemType, Mount, MountFlags, UnmountFlags, unmount};

/// What becomes of a payload.
pub struct Root<'a> {
    /// The complete, verified payload: a file or a disk.
    pub payload: &'a Path,
    /// The agent's own folder.
    pub run: &'a Path,
    /// The initramfs' root mount point.
    pub root: &'a Path,
    /// Where what the booted system writes goes.
    pub writes: &'a Writes,
    /// The folder for it, where it is kept.
    pub kept: Option<&'a Path>,
    /// What the command line says of it.
    pub asked: &'a Asked,
}

/// What Debian's own words on the kernel command line say of the root.
#[derive(Debug, Default)]
pub struct Asked {
    /// `rootflags=`.
    pub rootflags: String,
    /// `init=`.
    pub init: Option<String>,
    /// Which partition of a disk image is the root: ours if it is given, else `root=`.
    pub partition: Option<PartitionName>,
}

impl Asked {
    /// Read a kernel command line. The last one wins.
    pub fn read(line: &str, params: &Params) -> Asked {
        let words = cmdline::split(line);
        let option =
            |name: &str| words.iter().rev().find(|(n, _)| n == name).and_then(|(_, value)| value.clone());
        let from_root = || PartitionName::from_root(&option("root")?);
        Asked {
            rootflags: option("rootflags").unwrap_or_default(),
            init: option("init"),
            partition: params.partition.clone().or_else(from_root),
        }
    }
}

/// What kind of image it is: as the parameters say, else by its content.
pub fn kind(asked: KindParam, payload: &Path) -> anyhow::Result<Kind> {
    Ok(match asked {
        KindParam::Filesystem => Kind::Filesystem,
        KindParam::Iso => Kind::Iso,
        KindParam::Disk => Kind::Disk,
        KindParam::Ltsp => Kind::Ltsp,
        // What nobody knows is told with its first bytes, as a filesystem that is none.
        KindParam::Auto => content(payload)?.map_or(Kind::Filesystem, Content::kind),
    })
}

/// What a payload is, by its first bytes.
pub fn content(payload: &Path) -> anyhow::Result<Option<Content>> {
    Ok(Content::recognise(&head(payload, CONTENT_BYTES)?))
}

/// A root that is mounted.
pub struct Mounted {
    /// What it is and how it was mounted, for people.
    pub what: String,
    /// Where other partitions of the image are mounted in it.
    pub also: Vec<String>,
}

/// Mount a payload.
pub fn mount(kind: Kind, root: &Root) -> anyhow::Result<Mounted> {
    match kind {
        Kind::Filesystem => mount_filesystem(root),
        Kind::Iso => bail!("a live ISO is no root: its own scripts make one of it"),
        Kind::Ltsp => bail!("an image of LTSP is no root: LTSP's own scripts make one of it"),
        Kind::Disk => disk::mount(root),
    }
}

/// Mount a tmpfs. `size` in bytes.
pub fn tmpfs(at: &Path, size: u64, mode: u32) -> anyhow::Result<()> {
    fs::create_dir_all(at).with_context(|| format!("creating {}", at.display()))?;
    Mount::builder()
        .fstype(FilesystemType::Manual("tmpfs"))
        .flags(MountFlags::NOSUID | MountFlags::NODEV)
        .data(&format!("size={size},mode={mode:o}"))
        .mount("boottorrent", at)
        .map(drop)
        .with_context(|| format!("mounting a tmpfs on {}", at.display()))
}

/// Take away what an earlier try has mounted at `at`, with all that is mounted in it.
pub fn detach(at: &Path) {
    while unmount(at, UnmountFlags::DETACH).is_ok() {}
}

fn head(payload: &Path, bytes: usize) -> anyhow::Result<Vec<u8>> {
    let mut head = Vec::new();
    let file = File::open(payload).with_context(|| format!("opening {}", payload.display()))?;
    file.take(bytes as u64)
        .read_to_end(&mut head)
        .with_context(|| format!("reading {}", payload.display()))?;
    Ok(head)
}

/// What filesystem a payload holds, by its first bytes.
pub fn recognise(payload: &Path) -> anyhow::Result<Format> {
    let head = head(payload, MAGIC_BYTES)?;
    let begin: Vec<String> = head.iter().take(8).map(|b| format!("{b:02x}")).collect();
    Format::recognise(&head).ok_or_else(|| {
        anyhow!(
            "the image is no root filesystem: it is neither squashfs, erofs nor ext4 (its first bytes are {}); \
             add it again with `boottorrent image add`",
            begin.join(" ")
        )
    })
}

/// Mount a filesystem payload under an overlay on the root mount point.
fn mount_filesystem(root: &Root) -> anyhow::Result<Mounted> {
    let format = recognise(root.payload)?;
    // Held until the mount holds it: without a user it would be gone (autoclear).
    let device = attach(root.payload, Loop::Filesystem)?;
    let lower = mount_lower(&device.path().context("finding the loop device's path")?, format, root)?;
    overlay(&lower, root)?;
    Ok(Mounted { what: format!("{} {}", format.as_str(), root.writes.what()), also: Vec::new() })
}

/// Mount a root filesystem read-only where the overlay will look for it. One that is none is unmounted again.
pub fn mount_lower(device: &Path, format: Format, root: &Root) -> anyhow::Result<PathBuf> {
    umask(Mode::from_bits_truncate(0o022));
    let lower = root.run.join("lower");
    mount_read_only(device, format, &lower, &root.asked.rootflags)?;
    has_init(&lower, root.asked.init.as_deref()).inspect_err(|_| detach(&lower))?;
    Ok(lower)
}

/// Mount a filesystem of the image.
pub fn mount_read_only(device: &Path, format: Format, at: &Path, options: &str) -> anyhow::Result<()> {
    fs::create_dir_all(at).with_context(|| format!("creating {}", at.display()))?;
    let (flags, data) = mount_options(options);
    Mount::builder()
        .fstype(FilesystemType::Manual(format.as_str()))
        .flags(flags)
        .data(&data)
        .mount(device, at)
        .map(drop)
        .with_context(|| {
            format!("mounting the image as {} (is the kernel module {0} in the initrd?)", format.as_str())
        })
}

/// Put an overlay over a mounted root, for what the booted system writes, on the root mount point.
pub fn overlay(lower: &Path, how: &Root) -> anyhow::Result<()> {
    if let (Writes::Ram(size), ram) = (how.writes, how.run.join("overlay")) {
        tmpfs(&ram, *size, 0o755)?;
    }
    overlay_at(lower, how, "", how.root)
}

/// The same for another filesystem of the image, at a place in the root. `part` names it among those that share the
/// space for what is written.
pub fn overlay_at(lower: &Path, how: &Root, part: &str, root: &Path) -> anyhow::Result<()> {
    let ram = how.run.join("overlay");
    let writes = match (how.writes, how.kept) {
        (Writes::Ram(_), _) => &ram,
        (Writes::Kept(_) | Writes::Zram { .. }, Some(folder)) => folder,
        (Writes::Kept(_) | Writes::Zram { .. } | Writes::None, _) => {
            return Mount::builder()
                .fstype(FilesystemType::Manual("none"))
                .flags(MountFlags::BIND)
                .mount(lower, root)
                .map(drop)
                .with_context(|| format!("mounting the image on {}", root.display()));
        }
    };
    let (upper, work) = (writes.join(format!("upper{part}")), writes.join(format!("work{part}")));
    for dir in [&upper, &work] {
        fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    }
    let data =
        format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    Mount::builder()
        .fstype(FilesystemType::Manual("overlay"))
        .data(&data)
        .mount("boottorrent", root)
        .map(drop)
        .with_context(|| {
            format!(
                "mounting the overlay on {} (is the kernel module overlay in the initrd?)",
                root.display()
            )
        })
}

/// `rootflags=` as mount(2) takes it: words that every filesystem knows are flags, the rest is its own.
fn mount_options(rootflags: &str) -> (MountFlags, String) {
    let mut flags = MountFlags::RDONLY;
    let mut own = Vec::new();
    for word in rootflags.split(',').filter(|w| !w.is_empty()) {
        match word {
            // The image is always read-only.
            "ro" | "rw" | "defaults" | "auto" | "noauto" => {}
            "noatime" => flags |= MountFlags::NOATIME,
            "nodiratime" => flags |= MountFlags::NODIRATIME,
            "relatime" => flags |= MountFlags::RELATIME,
            "nodev" => flags |= MountFlags::NODEV,
            "nosuid" => flags |= MountFlags::NOSUID,
            "noexec" => flags |= MountFlags::NOEXEC,
            other => own.push(other),
        }
    }
    (flags, own.join(","))
}

/// What a loop device is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loop {
    /// To be mounted; gone with its last user.
    Filesystem,
    /// The same of a part of the payload: where it begins, and its bytes. So the kernel need not know the partition
    /// table, nor the size of its sectors.
    Part {
        /// Its first byte.
        start: u64,
        /// Its bytes.
        size: u64,
    },
    /// For others, who find it later: it stays.
    Kept,
}

/// A read-only loop device on the payload.
pub fn attach(payload: &Path, what: Loop) -> anyhow::Result<LoopDevice> {
    let control = LoopControl::open()
        .context("opening /dev/loop-control (is the kernel module loop in the initrd?)")?;
    let mut last = None;
    // Somebody else may take the free device between the two calls.
    for _ in 0..5 {
        let device = control.next_free().context("finding a free loop device")?;
        let options = device.with().read_only(true).autoclear(what != Loop::Kept);
        let options = match what {
            Loop::Part { start, size } => options.offset(start).size_limit(size),
            Loop::Filesystem | Loop::Kept => options,
        };
        match options.attach(payload) {
            Ok(()) => return Ok(device),
            Err(e) => last = Some(e),
        }
    }
    Err(last.expect("five tries"))
        .with_context(|| format!("attaching {} to a loop device", payload.display()))
}

/// The same programs that initramfs-tools tries: an image without any is no root.
fn has_init(root: &Path, init: Option<&str>) -> anyhow::Result<()> {
    let candidates: Vec<&str> =
        init.into_iter().chain(["/sbin/init", "/etc/init", "/bin/init", "/bin/sh"]).collect();
    // Links are not followed: /sbin/init points to an absolute path inside the image.
    let found = candidates.iter().any(|c| root.join(c.trim_start_matches('/')).symlink_metadata().is_ok());
    if !found {
        bail!(
            "the image is a filesystem without an operating system: it has none of {}",
            candidates.join(", ")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_filesystem_is_said_with_its_first_bytes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "hello, this is text").unwrap();
        let e = recognise(file.path()).unwrap_err().to_string();
        assert!(e.contains("68 65 6c 6c 6f 2c 20 74"), "{e}");
        fs::write(file.path(), "").unwrap();
        assert!(recognise(file.path()).is_err());
        fs::write(file.path(), "hsqs").unwrap();
        assert_eq!(recognise(file.path()).unwrap(), Format::Squashfs);
    }

    #[test]
    fn rootflags_as_admins_write_them() {
        assert_eq!(mount_options(""), (MountFlags::RDONLY, String::new()));
        let (flags, data) = mount_options("noatime,ro,errors=continue,threads=multi");
        assert_eq!(flags, MountFlags::RDONLY | MountFlags::NOATIME);
        assert_eq!(data, "errors=continue,threads=multi");
    }

    #[test]
    fn a_root_without_init_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(has_init(dir.path(), None).unwrap_err().to_string().contains("/sbin/init, /etc/init"));
        fs::create_dir(dir.path().join("sbin")).unwrap();
        std::os::unix::fs::symlink("/lib/systemd/systemd", dir.path().join("sbin/init")).unwrap();
        has_init(dir.path(), None).unwrap();
    }
}
