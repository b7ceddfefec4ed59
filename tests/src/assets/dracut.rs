// SPDX-License-Identifier: GPL-3.0-or-later
//! A Debian root whose initrd is made by dracut with our module.

use super::{
    Suite, cached,
    common::hook_files,
    key_of, live,
    root::{bootstrap, chroot, install, name_of, over, pack, speaks},
};
use crate::agent_binary;
use anyhow::{Context, Result};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
};

/// What a server's root has at least, with dracut instead of initramfs-tools.
const PACKAGES: &str =
    "systemd-sysv,udev,dbus,kmod,iproute2,linux-image-amd64,zstd,dracut,dracut-network,dracut-live";

/// What is already in the initrd, and most of the image's bytes.
const LEFT_OUT: [&str; 3] = ["boot", "usr/lib/modules/*/kernel/drivers", "var/lib/apt"];

/// A folder with `payload.squashfs`, `vmlinuz` and `initrd.img`.
pub fn finished(suite: Suite) -> Result<PathBuf> {
    // Live systems of this machine's own release are made with dracut too.
    let base =
        if suite == Suite::own()? { live::base()? } else { bootstrap("base-dracut", suite, PACKAGES)? };
    let mut files = hook_files("dracut")?;
    files.push(agent_binary()?);
    let key = key_of(&files, &[&base.to_string_lossy(), include_str!("dracut.rs")])?;
    cached(&format!("dracut-{}", suite.as_str()), &key, |dir| over(&base, dir, finish))
}

fn finish(root: &Path, dir: &Path) -> Result<()> {
    install(root, &["install-agent", "install-dracut"])?;
    speaks(root)?;
    // dracut's livenet asks for it. It would fetch http://, and is not called for torrent://.
    let curl = root.join("usr/bin/curl");
    fs::write(&curl, "#!/bin/sh\nexit 1\n")?;
    fs::set_permissions(&curl, fs::Permissions::from_mode(0o755))?;
    let version = fs::read_dir(root.join("boot"))?
        .flatten()
        .find_map(|e| name_of(&e.path()).strip_prefix("vmlinuz-").map(str::to_owned))
        .context("no kernel")?;
    fs::copy(root.join(format!("boot/vmlinuz-{version}")), dir.join("vmlinuz"))
        .context("copying the kernel")?;
    let builtin = root.join("usr/lib/modules").join(&version).join("modules.builtin");
    fs::copy(builtin, dir.join("modules.builtin")).context("copying modules.builtin")?;
    let chroot = |words: &[&str]| chroot(root, words);
    // livenet, for root=live:torrent://. Nothing names our module: it is in every initrd where it is installed.
    // Its own level of compression takes half a minute of two processors.
    let quick = ["--compress", "zstd -3 -q -T0", "--add", "livenet"];
    let words = ["dracut", "--no-hostonly", "--no-hostonly-cmdline", "--force", "--tmpdir", "/tmp"];
    chroot(&[&words[..], &quick, &["--kver", &version, "/boot/initrd.img"]].concat())
        .run_logged(Stdio::null(), &dir.join("update-initramfs.log"))?;
    let list = chroot(&["lsinitrd", "/boot/initrd.img"]).run()?;
    let name = |line: &str| line.split_whitespace().nth(8).map(str::to_owned);
    fs::write(dir.join("initrd.list"), list.lines().filter_map(name).collect::<Vec<_>>().join("\n"))?;
    fs::copy(root.join("boot/initrd.img"), dir.join("initrd.img")).context("copying the initrd")?;
    pack(root, dir, &LEFT_OUT)
}
