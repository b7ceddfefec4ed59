// SPDX-License-Identifier: GPL-3.0-or-later
//! Mounts: tmpfs of our own, loop devices on the payload, a root under its overlay.

use crate::target::Writes;
use anyhow::{Context, bail};
use bootspec::{Params, cmdline, manifest::Format, partition::PartitionName};
use loopdev::{LoopControl, LoopDevice};
use nix::sys::stat::{Mode, umask};
use std::{
    fs,
    path::{Path, PathBuf},
};
use sys_mount::{FilesystemType, Mount, MountFlags, UnmountFlags, unmount};

/// Room for the agent, its log and its socket.
pub const HOME_SIZE: u64 = 64 << 20;

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

/// Show a folder, with all that is mounted in it, at another place as well.
pub fn bind(what: &Path, at: &Path) -> anyhow::Result<()> {
    Mount::builder()
        .fstype(FilesystemType::Manual("none"))
        .flags(MountFlags::BIND | MountFlags::REC)
        .mount(what, at)
        .map(drop)
        .with_context(|| format!("mounting {} on {}", what.display(), at.display()))
}

/// Take away what an earlier try has mounted at `at`, with all that is mounted in it.
pub fn detach(at: &Path) {
    while unmount(at, UnmountFlags::DETACH).is_ok() {}
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

/// A root that is mounted.
pub struct Mounted {
    /// What it is and how it was mounted, for people.
    pub what: String,
    /// Where other partitions of the image are mounted in it.
    pub also: Vec<String>,
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
            return bind(lower, root);
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

/// The same programs that initramfs-tools tries: an image without any is not a root.
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
