// SPDX-License-Identifier: GPL-3.0-or-later
//! Files for machines, over one image: [`bootspec::layer`] says what a layer looks like.
//!
//! | step | module |
//! |---|---|
//! | what the admin gives, a folder or a tarball, and what is refused of it | [`content`] |
//! | the layer of it, and what is in one | [`pack`] |
//! | where layers are kept: `files/SHA256` in the catalogue's folder | [`store`] |

pub mod content;
pub mod pack;
pub mod store;

pub use content::Content;
pub use store::LayersFolder;
