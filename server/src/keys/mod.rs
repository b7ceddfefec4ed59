// SPDX-License-Identifier: GPL-3.0-or-later
//! The keys that images are signed with, as stock minisign has them.
//!
//! ```text
//! /etc/boottorrent/keys/NAME.pub   whose signature counts: the hook puts all of them into the initramfs
//! /etc/boottorrent/keys/NAME.key   a secret key, mode 0600; this server may have none
//! ```

mod folder;
mod make;
mod secret;

pub use folder::{Folder, NAME, Public};
pub use make::{NewKey, generate, import};
pub use secret::{AskPassword, CatalogueSigner, Signer, password};

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
