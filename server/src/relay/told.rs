// SPDX-License-Identifier: GPL-3.0-or-later
//! What crosses between a relay and the first server, as JSON.

use crate::{
    catalogue::entries::BootEntry,
    clients::{BootLoaderReport, MachineProof},
    hosts::{EntryKey, Hosts},
    menu_settings::MenuSettings,
    menu_users::MenuUsers,
    net::Subnet,
};
use bootspec::{Heartbeat, ImageManifest, ImageName, ImageRef, Sha256Sum, order};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::IpAddr};

/// Bytes of a snapshot at most: ten thousand entries of machines are a tenth of it.
pub const MAX_SNAPSHOT: usize = 64 << 20;
/// Bytes of a report at most, and machines in one.
pub const MAX_REPORT: usize = 8 << 20;
/// See [`MAX_REPORT`].
pub const MACHINES: usize = 128;
/// The header with the first server's clock, in milliseconds since 1970.
pub const CLOCK: &str = "boottorrent-clock";

/// Everything that a relay takes over, but for the bytes of files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The version of the first server's program.
    pub version: String,
    /// Its port for HTTP without TLS, and that for peers.
    pub http: u16,
    /// See `http`.
    pub peers: u16,
    /// Where its relays listen for HTTP, those that report.
    #[serde(default)]
    pub relays: Vec<String>,
    /// `[boot]` of its settings, as far as machines are told of it.
    pub boot: BootWords,
    /// `[menu]`.
    pub menu: MenuSettings,
    /// What is said of machines and groups.
    pub hosts: Hosts,
    /// Who may start what the menu locks.
    pub users: MenuUsers,
    /// The public keys that its machines believe, by id.
    pub keys: Vec<String>,
    /// All versions of all images, the current one of each first.
    pub images: Vec<ImageCopy>,
    /// What can be booted besides.
    pub entries: Vec<EntryCopy>,
    /// Files for machines with their signatures, which may be empty; not private ones.
    pub layers: Vec<(Sha256Sum, String)>,
}

/// Settings of the first server that machines are told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootWords {
    /// Kernel parameters for every image.
    pub append: String,
    /// The image that the menu starts by itself.
    pub default: Option<ImageName>,
    /// Milliseconds that the menu waits.
    pub timeout: u64,
}

/// What tells one content of a file from another, and its size.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileTag {
    /// Bytes.
    pub size: u64,
    /// Changes with the content.
    pub tag: String,
}

/// Files by name.
pub type Tags = BTreeMap<String, FileTag>;

/// One version of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageCopy {
    /// What it is.
    pub manifest: ImageManifest,
    /// Whether it is the current version.
    #[serde(default)]
    pub current: bool,
    /// What is signed of it, and the signature; either may be empty.
    pub statement: String,
    /// See `statement`.
    pub signature: String,
    /// Its files but for the payload.
    pub files: Tags,
}

/// An entry that is not an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryCopy {
    /// Its name.
    pub name: ImageName,
    /// What it is.
    pub entry: BootEntry,
    /// Its files.
    pub files: Tags,
}

/// What a relay tells each second.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// The version of its program.
    pub version: String,
    /// Its port for HTTP without TLS.
    pub http: u16,
    /// The networks that it is in.
    pub subnets: Vec<Subnet>,
    /// How many images it has.
    pub images: usize,
    /// How many it does not have yet, or has no space for.
    pub missing: usize,
    /// What keeps it from having all.
    pub trouble: Option<String>,
    /// What its machines have said.
    pub words: Vec<Word>,
    /// Boots for one time that have happened.
    pub done: Vec<OnceDone>,
}

/// What a machine behind a relay has said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Word {
    /// From which address.
    pub remote: IpAddr,
    /// What stands behind it, as the relay has seen it.
    pub proof: MachineProof,
    /// What.
    #[serde(flatten)]
    pub said: Said,
}

/// See [`Word`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Said {
    /// By its boot loader, when it asked what to boot.
    Loader(Box<BootLoaderReport>),
    /// By its agent.
    Beat(Box<Heartbeat>),
}

impl Word {
    /// The machine.
    pub fn id(&self) -> &str {
        match &self.said {
            Said::Loader(loader) => &loader.mac,
            Said::Beat(beat) => &beat.id,
        }
    }

    /// Whether the machine does what it was told, now.
    pub fn is_going(&self) -> bool {
        matches!(&self.said, Said::Beat(beat) if going(beat))
    }
}

/// Whether a machine does what it was told, now.
pub fn going(beat: &Heartbeat) -> bool {
    let report = beat.orders.as_ref().and_then(|orders| orders.order.as_ref());
    report.is_some_and(|report| report.stage == order::Stage::Going)
}

/// A machine has booted what it should boot once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnceDone {
    /// Its entry.
    pub key: EntryKey,
    /// What it booted.
    pub image: ImageRef,
}

impl OnceDone {
    /// Take it out of what is said of machines, unless another boot was set meanwhile.
    pub fn apply(&self, hosts: &mut Hosts) {
        let entry = hosts.entries.get_mut(&self.key);
        if let Some(entry) = entry.filter(|e| e.once.as_ref() == Some(&self.image)) {
            entry.once = None;
        }
    }
}

/// The answer to a [`Report`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Reply {
    /// What machines are to do, of those that have reported.
    pub orders: BTreeMap<String, order::Answer>,
}
