// SPDX-License-Identifier: GPL-3.0-or-later
//! The catalogue: one folder an image, under `images/` of the root.
//!
//! ```text
//! images/NAME/{manifest.toml,payload,vmlinuz,initrd,NAME.torrent,NAME.statement}
//! images/NAME/NAME.statement.minisig   when it is signed
//! images/NAME@2/               another version of it, see [`versions`]
//! images/.staging-NAME-…/      being made, or being thrown away
//! images/.lock                 held while names or manifests change
//! images/.new-…                a changed manifest or signature, before it is renamed
//! ```
//! An image is there whole or not at all: it is made in a staging folder and
//! renamed. Readers need no lock. What root does here it does as the folders' owner ([`crate::owner`]); only a staging
//! folder is root's own until the image is whole.

mod change;
mod copy;
pub mod entries;
pub mod free_space;
mod names;
pub mod own;
mod place;
mod sign;
mod staging;
mod store;
pub mod torito;
pub mod versions;

pub use change::ImageChange;
pub use copy::{CopiedVersion, VersionCopy};
pub use names::{
    ADDON, INITRD, KERNEL, MANIFEST, PAYLOAD, SUMS, as_json, signature_name, statement_name, torrent_name,
};
pub use place::Place;
pub use sign::{Resigned, Sealed, verified};
pub use staging::Staging;
pub use store::Catalogue;

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
