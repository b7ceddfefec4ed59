// SPDX-License-Identifier: GPL-3.0-or-later
//! The LAN swarm, on librqbit's public API: sources in, verified bytes out, progress.
//!
//! | step | module |
//! |---|---|
//! | a .torrent becomes a checked [`Metainfo`] | [`metainfo`] |
//! | the server makes one | [`create`](mod@create) |
//! | a [`Session`] joins swarms and seeds | [`session`] |
//! | pieces land in a file | `storage` |
//! | every machine wants other pieces first | `steer` |
//! | the first piece, and what no peer sends, comes over HTTP | [`http`], `webseed` |
//! | who sent how much | `account` |
//!
//! The rules come from measurements of librqbit 9.1.0 in flash crowds: a peer
//! that starts empty is taken for a full one and never told of new pieces, and
//! pieces go in file order, so that everybody asks the server for the same one.

mod account;
pub mod create;
pub mod http;
pub mod metainfo;
pub mod session;
mod steer;
mod storage;
mod webseed;

pub use create::{CreateOptions, create};
pub use http::HttpSource;
pub use metainfo::{MAX_METAINFO, Metainfo, MetainfoError};
pub use session::{Fetch, Session, SessionConfig, Torrent};
