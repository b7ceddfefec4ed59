// SPDX-License-Identifier: GPL-3.0-or-later
//! `image fetch`: from a name, a URL, a magnet link or a .torrent to an image that is served.
//!
//! | step | module |
//! |---|---|
//! | decide what, from where, and what will say that it is genuine | [`plan`](mod@plan) |
//! | the list of checksums, and who signed it | [`promise`], [`sums`], [`signature`] |
//! | the image, gone on with where it was interrupted | [`download`], [`http`], [`torrent`] |
//! | all of it in order: it is what was promised, or it goes | `story` |
//! | it becomes an image | [`crate::import`] |
//! | in the daemon, many of them | [`jobs`] |
//! | how it is doing | [`watch`] |

mod dirs;
pub mod download;
pub mod http;
pub mod jobs;
mod part;
mod parts;
pub mod plan;
pub mod promise;
pub mod request;
pub mod signature;
mod story;
pub mod sums;
pub mod torrent;
pub mod watch;

pub use dirs::FetchDirs;
pub use story::fetch;
pub use watch::Watch;
