// SPDX-License-Identifier: GPL-3.0-or-later
//! What is to be fetched, and how far that is: as it crosses the API, and as it is kept.

use bootspec::ImageName;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

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
    /// How far it is.
    #[serde(flatten)]
    pub progress: FetchProgress,
    /// Why it failed: one sentence.
    pub error: Option<String>,
    /// When it was asked for (RFC 3339).
    pub started: String,
}

/// How far a fetch is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FetchProgress {
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
    /// All of them.
    pub const ALL: [FetchState; 7] = [
        FetchState::Queued,
        FetchState::Fetching,
        FetchState::Verifying,
        FetchState::Importing,
        FetchState::Done,
        FetchState::Failed,
        FetchState::Cancelled,
    ];

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
