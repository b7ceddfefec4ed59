// SPDX-License-Identifier: GPL-3.0-or-later
//! A loop device gets another file below it while it is in use (loop(4), LOOP_CHANGE_FD).

use std::{
    fs::File,
    os::fd::{AsRawFd, RawFd},
};

// Sound: the argument is the number of a file descriptor, and no memory of ours is read or written.
#[allow(unsafe_code, missing_docs)]
mod ioctl {
    // LOOP_CHANGE_FD of linux/loop.h.
    nix::ioctl_write_int_bad!(loop_change_fd, 0x4C06);
}

/// From now on `device`, a read-only loop device, reads from `file`, which must be as long as the one before. Waits for
/// reads that are under way.
#[allow(unsafe_code)]
pub fn change(device: &File, file: &File) -> nix::Result<()> {
    let (device, file): (RawFd, RawFd) = (device.as_raw_fd(), file.as_raw_fd());
    // Both are open as long as they are borrowed.
    unsafe { ioctl::loop_change_fd(device, file) }.map(drop)
}
