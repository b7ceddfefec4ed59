// SPDX-License-Identifier: GPL-3.0-or-later
//! What all images have in common: a name, words on the kernel command line, our hooks.

use crate::{Cmd, workspace};
use anyhow::Result;
use std::path::PathBuf;

/// The image's name in a catalogue.
pub const IMAGE: &str = "debian";

/// What the kernel command line of our images needs besides what the server writes. A kernel
/// without mitigations is a third faster under emulation, and `panic=-1` makes a failure an end.
/// norandmaps: QEMU translates a program anew at each address that it is loaded to. A systemd initrd runs
/// hundreds, and when their pages are used again after it, every write to one goes through thousands of
/// translations: half of all time in page_collection_lock, and soft lockups in the guest.
/// no_timer_check: a kernel measures its timer for some ticks, and panics where this machine is too busy to give them.
pub const APPEND: &str = "console=ttyS0 mitigations=off norandmaps no_timer_check panic=-1";

/// The hook files of the workspace, which images are made with.
pub(super) fn hook_files(of: &str) -> Result<Vec<PathBuf>> {
    let found =
        Cmd::new("find").arg(workspace().join("initramfs-hooks").join(of)).args(["-type", "f"]).run()?;
    let mut files: Vec<PathBuf> = found.lines().map(PathBuf::from).collect();
    files.sort();
    files.push(workspace().join("Makefile"));
    Ok(files)
}
