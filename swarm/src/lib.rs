// SPDX-License-Identifier: GPL-3.0-or-later
//! The LAN swarm: sources in, verified bytes out, progress.
//!
//! | step | module |
//! |---|---|
//! | a .torrent becomes a checked [`Metainfo`] | [`metainfo`] |
//! | which of its files is the payload | `files` |
//! | without a .torrent, peers are asked for it | [`magnet`] |
//! | the server makes one | [`create`](mod@create) |
//! | a [`Session`] listens, joins swarms and seeds | [`session`] |
//! | what is fetched, shown and served next: decisions without I/O | [`plan`] |
//! | peers are found and called | `discover`, `known`, `networks` |
//! | messages, and a connection's life | `wire`, `conn`, `peer` |
//! | the same without a network, for fuzzing and tests | [`drive`] |
//! | what becomes of a message, and what it costs its sender | `heed` |
//! | what TCP is told, and how many places one host may take | `socket`, `places`, `greeting` |
//! | what the connections of a torrent share | `torrent` |
//! | who is connected, and what goes over the connections | `members`, `exchange` |
//! | who has sent wrong pieces is found | `trial` |
//! | who may send now, and how fast | `gate` |
//! | pieces land in a file, and are verified there | `store` |
//! | a slow disk keeps nobody waiting | `landing`, `write_queue` |
//! | what an old version has of a new one is found | [`sums`] |
//! | what is in a file already is found by hashing | [`survey`](mod@survey) |
//! | what is seeded is hashed as it is asked for | `vouch` |
//! | what a whole payload is, beyond SHA-1 | [`sha256`](mod@sha256) |
//! | what no peer sends comes over HTTP | [`http`], `fallback` |
//! | a payload is read before it is complete | [`Demand`], `plan::picker::urgent` |
//!
//! Protocol, tracker and local discovery are librqbit's crates; piece order, dealing
//! and turns are ours, since they are what a flash crowd stands or falls with.

mod account;
mod conn;
pub mod create;
mod demand;
mod discover;
pub mod drive;
mod exchange;
mod fallback;
mod files;
mod gate;
mod greeting;
mod heed;
pub mod http;
mod known;
mod landing;
pub mod magnet;
mod members;
pub mod metainfo;
mod metainfo_error;
mod networks;
mod peer;
mod places;
pub mod plan;
pub mod session;
pub mod sha256;
mod socket;
mod store;
pub mod sums;
pub mod survey;
mod torrent;
mod trial;
mod vouch;
pub mod wire;
mod write_queue;

pub use create::{CreateOptions, create};
pub use demand::Demand;
pub use http::HttpSource;
pub use magnet::Magnet;
pub use metainfo::Metainfo;
pub use metainfo_error::{MAX_METAINFO, MetainfoError};
pub use places::{Place, Places, host};
pub use session::{Fetch, Seeding, Session, SessionConfig, Torrent};
pub use sha256::{Summing, sha256};
pub use socket::small_segments;
pub use store::Head;
pub use survey::{sample, survey, survey_apart, survey_summing};
