// SPDX-License-Identifier: GPL-3.0-or-later
//! What of the kernel no safe function of the standard library or of nix reaches.

use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::mman::{MapFlags, ProtFlags, mmap},
};
use std::{
    fs::File,
    num::NonZeroUsize,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    slice,
    sync::atomic::AtomicU64,
};

// Sound: the argument is the number of a file descriptor, and no memory of ours is read or written.
#[allow(unsafe_code, missing_docs)]
mod ioctl {
    // LOOP_CHANGE_FD of linux/loop.h.
    nix::ioctl_write_int_bad!(loop_change_fd, 0x4C06);
}

/// From now on `device`, a read-only loop device, reads from `file`, which must be as long as the one before (loop(4)). Waits
/// for reads that are under way.
#[allow(unsafe_code)]
pub fn change(device: &impl AsRawFd, file: &impl AsRawFd) -> nix::Result<()> {
    let (device, file): (RawFd, RawFd) = (device.as_raw_fd(), file.as_raw_fd());
    // Both are open as long as they are borrowed.
    unsafe { ioctl::loop_change_fd(device, file) }.map(drop)
}

/// A file descriptor that the process which started this one has left open. Only for numbers on our own command line, each
/// once: nobody else in this program knows them.
#[allow(unsafe_code)]
pub fn inherited(number: RawFd) -> OwnedFd {
    // A number that is not open, or is one of the first three, can only come from a caller by hand: it reads or writes what
    // it should not, but no memory.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    // Those whom this process starts get duplicates.
    let _ = fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC));
    fd
}

/// The first `bytes` bytes of a file, and the `words` words behind them, as memory that the next process to map them finds
/// as this one has left it. `bytes`: whole pages. Maps them until the process ends. To be called once for each file.
#[allow(unsafe_code)]
pub fn shared(
    file: &File,
    bytes: usize,
    words: usize,
) -> nix::Result<(&'static mut [u8], &'static [AtomicU64])> {
    let map = |at: usize, len: usize| {
        let len = NonZeroUsize::new(len).ok_or(nix::errno::Errno::EINVAL)?;
        let how = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // A new mapping, at a place that the kernel chooses: it overlaps nothing.
        unsafe { mmap(None, len, how, MapFlags::MAP_SHARED, file, at as i64) }
    };
    let first = map(0, bytes)?;
    let rest = map(bytes, words * size_of::<AtomicU64>())?;
    // The mappings are as long, begin at a page, and stay. The file is in our own folder, and nobody shortens it. The first
    // is borrowed by one alone; the other has atomics, which may be read and written from all sides.
    unsafe {
        Ok((
            slice::from_raw_parts_mut(first.as_ptr().cast(), bytes),
            slice::from_raw_parts(rest.as_ptr().cast(), words),
        ))
    }
}
