// SPDX-License-Identifier: GPL-3.0-or-later
//! Changes go through the running server, so that they count at once and need no root; without one, to the disk.

use super::run::block_on;
use crate::{
    api::{
        Api,
        types::{HostRow, ImageRow},
    },
    catalogue::ImageChange,
    clients::Client,
    config::Config,
    hosts::{Bootable, EntryKey, HostChanges, Hosts, Name, ScheduleEntry, waiting::WaitingKey},
    operations::{self, Disk},
    orders::{ScheduleRow, agenda::agenda},
    trail,
};
use anyhow::{Result, anyhow, bail};
use bootspec::ImageName;
use std::collections::BTreeSet;

/// Who does it.
pub enum Backend {
    /// The running server.
    Server(Api),
    /// Nobody runs: we do.
    Disk(Disk),
}

impl Backend {
    /// The running server, or the disk. Errors: a server runs, and this user may not tell it anything.
    pub fn open(config: &Config) -> Result<Backend> {
        let api = Api::local(&config.serve.socket)?;
        Ok(api.map_or_else(|| Backend::Disk(Disk::of(config)), Backend::Server))
    }

    /// The same for questions, which everybody may ask: over TCP where the socket is not for this user.
    pub fn open_to_read(config: &Config) -> Result<Backend> {
        Backend::open(config).or_else(|_| Ok(Backend::Server(Api::connect(config)?)))
    }

    /// Whether a server runs.
    pub fn is_server(&self) -> bool {
        matches!(self, Backend::Server(_))
    }

    /// What is set for machines and groups.
    pub fn hosts(&self) -> Result<Hosts> {
        match self {
            Backend::Server(api) => {
                let rows = block_on(api.hosts())?;
                let entries = rows.into_iter().map(|r| (r.key, r.entry)).collect();
                Ok(Hosts { entries, ..Hosts::default() })
            }
            Backend::Disk(disk) => disk.hosts.load(),
        }
    }

    /// What machines can boot.
    pub fn bootable(&self) -> Result<Bootable> {
        match self {
            Backend::Server(api) => block_on(async {
                let versions = |row: &ImageRow| match row.versions.as_slice() {
                    [] => vec![row.manifest.version],
                    all => all.iter().map(|v| v.version).collect(),
                };
                let images = api.images().await?;
                let images = images.iter().map(|row| (row.manifest.name.clone(), versions(row)));
                let entries = api.entries().await?.into_iter().map(|row| (row.name, Vec::new()));
                Ok(images.chain(entries).collect())
            }),
            Backend::Disk(disk) => disk.bootable(),
        }
    }

    /// The machines that the server knows; none without a server.
    pub fn clients(&self) -> Result<Vec<Client>> {
        match self {
            Backend::Server(api) => block_on(api.clients()),
            Backend::Disk(..) => Ok(Vec::new()),
        }
    }

    /// Machines whose own key should be accepted; none without a server.
    pub fn waiting(&self) -> Result<Vec<WaitingKey>> {
        match self {
            Backend::Server(api) => block_on(api.waiting()),
            Backend::Disk(..) => Ok(Vec::new()),
        }
    }

    /// Change many entries, all of them or none. Those that changed.
    pub fn change_hosts(&self, changes: &HostChanges) -> Result<Vec<HostRow>> {
        match self {
            Backend::Server(api) => block_on(api.change_hosts(changes)),
            Backend::Disk(disk) => {
                let hosts = disk.change_hosts(changes)?;
                trail::tell(&format!("hosts.toml: {}", shown(changes)));
                let keys: BTreeSet<&EntryKey> = changes.keys().collect();
                let entry = |key| hosts.entries.get(key).cloned().unwrap_or_default();
                Ok(keys.into_iter().map(|key| HostRow { key: key.clone(), entry: entry(key) }).collect())
            }
        }
    }

    /// The calendar.
    pub fn schedule(&self) -> Result<Vec<ScheduleRow>> {
        match self {
            Backend::Server(api) => block_on(api.schedule()),
            Backend::Disk(disk) => Ok(agenda(&disk.hosts.load()?, None, chrono::Local::now())),
        }
    }

    /// Set an entry of the calendar; one of that name is replaced.
    pub fn set_schedule(&self, name: &Name, entry: &ScheduleEntry) -> Result<ScheduleRow> {
        match self {
            Backend::Server(api) => block_on(api.set_schedule(name, entry)),
            Backend::Disk(disk) => {
                let hosts = disk.set_schedule(name, entry)?;
                trail::tell(&format!(
                    "calendar: {name}: {}",
                    serde_json::to_string(entry).unwrap_or_default()
                ));
                let row = agenda(&hosts, None, chrono::Local::now()).into_iter().find(|r| r.name == *name);
                row.ok_or_else(|| anyhow!("the entry '{name}' is not in the calendar"))
            }
        }
    }

    /// Remove an entry of the calendar.
    pub fn unset_schedule(&self, name: &Name) -> Result<()> {
        match self {
            Backend::Server(api) => block_on(api.unset_schedule(name)),
            Backend::Disk(disk) => {
                disk.unset_schedule(name)?;
                trail::tell(&format!("calendar: {name} is removed"));
                Ok(())
            }
        }
    }

    /// Change an image.
    pub fn change_image(&self, name: &ImageName, change: &ImageChange) -> Result<()> {
        match self {
            Backend::Server(api) => block_on(api.change_image(name, change)).map(drop),
            Backend::Disk(disk) => {
                disk.change_image(name, change)?;
                trail::tell(&format!(
                    "image '{name}': {}",
                    serde_json::to_string(change).unwrap_or_default()
                ));
                Ok(())
            }
        }
    }

    /// The running server, which alone carries orders to machines.
    pub fn server(&self) -> Result<&Api> {
        match self {
            Backend::Server(api) => Ok(api),
            Backend::Disk(_) => bail!(
                "no server runs here, and machines get their orders from it: systemctl start {}",
                bootspec::SERVER_UNIT
            ),
        }
    }

    /// Wake a machine or a group; who was sent for.
    pub fn wake(&self, target: &str) -> Result<Vec<String>> {
        match self {
            Backend::Server(api) => Ok(block_on(api.wake(target))?.sent),
            Backend::Disk(disk) => operations::wake(target, &disk.hosts.load()?, &[]),
        }
    }
}

/// Changes, for the log.
fn shown(changes: &HostChanges) -> String {
    serde_json::to_string(&changes.changes).unwrap_or_default()
}
