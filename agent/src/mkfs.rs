// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent.mkfs=DEVICE`: a filesystem for images on the one device that was
//! named, when it is empty. What carries anything is never touched.

use crate::{device, report::Report, superblock};
use anyhow::{Context, bail};
use bootspec::{DeviceName, units::human_size};
use std::{
    io::{Seek, SeekFrom},
    path::Path,
    process::{Command, Stdio},
};

/// Find the device, look at it, and make the filesystem if it is empty. One of ours is left as it is.
pub async fn run(dev: &Path, name: &DeviceName, report: &Report) -> anyhow::Result<()> {
    let node = device::find(dev, name, device::PATIENCE).await?;
    let held = device::open_alone(&node).with_context(|| {
        format!(
            "boottorrent.mkfs={name} is not formatted: {} is in use (mounted, or part of something)",
            node.display()
        )
    })?;
    if superblock::ours(&held)? {
        report.debug(&format!("{name} has a filesystem for images already"));
        return Ok(());
    }
    if let Some(at) = superblock::first_byte(&held)? {
        let what = match superblock::filesystem(&held)? {
            Some(kind) => format!("a filesystem ({kind})"),
            None => format!("data (at byte {at})"),
        };
        bail!(
            "boottorrent.mkfs={name} is not formatted: {} carries {what}; if nothing on it is needed, erase it with \
             `blkdiscard -z {0}` or `dd if=/dev/zero`, and boot again",
            node.display()
        );
    }
    let size = (&held).seek(SeekFrom::End(0)).context("asking for the device's size")?;
    drop(held);
    let label = superblock::LABEL;
    report.warn(&format!(
        "making a filesystem for images on {} ({}, label {label})",
        node.display(),
        human_size(size)
    ));
    let made = Command::new("mkfs.ext4")
        .args(["-q", "-F", "-m", "0", "-L", label])
        .arg(&node)
        .stdin(Stdio::null())
        .output();
    match made {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => bail!(
            "boottorrent.mkfs={name}: this initrd has no mkfs.ext4: if the server made the initrd, run `boottorrent image add \
             --replace` there; otherwise set MKFS=yes in the image's /etc/boottorrent/initramfs.conf and run update-initramfs -u \
             in the image"
        ),
        Err(e) => Err(e).context("running mkfs.ext4"),
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!(
                "mkfs.ext4 {} failed: {}",
                node.display(),
                said.lines().last().unwrap_or("it does not say why")
            )
        }
    }
}
