// SPDX-License-Identifier: GPL-3.0-or-later
//! Changes go through the running server, so that they count at once and need no root; without one, to the disk.

use super::run::block_on;
use crate::{
    api::{Api, types::HostRow},
    catalogue::ImageChange,
    clients::Client,
    config::Config,
    hosts::{EntryKey, HostChange, Hosts},
    operations::{self, Disk},
};
use anyhow::Result;
use bootspec::ImageName;

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

    /// What was said of machines and groups.
    pub fn hosts(&self) -> Result<Hosts> {
        match self {
            Backend::Server(api) => {
                let rows = block_on(api.hosts())?;
                Ok(Hosts { entries: rows.into_iter().map(|r| (r.key, r.entry)).collect() })
            }
            Backend::Disk(disk) => disk.hosts.load(),
        }
    }

    /// The machines that the server knows; none without a server.
    pub fn clients(&self) -> Result<Vec<Client>> {
        match self {
            Backend::Server(api) => block_on(api.clients()),
            Backend::Disk(..) => Ok(Vec::new()),
        }
    }

    /// Say something of a machine or a group.
    pub fn set_host(&self, key: &EntryKey, change: &HostChange) -> Result<HostRow> {
        match self {
            Backend::Server(api) => block_on(api.set_host(key, change)),
            Backend::Disk(disk) => {
                let hosts = disk.set_host(key, change)?;
                Ok(HostRow { key: key.clone(), entry: hosts.entries.get(key).cloned().unwrap_or_default() })
            }
        }
    }

    /// Forget what was said of a machine or a group.
    pub fn unset_host(&self, key: &EntryKey) -> Result<()> {
        match self {
            Backend::Server(api) => block_on(api.unset_host(key)),
            Backend::Disk(disk) => disk.unset_host(key).map(drop),
        }
    }

    /// Change an image.
    pub fn change_image(&self, name: &ImageName, change: &ImageChange) -> Result<()> {
        match self {
            Backend::Server(api) => block_on(api.change_image(name, change)).map(drop),
            Backend::Disk(disk) => disk.change_image(name, change).map(drop),
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
