// SPDX-License-Identifier: GPL-3.0-or-later
//! The file systems that the kernel is asked over, and the step from the initramfs into the mounted root (switch_root(8)).

use anyhow::{Context, anyhow};
use nix::unistd::{chdir, chroot, execv};
use std::{
    convert::Infallible,
    ffi::CString,
    fs::{self, File},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::Path,
};
use sys_mount::{FilesystemType, Mount, MountFlags};

/// What systemd and udev find mounted already, with the options that they would use.
const KERNEL: [(&str, &str, MountFlags, &str); 4] = [
    ("devtmpfs", "/dev", MountFlags::NOSUID, "mode=0755"),
    ("proc", "/proc", MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC), ""),
    ("sysfs", "/sys", MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC), ""),
    // Programs run from here: the agent stays in it.
    ("tmpfs", "/run", MountFlags::NOSUID.union(MountFlags::NODEV), "mode=0755,size=20%"),
];

/// Mount them all.
pub fn kernel() -> anyhow::Result<()> {
    for (kind, at, flags, data) in KERNEL {
        fs::create_dir_all(at).with_context(|| format!("creating {at}"))?;
        Mount::builder()
            .fstype(FilesystemType::Manual(kind))
            .flags(flags)
            .data(data)
            .mount(kind, at)
            .map(drop)
            .with_context(|| format!("mounting {at}"))?;
    }
    Ok(())
}

/// Make the folders that they are moved to.
pub fn folders(root: &Path) -> anyhow::Result<()> {
    KERNEL.iter().try_for_each(|(_, at, ..)| {
        let to = root.join(at.trim_start_matches('/'));
        fs::create_dir_all(&to).with_context(|| format!("creating {}", to.display()))
    })
}

/// Leave the initramfs for `root`, and become its init, with our arguments. `keep`: what [`kernel`] has mounted goes along.
/// Returns only when it fails.
pub fn switch_root(root: &Path, init: Option<&str>, keep: bool) -> anyhow::Error {
    match enter(root, init, keep) {
        Err(e) => e,
    }
}

fn enter(root: &Path, init: Option<&str>, keep: bool) -> anyhow::Result<Infallible> {
    for (_, at, ..) in KERNEL {
        let to = root.join(at.trim_start_matches('/'));
        // A root without the folder does without.
        if !keep {
            crate::mounts::detach(Path::new(at));
        } else if to.is_dir() {
            moved(Path::new(at), &to)?;
        }
    }
    let initramfs = fs::metadata("/").context("looking at the initramfs")?.dev();
    // It is memory that the system would never get back.
    empty(Path::new("/"), initramfs);
    chdir(root).with_context(|| format!("entering {}", root.display()))?;
    moved(Path::new("."), Path::new("/"))?;
    chroot(".").context("making the image the root")?;
    chdir("/").context("entering the root")?;
    if let Ok(console) = File::options().read(true).write(true).open("/dev/console") {
        let _ = nix::unistd::dup2_stdin(&console);
        let _ = nix::unistd::dup2_stdout(&console);
        let _ = nix::unistd::dup2_stderr(&console);
    }
    let candidates = init.into_iter().chain(["/sbin/init", "/etc/init", "/bin/init", "/bin/sh"]);
    let mut last = None;
    for program in candidates {
        let words: Vec<CString> = std::iter::once(program.as_bytes().to_vec())
            .chain(std::env::args_os().skip(1).map(|a| a.as_bytes().to_vec()))
            .map(CString::new)
            .collect::<Result<_, _>>()?;
        match execv(&words[0], &words) {
            Err(e) => last.get_or_insert(anyhow!("starting {program}: {}", e.desc())),
            Ok(never) => match never {},
        };
    }
    Err(last.unwrap_or_else(|| anyhow!("the image has no init")))
}

/// Move a mount.
pub fn moved(from: &Path, to: &Path) -> anyhow::Result<()> {
    Mount::builder()
        .fstype(FilesystemType::Manual("none"))
        .flags(MountFlags::MOVE)
        .mount(from, to)
        .map(drop)
        .with_context(|| format!("moving {} to {}", from.display(), to.display()))
}

/// Delete what is below a folder and on the same file system.
fn empty(folder: &Path, device: u64) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match path.symlink_metadata() {
            Ok(meta) if meta.dev() != device => {}
            Ok(meta) if meta.is_dir() => {
                empty(&path, device);
                let _ = fs::remove_dir(&path);
            }
            Ok(_) => drop(fs::remove_file(&path)),
            Err(_) => {}
        }
    }
}
