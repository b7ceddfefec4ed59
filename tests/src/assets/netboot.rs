// SPDX-License-Identifier: GPL-3.0-or-later
//! Kernel and initrd as docs/network.md recommends them for booting over the network, and what Debian
//! makes by itself.

use super::{
    Suite, cached,
    common::hook_files,
    key_of,
    root::{base, chroot, install, name_of, over},
};
use crate::agent_binary;
use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

/// What every machine gets from the server itself.
#[derive(Clone, Debug)]
pub struct PhaseOne {
    dir: PathBuf,
}

impl PhaseOne {
    /// Debian's kernel.
    pub fn kernel(&self) -> PathBuf {
        self.dir.join("vmlinuz")
    }

    /// An initrd of MODULES=most as `mkinitramfs` makes it in a root that has nothing of ours.
    pub fn stock(&self) -> PathBuf {
        self.dir.join("stock.img")
    }

    /// Ours, with NETBOOT=yes.
    pub fn netboot(&self) -> PathBuf {
        self.dir.join("netboot.img")
    }
}

/// Both, from the cache or made now.
pub fn phase_one(suite: Suite) -> Result<PhaseOne> {
    let base = base(suite)?;
    let mut files = hook_files("initramfs-tools")?;
    files.push(agent_binary()?);
    let key = key_of(&files, &[&base.to_string_lossy(), include_str!("netboot.rs")])?;
    let dir = cached(&format!("netboot-{}", suite.as_str()), &key, |dir| over(&base, dir, make))?;
    Ok(PhaseOne { dir })
}

fn make(root: &Path, dir: &Path) -> Result<()> {
    let kernel = fs::read_dir(root.join("boot"))?
        .flatten()
        .map(|e| e.path())
        .find(|p| name_of(p).starts_with("vmlinuz-"))
        .context("no kernel")?;
    fs::copy(&kernel, dir.join("vmlinuz")).context("copying the kernel")?;
    let version = name_of(&kernel).trim_start_matches("vmlinuz-").to_owned();
    let initrd = |name: &str| {
        let inside = format!("/tmp/{name}");
        chroot(root, &["mkinitramfs", "-o", &inside, &version])
            .run_logged(Stdio::null(), &dir.join(format!("{name}.log")))?;
        fs::copy(root.join("tmp").join(name), dir.join(name)).context("copying an initrd")
    };
    initrd("stock.img")?;
    install(root, &["install-agent", "install-initramfs-tools"])?;
    fs::write(root.join("etc/boottorrent/initramfs.conf"), "NETBOOT=yes\n")?;
    initrd("netboot.img").map(drop)
}
