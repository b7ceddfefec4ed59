// SPDX-License-Identifier: GPL-3.0-or-later
//! The filesystem on a disk that keeps images, mounted.

use crate::{device, superblock};
use anyhow::{Context, bail};
use bootspec::DeviceName;
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use sys_mount::{FilesystemType, Mount, MountFlags};

/// Mount the filesystem on a device below `run`. What is mounted there already is used.
pub async fn mount(dev: &Path, name: &DeviceName, run: &Path, patience: Duration) -> anyhow::Result<PathBuf> {
    let node = device::find(dev, name, patience).await?;
    let kind = superblock::filesystem(&device::open(&node, false)?)?;
    let Some(kind) = kind else {
        bail!(
            "{name} ({}) has no filesystem that can keep images: make an ext4 on it, by boottorrent.mkfs= if it is empty",
            node.display()
        );
    };
    let at = run.join("disk").join(node.file_name().unwrap_or_default());
    if fs::read_dir(&at).is_ok() {
        return Ok(at);
    }
    fs::create_dir_all(&at).with_context(|| format!("creating {}", at.display()))?;
    let mounted = Mount::builder()
        .fstype(FilesystemType::Manual(kind))
        .flags(MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOATIME)
        .mount(&node, &at);
    if let Err(e) = mounted {
        let _ = fs::remove_dir(&at);
        return Err(e).with_context(|| {
            format!(
                "mounting {name} ({}, {kind}; is the kernel module {kind} in the initrd?)",
                node.display()
            )
        });
    }
    Ok(at)
}
