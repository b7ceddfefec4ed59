// SPDX-License-Identifier: GPL-3.0-or-later
//! What crosses the API, as JSON, and belongs to no part of the server: see `http::routes` for who asks what.

use crate::{
    clients::BootRecord,
    hosts::{EntryKey, HostEntry},
    relay::here::UpstreamRow,
};
use bootspec::{ImageManifest, ImageName, InfoHash};
use serde::{Deserialize, Serialize};

/// A changing request's body has at most so many bytes.
pub const MAX_BODY: usize = 64 * 1024;
/// One that changes many entries of machines.
pub const MAX_BODIES: usize = 8 << 20;

/// How the server is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// Where it is a relay: its first server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<UpstreamRow>,
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
    /// Whether it is the default image.
    #[serde(default)]
    pub default: bool,
    /// The key that it says it is signed by.
    #[serde(default)]
    pub key: Option<String>,
    /// The machines that run it or are about to, by id.
    #[serde(default)]
    pub machines: Vec<String>,
    /// All its versions, where there are several: the current one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<VersionRow>,
}

/// One version of an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VersionRow {
    /// Its number.
    pub version: u32,
    /// Its identity.
    pub infohash: InfoHash,
    /// When it was added, RFC 3339 in UTC.
    pub added: String,
    /// The machines that run it or are about to, by id.
    pub machines: Vec<String>,
}

impl ImageRow {
    /// For programs: with the priority also where it is the usual one, which a manifest leaves out.
    pub fn as_json(&self) -> serde_json::Value {
        let mut value = serde_json::to_value(self).expect("an image is JSON");
        value["priority"] = self.manifest.priority.get().into();
        value["version"] = self.manifest.version.into();
        value
    }
}

/// An entry of the menu that is not an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryRow {
    /// Its name, which machines boot like an image's.
    pub name: ImageName,
    /// What menus call it; empty: its name.
    #[serde(default)]
    pub title: String,
    /// What it is, for people.
    pub what: String,
    /// Whether menus leave it out.
    #[serde(default)]
    pub hidden: bool,
}

/// An entry of hosts.toml.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRow {
    /// Whom it is for.
    pub key: EntryKey,
    /// What it says.
    #[serde(flatten)]
    pub entry: HostEntry,
}

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TokenRow {
    /// The name of the token; none over the local socket.
    pub name: Option<String>,
    /// Whether it changes nothing.
    pub read_only: bool,
}

/// One boot of a machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BootRow {
    /// The machine, by id.
    pub machine: String,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What came of it.
    #[serde(flatten)]
    pub boot: BootRecord,
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
