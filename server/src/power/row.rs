// SPDX-License-Identifier: GPL-3.0-or-later
//! What is asked for, and what comes of it: as JSON over the API.

use crate::hosts::{EntryKey, Name};
use serde::{Deserialize, Serialize};

/// What is to be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PowerAction {
    /// Switch on: by the BMC, or by wake-on-LAN where there is none.
    On,
    /// Switch off at once, without the system's doing.
    Off,
    /// Off and on again; a machine that is off is switched on.
    Cycle,
    /// Ask whether it is on.
    #[default]
    Status,
}

/// `POST /api/v1/power`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PowerRequest {
    /// Machines and groups, as the commands take them.
    pub who: Vec<String>,
    /// What is to be done.
    pub action: PowerAction,
}

/// Whether a machine is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum PowerState {
    On,
    Off,
}

/// How a machine was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum Way {
    Ipmi,
    Redfish,
    WakeOnLan,
}

/// What came of it for one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PowerRow {
    /// The machine.
    pub key: EntryKey,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// How it was reached; none: in no way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Way>,
    /// With `status`: whether it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<PowerState>,
    /// Why it was not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
