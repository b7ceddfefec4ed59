// SPDX-License-Identifier: GPL-3.0-or-later
//! An initrd as the kernel reads it (Documentation/driver-api/early-userspace/buffer-format.rst): cpio archives one
//! behind the other, each plain or packed in its own way. It is other people's: every number in it is bounded.

mod decompress;
mod section;
mod walk;
mod write;

pub use decompress::Compression;
pub use section::Section;
pub use walk::{Member, Walked, walk};
pub use write::{append, end};
