// SPDX-License-Identifier: GPL-3.0-or-later
//! Changes go through the running server, so that they count at once and need no root; without one, to the disk.

use super::run::block_on;
use crate::{
    api::{Api, types::*},
    catalogue::{Catalogue, ImageChange},
    clients::Client,
    config::Config,
    hosts::{HostChange, HostKey, Hosts, Store},
    keys::{Folder, Hand},
    wake,
};
use anyhow::{Result, anyhow};
use bootspec::ImageName;

/// Who does it.
pub enum Backend {
    /// The running server.
    Server(Api),
    /// Nobody runs: we do.
    Disk(Catalogue, Store),
}

impl Backend {
    /// The running server, or the disk. Errors: a server runs, and this user may not tell it anything.
    pub fn open(config: &Config) -> Result<Backend> {
        let dir = &config.catalogue.dir;
        Ok(match Api::local(&config.serve.socket)? {
            Some(api) => Backend::Server(api),
            None => {
                let catalogue = Catalogue::at(dir).signed_by(Hand::Later(Folder::of(config)));
                Backend::Disk(catalogue, Store::at(dir))
            }
        })
    }

    /// The same for questions, which everybody may ask: over TCP where the socket is not for this user.
    pub fn open_to_read(config: &Config) -> Result<Backend> {
        Backend::open(config).or_else(|_| Ok(Backend::Server(Api::connect(config)?)))
    }

    /// What was said of machines and groups.
    pub fn hosts(&self) -> Result<Hosts> {
        match self {
            Backend::Server(api) => {
                let rows = block_on(api.hosts())?;
                Ok(Hosts { entries: rows.into_iter().map(|r| (r.key, r.entry)).collect() })
            }
            Backend::Disk(_, store) => store.load(),
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
    pub fn set_host(&self, key: &HostKey, change: &HostChange) -> Result<HostRow> {
        match self {
            Backend::Server(api) => block_on(api.set_host(key, change)),
            Backend::Disk(catalogue, store) => {
                let images = catalogue.names()?;
                let hosts = store.change(|hosts| change.apply(hosts, key, &images))?;
                Ok(HostRow { key: key.clone(), entry: hosts.entries.get(key).cloned().unwrap_or_default() })
            }
        }
    }

    /// Forget what was said of a machine or a group.
    pub fn unset_host(&self, key: &HostKey) -> Result<()> {
        match self {
            Backend::Server(api) => block_on(api.unset_host(key)),
            Backend::Disk(_, store) => store.change(|hosts| hosts.forget(key)).map(drop),
        }
    }

    /// Change an image.
    pub fn change_image(&self, name: &ImageName, change: &ImageChange) -> Result<()> {
        match self {
            Backend::Server(api) => block_on(api.change_image(name, change)).map(drop),
            Backend::Disk(catalogue, store) => {
                catalogue.manifest(name)?;
                catalogue.apply(name, change)?;
                store.image_changed(name, change).map(drop)
            }
        }
    }

    /// Wake a machine or a group; who was sent for.
    pub fn wake(&self, target: &str) -> Result<Vec<String>> {
        match self {
            Backend::Server(api) => Ok(block_on(api.wake(target))?.sent),
            Backend::Disk(_, store) => {
                let macs = wake::resolve(target, &store.load()?, &[]).map_err(|e| anyhow!(e))?;
                wake::send(&macs)?;
                Ok(macs.iter().map(|m| m.to_string()).collect())
            }
        }
    }
}
