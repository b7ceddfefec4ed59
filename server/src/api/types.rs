// SPDX-License-Identifier: GPL-3.0-or-later
//! What crosses the API, as JSON. Errors are no JSON: a status from 400 on, and one sentence as text.
//!
//! | request | body → answer |
//! |---|---|
//! | `GET /api/v1/health` | → [`Health`] |
//! | `GET /api/v1/clients` | → `[`[`Client`](crate::clients::Client)`]` |
//! | `GET /api/v1/images` | → `[`[`ImageRow`]`]` |
//! | `GET /api/v1/hosts` | → `[`[`HostRow`]`]` |
//! | `GET /api/v1/fetches` | → `[`[`FetchRow`]`]` |
//! | `PUT /api/v1/hosts/KEY` | [`HostChange`](crate::hosts::HostChange) → [`HostRow`] |
//! | `DELETE /api/v1/hosts/KEY` | → nothing |
//! | `POST /api/v1/images/NAME` | [`ImageChange`] → [`ImageRow`] |
//! | `DELETE /api/v1/images/NAME[?force=true]` | → nothing |
//! | `POST /api/v1/fetches` | [`FetchRequest`] → [`FetchRow`] |
//! | `DELETE /api/v1/fetches/ID` | → nothing: one that runs is cancelled, one that has ended is forgotten |
//! | `POST /api/v1/wake` | [`Wake`] → [`Woken`] |
//!
//! From `PUT` on they work over the local socket, or with a token. KEY is a [`HostKey`], percent-encoded where it must be.

use crate::hosts::{Entry, HostKey};
use bootspec::{ImageManifest, ImageName, Priority};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A changing request's body has at most so many bytes.
pub const MAX_BODY: usize = 64 * 1024;

/// How the server is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `ok`.
    pub status: String,
    /// Its version.
    pub version: String,
    /// How many images it serves.
    pub images: usize,
    /// How many machines have reported in the last minute.
    pub machines: usize,
    /// How many images it seeds.
    pub seeding: usize,
}

/// An image that is served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageRow {
    /// What it is.
    #[serde(flatten)]
    pub manifest: ImageManifest,
    /// Bytes that go to each machine before the swarm can help: kernel, initrd and add-on.
    #[serde(default)]
    pub phase_one: u64,
    /// Whether machines of which nothing else was said boot it.
    #[serde(default)]
    pub default: bool,
    /// The key that it says it is signed by.
    #[serde(default)]
    pub key: Option<String>,
    /// The machines that run it or are about to, by id.
    #[serde(default)]
    pub machines: Vec<String>,
}

impl ImageRow {
    /// For programs: with the priority also where it is the usual one, which a manifest leaves out.
    pub fn as_json(&self) -> serde_json::Value {
        let mut value = serde_json::to_value(self).expect("an image is JSON");
        value["priority"] = self.manifest.priority.get().into();
        value
    }
}

/// An entry of hosts.toml.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRow {
    /// Whom it is for.
    pub key: HostKey,
    /// What it says.
    #[serde(flatten)]
    pub entry: Entry,
}

/// What changes of an image. Machines that run it notice nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImageChange {
    /// Its new name. What was said of machines goes along.
    pub name: Option<ImageName>,
    /// Whether machines of which nothing else was said boot it.
    pub default: Option<bool>,
    /// Its share of the server's link.
    pub priority: Option<Priority>,
    /// The kernel parameters that the admin adds; empty: none.
    pub append: Option<String>,
}

/// What is to be fetched, verified and added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FetchRequest {
    /// The name of a source, a URL, a magnet link, or the path of a .torrent.
    pub what: String,
    /// The image's name; the source's or the file's if not given.
    pub name: Option<ImageName>,
    /// Which file of a torrent with several.
    pub file: Option<String>,
    /// Kernel parameters for the image.
    pub append: String,
    /// Its SHA-256 or SHA-512 sum. This and what follows go before what a source says.
    pub sum: Option<String>,
    /// Where its checksums are.
    pub checksums: Option<String>,
    /// Where the OpenPGP signature is: of the checksums if there are any, else of the image.
    pub signature: Option<String>,
    /// The file with the keys that may sign, on the server.
    pub key: Option<PathBuf>,
    /// Whether an image of this name is replaced.
    pub replace: bool,
    /// Whether it is taken although nothing says that it is genuine.
    pub no_verify: bool,
    /// Whether peers are looked for in the DHT, which is outside of this network.
    pub dht: bool,
    /// How often in a row a server may fail without sending anything; 8 if not given.
    pub tries: Option<u32>,
}

/// A fetch in the server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FetchRow {
    /// Its number.
    pub id: u64,
    /// What was asked for.
    pub request: FetchRequest,
    /// Where it is.
    pub state: FetchState,
    /// The image that it became, or will become.
    pub image: Option<ImageName>,
    /// Bytes that are here.
    pub have: u64,
    /// Bytes that there are, where that is known.
    pub total: Option<u64>,
    /// Bytes a second now.
    pub rate: u64,
    /// Peers that it has now; none over HTTP.
    pub peers: u32,
    /// What its genuineness rests on, as soon as that is known: one sentence.
    pub verified: Option<String>,
    /// Why it failed: one sentence.
    pub error: Option<String>,
    /// When it was asked for (RFC 3339).
    pub started: String,
}

/// Where a fetch is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FetchState {
    /// Others come first.
    #[default]
    Queued,
    /// Its bytes come.
    Fetching,
    /// Its checksum and signature are looked at.
    Verifying,
    /// It becomes an image.
    Importing,
    /// It is an image, and served.
    Done,
    /// It is not. What came of it is gone on with when it is asked for again.
    Failed,
    /// Somebody did not want it any more.
    Cancelled,
}

impl FetchState {
    /// Whether it goes on by itself.
    pub fn is_alive(self) -> bool {
        !matches!(self, FetchState::Done | FetchState::Failed | FetchState::Cancelled)
    }

    /// The word as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            FetchState::Queued => "queued",
            FetchState::Fetching => "fetching",
            FetchState::Verifying => "verifying",
            FetchState::Importing => "importing",
            FetchState::Done => "done",
            FetchState::Failed => "failed",
            FetchState::Cancelled => "cancelled",
        }
    }
}

/// Who is to be woken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wake {
    /// A key, or the name of a machine or a group.
    pub target: String,
}

/// Who was sent for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Woken {
    /// The MAC addresses to which a magic packet went.
    pub sent: Vec<String>,
}
