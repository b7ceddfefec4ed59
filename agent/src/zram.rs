// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent.overlay=zram`: a compressed disk in RAM for what the booted system writes. See zram in the
//! kernel's admin guide; its files are in /sys/block/zramN.

use anyhow::{Context, anyhow, bail};
use bootspec::units::human_size;
use nix::sys::stat::{Mode, umask};
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};
use sys_mount::{FilesystemType, Mount, MountFlags};

const CONTROL: &str = "/sys/class/zram-control/hot_add";

/// Make a disk of `size` bytes that takes at most `limit` bytes of RAM, and mount it.
pub fn mount(at: &Path, size: u64, limit: u64) -> anyhow::Result<()> {
    if !Path::new(CONTROL).exists() {
        // What it could not do is seen below.
        let _ = Command::new("modprobe").args(["-b", "-q", "zram"]).stderr(Stdio::null()).status();
    }
    let number = fs::read_to_string(CONTROL)
        .map_err(|_| anyhow!("this initrd's kernel has no zram (MKFS=yes in /etc/boottorrent/initramfs.conf of the image brings it)"))?;
    let number: u32 = number.trim().parse().context("asking for a zram device")?;
    let file = |name: &str, value: u64| {
        let path = format!("/sys/block/zram{number}/{name}");
        fs::write(&path, value.to_string()).with_context(|| format!("writing {value} to {path}"))
    };
    file("disksize", size)?;
    file("mem_limit", limit)?;
    let node = format!("/dev/zram{number}");
    // No journal: nothing of it is there after a power cut. Blocks of 4 KiB, as zram's own.
    let made = Command::new("mkfs.ext4")
        .args(["-q", "-F", "-m", "0", "-b", "4096", "-O", "^has_journal", &node])
        .stdin(Stdio::null())
        .output();
    match made {
        Err(e) => bail!(
            "running mkfs.ext4 ({e}; MKFS=yes in /etc/boottorrent/initramfs.conf of the image brings it)"
        ),
        Ok(output) if !output.status.success() => {
            bail!(
                "mkfs.ext4 {node} of {} failed: {}",
                human_size(size),
                String::from_utf8_lossy(&output.stderr).trim()
            )
        }
        Ok(_) => {}
    }
    umask(Mode::from_bits_truncate(0o022));
    fs::create_dir_all(at).with_context(|| format!("creating {}", at.display()))?;
    Mount::builder()
        .fstype(FilesystemType::Manual("ext4"))
        .flags(MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOATIME)
        // What is deleted gives its RAM back.
        .data("discard")
        .mount(&node, at)
        .map(drop)
        .with_context(|| format!("mounting {node} on {}", at.display()))
}
