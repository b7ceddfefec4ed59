// SPDX-License-Identifier: GPL-3.0-or-later
//! The root of an image in other formats than squashfs.

use super::{cached, image::Image, key_of};
use crate::Cmd;
use anyhow::Result;
use std::path::{Path, PathBuf};

/// The root without kernel and modules, which the initrd of the real image has, as files `erofs` and `ext4` in a folder.
pub fn small_roots(image: &Image) -> Result<PathBuf> {
    let key = key_of(&[image.payload()], &[include_str!("formats.rs")])?;
    cached("formats", &key, |dir| {
        let root = dir.join("root");
        Cmd::new("unsquashfs").args(["-q", "-n", "-d"]).arg(&root).arg(image.payload()).run()?;
        for left_out in ["boot", "usr/lib/modules", "vmlinuz", "initrd.img"] {
            Cmd::new("rm").arg("-rf").arg(root.join(left_out)).run()?;
        }
        Cmd::new("mkfs.erofs").args(["-zlz4", "--quiet"]).arg(dir.join("erofs")).arg(&root).run()?;
        ext4(&root, &dir.join("ext4"))?;
        Cmd::new("rm").arg("-rf").arg(&root).run().map(drop)
    })
}

fn ext4(root: &Path, image: &Path) -> Result<()> {
    let used = Cmd::new("du").args(["-sm"]).arg(root).run()?;
    let mib: u64 = used.split_whitespace().next().unwrap_or_default().parse()?;
    let size = format!("{}M", mib + mib / 8 + 16);
    Cmd::new("mke2fs")
        .args(["-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d"])
        .args([root, image])
        .arg(size)
        .run()
        .map(drop)
}
