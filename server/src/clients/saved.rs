// SPDX-License-Identifier: GPL-3.0-or-later
//! The machines on the disk, so that a server that starts again knows them, and whoever removes an image while no server
//! runs. It is the word of the server's user, and bounded like what comes from the network.

use super::{
    boots::{BOOTS, BootRecord},
    bounds::{GONE_AFTER, MAX_MACHINES, clean},
    client::{BootLoaderReport, Client, MachineProof},
};
use crate::{attempts::OtherInitrd, files};
use anyhow::{Context, Result};
use bootspec::{Heartbeat, Phase};
use serde::{Deserialize, Serialize};
use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The file's name, in the catalogue's folder.
const FILE: &str = "machines.json";
/// 4096 machines with fifty boots each are smaller.
const MAX: usize = 128 << 20;

/// All machines, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SavedMachines {
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// Each of them.
    pub machines: Vec<SavedMachine>,
    /// Which of them boot with another initrd than the one for their card.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub initrds: Vec<OtherInitrd>,
}

/// One machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedMachine {
    /// What it said last.
    pub heartbeat: Heartbeat,
    /// What its boot loader said.
    #[serde(default)]
    pub loader: BootLoaderReport,
    /// From where it spoke.
    pub remote: IpAddr,
    /// Milliseconds since it was first heard, and since it was last.
    pub known: u64,
    /// See `known`.
    pub silent: u64,
    /// What stands behind its words.
    pub word: MachineProof,
    /// Its last boots.
    #[serde(default)]
    pub boots: Vec<BootRecord>,
    /// The relay through which it spoke.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<String>,
}

impl SavedMachines {
    /// How much later it is now.
    pub fn since(&self) -> Duration {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        now.saturating_sub(Duration::from_millis(self.at))
    }

    /// The machines as they were then.
    pub fn list(&self) -> Vec<Client> {
        let seconds = |ms| Duration::from_millis(ms).as_secs_f64();
        let client = |m: &SavedMachine| Client {
            heartbeat: m.heartbeat.clone(),
            remote: Some(m.remote),
            age: seconds(m.silent),
            known: seconds(m.known),
            gone: m.is_gone(),
            proven: m.word.is_proven(),
            uuid: m.loader.uuid.clone(),
            serial: m.loader.serial.clone(),
            platform: m.loader.platform.clone(),
            relay: m.relay.clone(),
            ..Client::default()
        };
        self.machines.iter().map(client).collect()
    }
}

impl SavedMachine {
    /// Whether it was silent for too long.
    pub fn is_gone(&self) -> bool {
        Duration::from_millis(self.silent) > GONE_AFTER
    }
}

/// The file.
#[derive(Clone, Debug)]
pub struct MachinesFile {
    path: PathBuf,
}

impl MachinesFile {
    /// In the catalogue's folder, whether it is there or not.
    pub fn at(catalogue: &Path) -> MachinesFile {
        MachinesFile { path: catalogue.join(FILE) }
    }

    /// Read it. Without it, no machine is known.
    pub fn load(&self) -> Result<SavedMachines> {
        let Some(bytes) = files::find(&self.path, MAX, "list of machines")? else {
            return Ok(SavedMachines::default());
        };
        let reading = || format!("reading {} (it can be deleted)", self.path.display());
        let mut saved: SavedMachines = serde_json::from_slice(&bytes).with_context(reading)?;
        saved.machines.truncate(MAX_MACHINES);
        for machine in &mut saved.machines {
            clean(&mut machine.heartbeat, machine.remote);
            let many = machine.boots.len().saturating_sub(BOOTS);
            machine.boots.drain(..many);
        }
        Ok(saved)
    }

    /// Write it.
    pub fn save(&self, machines: &SavedMachines) -> Result<()> {
        let bytes = serde_json::to_vec(machines).context("writing JSON")?;
        // Serial numbers and logs are for the admin.
        files::replace(&self.path, &bytes, 0o600)
    }
}

/// What is kept of a log: only why a boot failed is asked for later.
pub fn kept_log(phase: Phase, log: &[String]) -> Vec<String> {
    if phase == Phase::Failed { log.to_vec() } else { Vec::new() }
}
