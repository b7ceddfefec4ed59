// SPDX-License-Identifier: GPL-3.0-or-later
//! Making a Debian root in two steps: the packages (slow, rarely changed), and
//! over them our agent and hook with a new initramfs.

use super::{Suite, apt, cached, common::hook_files, key_of};
use crate::{Cmd, agent_binary, workspace};
use anyhow::{Context, Result};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Stdio,
};

/// What is installed: what a server's root has at least. Debian's ordinary kernel, not the cloud one.
pub const PACKAGES: &str =
    "systemd-sysv,udev,dbus,kmod,iproute2,linux-image-amd64,initramfs-tools,zstd,xz-utils";

/// Nobody reads documentation in the lab, and every machine would have to fetch it.
const LEAVE_OUT: [&str; 3] = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*"];

/// The serial console gives a root shell, as the tests and the demo's visitor want it.
pub const AUTOLOGIN: &str = "\
[Service]
ExecStart=
ExecStart=-/sbin/agetty --autologin root --noclear --keep-baud 115200,57600,38400,9600 %I $TERM
";

/// Says the verdict on the console. systemd's own line is lost there when the login comes first, and `quiet` must not hide it.
pub const VERDICT: &str = "\
[Unit]
DefaultDependencies=no
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'echo \"<2>lab: systemd reached multi-user.target\" >/dev/kmsg'
";

/// A root with the packages and nothing of ours.
pub fn base(suite: Suite) -> Result<PathBuf> {
    bootstrap("base", suite, PACKAGES)
}

/// A root with these packages, as they come.
pub fn bootstrap(name: &str, suite: Suite, packages: &str) -> Result<PathBuf> {
    bootstrap_with(name, suite, packages, &["--variant=minbase"])
}

/// A root of arm64, whose packages are unpacked and no more: nothing of it can run here.
pub fn bootstrap_arm64(suite: Suite, packages: &str) -> Result<PathBuf> {
    bootstrap_with("arm64", suite, packages, &["--variant=extract", "--architectures=arm64"])
}

fn bootstrap_with(name: &str, suite: Suite, packages: &str, how: &[&str]) -> Result<PathBuf> {
    let key = key_of::<&str>(&[], &[packages, &LEAVE_OUT.concat()])?;
    let dir = cached(&format!("{name}-{}", suite.as_str()), &key, |dir| {
        let mirrors = apt::write(&apt::sources(suite)?, dir)?;
        let root = dir.join("root");
        Cmd::new("mmdebstrap")
            .arg("--mode=root")
            .args(how)
            .arg("--hook-dir=/usr/share/mmdebstrap/hooks/maybe-merged-usr")
            .args(LEAVE_OUT.map(|path| format!("--dpkgopt=path-exclude={path}")))
            // The initramfs is made once, when our hook is there.
            .env("INITRD", "No")
            .arg(format!("--include={packages}"))
            .arg(suite.as_str())
            .arg(&root)
            .args(mirrors)
            .run_logged(Stdio::null(), &dir.join("mmdebstrap.log"))
    })?;
    Ok(dir.join("root"))
}

/// The base with agent, hook and initramfs: a folder with `payload.squashfs`, `vmlinuz` and `initrd.img`.
pub fn finished(suite: Suite, base: &Path) -> Result<PathBuf> {
    let mut files = hook_files("initramfs-tools")?;
    files.push(agent_binary()?);
    let key = key_of(&files, &[&base.to_string_lossy(), include_str!("root.rs")])?;
    cached(&format!("image-{}", suite.as_str()), &key, |dir| over(base, dir, finish))
}

/// Change a root in an overlay over it, at `root` in `dir`; what `change` leaves beside it stays.
pub fn over(
    base: &Path,
    dir: &Path,
    change: impl FnOnce(&Path, &Path) -> Result<()> + Send + 'static,
) -> Result<()> {
    let (lower, made) = (base.to_owned(), dir.to_owned());
    // A thread, because a mount namespace belongs to one: its overlay is gone when it ends.
    let work = move || {
        let root = made.join("root");
        let (upper, work) = (made.join("upper"), made.join("work"));
        for d in [&root, &upper, &work] {
            fs::create_dir(d)?;
        }
        unshare(CloneFlags::CLONE_NEWNS).context("making a mount namespace (this needs root)")?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
        let (lower, up, wk) = (lower.display(), upper.display(), work.display());
        let options = format!("lowerdir={lower},upperdir={up},workdir={wk}");
        mount(Some("overlay"), &root, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
            .context("mounting an overlay")?;
        change(&root, &made)
    };
    std::thread::spawn(work).join().expect("no panic in there")?;
    for scaffold in ["upper", "work", "root"] {
        fs::remove_dir_all(dir.join(scaffold))?;
    }
    Ok(())
}

/// A command in a root, with its own /proc.
pub fn chroot(root: &Path, words: &[&str]) -> Cmd {
    Cmd::new("unshare")
        .args(["--mount", "--pid", "--fork", "--mount-proc"])
        .arg(format!("--root={}", root.display()))
        .args(words)
}

/// A root that tells on its serial console how far it is, and gives a shell there.
pub fn speaks(root: &Path) -> Result<()> {
    let units = root.join("etc/systemd/system");
    let (getty, wants) = (units.join("serial-getty@ttyS0.service.d"), units.join("multi-user.target.wants"));
    fs::create_dir_all(&getty)?;
    fs::create_dir_all(&wants)?;
    fs::write(getty.join("autologin.conf"), AUTOLOGIN)?;
    fs::write(units.join("lab-verdict.service"), VERDICT)?;
    symlink("../lab-verdict.service", wants.join("lab-verdict.service"))?;
    Ok(())
}

pub fn finish(root: &Path, dir: &Path) -> Result<()> {
    install(root, &["install-agent", "install-initramfs-tools"])?;
    // So that machines can make a disk for images (boottorrent.mkfs=), in the release whose base has what that takes.
    if root.join("usr/sbin/mkfs.ext4").exists() || root.join("sbin/mkfs.ext4").exists() {
        fs::create_dir_all(root.join("etc/boottorrent"))?;
        fs::write(root.join("etc/boottorrent/initramfs.conf"), "MKFS=yes\n")?;
    }
    speaks(root)?;
    let all =
        if fs::read_dir(root.join("boot"))?.flatten().any(|e| is_initrd(&e.path())) { "-u" } else { "-c" };
    let chroot = |words: &[&str]| chroot(root, words);
    chroot(&["update-initramfs", all, "-k", "all"])
        .run_logged(Stdio::null(), &dir.join("update-initramfs.log"))?;
    for entry in fs::read_dir(root.join("boot"))? {
        let path = entry?.path();
        let name = name_of(&path).into_owned();
        if is_initrd(&path) {
            fs::copy(&path, dir.join("initrd.img")).context("copying the initrd")?;
            fs::write(dir.join("initrd.list"), chroot(&["lsinitramfs", &format!("/boot/{name}")]).run()?)?;
        } else if let Some(version) = name.strip_prefix("vmlinuz-") {
            fs::copy(&path, dir.join("vmlinuz")).context("copying the kernel")?;
            let builtin = root.join("usr/lib/modules").join(version).join("modules.builtin");
            fs::copy(builtin, dir.join("modules.builtin")).context("copying modules.builtin")?;
        }
    }
    pack(root, dir, &[])
}

/// A squashfs of a root, without some folders. Level 3: made in seconds, and not a third larger than the smallest.
pub fn pack(root: &Path, dir: &Path, without: &[&str]) -> Result<()> {
    let mut cmd = Cmd::new("mksquashfs").args([root, &dir.join("payload.squashfs")]).args([
        "-noappend",
        "-quiet",
        "-no-progress",
        "-comp",
        "zstd",
        "-Xcompression-level",
        "3",
    ]);
    if !without.is_empty() {
        cmd = cmd.args(["-wildcards", "-e"]).args(without);
    }
    cmd.run().map(drop)
}

/// As an admin would from source: `make install`, which puts agent and hook in place.
pub fn install(root: &Path, what: &[&str]) -> Result<()> {
    Cmd::new("make")
        .args(["--no-print-directory", "-C"])
        .arg(workspace())
        .args(what)
        .arg(format!("DESTDIR={}", root.display()))
        .arg(format!("AGENT={}", agent_binary()?.display()))
        .run()
        .map(drop)
}

pub fn is_initrd(path: &Path) -> bool {
    name_of(path).starts_with("initrd.img-")
}

pub fn name_of(path: &Path) -> std::borrow::Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}
