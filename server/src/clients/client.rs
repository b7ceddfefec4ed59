// SPDX-License-Identifier: GPL-3.0-or-later
//! A machine as it is told, and what stands behind its words.

use super::boots::BootRecord;
use crate::attempts::Stage;
use bootspec::{Heartbeat, InfoHash, Phase, order::OrderReport};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A machine, as `GET /api/v1/clients` tells it: its last heartbeat, and what the server knows beside it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Client {
    /// What it said last.
    #[serde(flatten)]
    pub heartbeat: Heartbeat,
    /// The address from which it spoke.
    pub remote: Option<IpAddr>,
    /// Seconds since it spoke.
    pub age: f64,
    /// Seconds since it was first heard.
    pub known: f64,
    /// Whether it has been silent for too long.
    pub gone: bool,
    /// Whether it is the machine that says this: its heartbeats carry the secret of its boot, or come from its card's
    /// address on our own link.
    #[serde(default)]
    pub proven: bool,
    /// The UUID of its firmware, if its boot loader has told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// The serial number of its firmware, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// What its firmware is, likewise: `pcbios`, `efi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// The name that the admin gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The group that counts for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The image that it boots the next time, if one was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Which version of its image it boots or runs, where there has been more than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_version: Option<u32>,
    /// Its last boots, the oldest first: told of one machine only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub boots: Vec<BootRecord>,
    /// The relay through which it reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<String>,
    /// Which initrd it was sent, where it was not the one for its card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initrd: Option<Stage>,
}

/// What a machine's boot loader tells when it asks what to boot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BootLoaderReport {
    /// The address of the interface that it boots from: what the machine is known by.
    pub mac: String,
    /// Its address.
    pub ip: Option<IpAddr>,
    /// Its UUID.
    pub uuid: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// What its firmware is.
    pub platform: Option<String>,
    /// The name that DHCP gave it.
    pub hostname: Option<String>,
    /// The image that it was told to boot; none where it was given a menu.
    pub image: Option<String>,
}

/// Why a heartbeat was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// This machine spoke a moment ago.
    TooOften,
    /// There are too many machines.
    TooMany,
    /// The machine itself has shown who it is, and this one has not.
    NotTheMachine,
}

/// What stands behind a machine's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MachineProof {
    /// The secret of a boot that was made at this time.
    Secret(u64),
    /// The link: the address is that of the machine's card.
    Link,
    /// Nothing.
    Nobodys,
}

impl MachineProof {
    /// Whether anything does.
    pub fn is_proven(self) -> bool {
        self != MachineProof::Nobodys
    }

    /// What stands behind a machine now. A secret of an earlier boot does not become good again.
    pub fn after(self, before: MachineProof) -> MachineProof {
        match (before, self) {
            (MachineProof::Secret(then), MachineProof::Link) => MachineProof::Secret(then),
            _ => self,
        }
    }

    /// Whether who has shown `self` may speak after who has shown `before`.
    pub fn follows(self, before: MachineProof) -> bool {
        match (before, self) {
            (MachineProof::Secret(then), MachineProof::Secret(now)) => now >= then,
            (before, now) => now.is_proven() || !before.is_proven(),
        }
    }
}

/// What a heartbeat changed, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Nothing but numbers.
    None,
    /// The machine is new, or in a new phase.
    Phase,
}

impl Client {
    /// The phase for people.
    pub fn phase(&self) -> &'static str {
        match self.heartbeat.phase {
            _ if self.gone => "gone",
            phase => phase.as_str(),
        }
    }

    /// What is worth a look: why it failed, else what became of its order, else that it was sent another initrd than usual.
    pub fn remark(&self) -> String {
        let error = self.heartbeat.error.clone().filter(|e| !e.is_empty());
        let order = || self.heartbeat.orders.as_ref()?.order.as_ref().map(OrderReport::sentence);
        let sent = || self.initrd.and_then(Stage::sentence).map(str::to_owned);
        error.or_else(order).or_else(sent).unwrap_or_default()
    }

    /// The image for people, with its version where that says something.
    pub fn image(&self) -> String {
        match (&self.heartbeat.image, self.image_version) {
            (Some(image), Some(version)) => format!("{image}@{version}"),
            (Some(image), None) => image.clone(),
            (None, _) => "-".into(),
        }
    }

    /// Whether it boots this image or runs it.
    pub fn runs(&self, infohash: InfoHash) -> bool {
        !self.gone && self.heartbeat.phase != Phase::Failed && self.heartbeat.infohash == Some(infohash)
    }

    /// The same, and it is the machine itself that says so. Anybody may say of a machine that it runs an image.
    pub fn holds(&self, infohash: InfoHash) -> bool {
        self.proven && self.runs(infohash)
    }
}
