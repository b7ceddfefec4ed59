// SPDX-License-Identifier: GPL-3.0-or-later
//! What the admin does to images and machines: the same whether the running server does it over its API, or the command
//! line on the disk, where none runs.

use crate::{
    catalogue::{Catalogue, ImageChange, entries::EntriesFolder},
    clients::Client,
    config::Config,
    hosts::{self, EntryKey, HostChange, Hosts},
    keys::{CatalogueSigner, Folder},
    wake,
};
use anyhow::{Result, anyhow};
use bootspec::{ImageManifest, ImageName, manifest::Kind};

/// Images and machines on the disk.
#[derive(Clone, Debug)]
pub struct Disk {
    /// The images.
    pub catalogue: Catalogue,
    /// What is said of machines and groups.
    pub hosts: hosts::HostsFile,
    /// What can be booted besides images.
    pub entries: EntriesFolder,
}

/// Why an image is not removed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct InUse(String);

impl Disk {
    /// As the settings say.
    pub fn of(config: &Config) -> Disk {
        let dir = &config.catalogue.dir;
        let catalogue = Catalogue::at(dir).signed_by(CatalogueSigner::Later(Folder::of(config)));
        Disk { catalogue, hosts: hosts::HostsFile::at(dir), entries: EntriesFolder::at(dir) }
    }

    /// Everything that a machine may boot: images, then entries.
    pub fn names(&self) -> Result<Vec<ImageName>> {
        let entries = self.entries.load().0.into_iter().map(|(name, _)| name);
        Ok(self.catalogue.names()?.into_iter().chain(entries).collect())
    }

    /// Change the entry of a machine or a group.
    pub fn set_host(&self, key: &EntryKey, change: &HostChange) -> Result<Hosts> {
        let names = self.names()?;
        self.hosts.change(|hosts| change.apply(hosts, key, &names))
    }

    /// Forget what was said of a machine or a group.
    pub fn unset_host(&self, key: &EntryKey) -> Result<Hosts> {
        self.hosts.change(|hosts| hosts.forget(key))
    }

    /// Change an image, and with its name what is said of machines that boot it.
    pub fn change_image(&self, name: &ImageName, change: &ImageChange) -> Result<Hosts> {
        self.catalogue.manifest(name)?;
        self.catalogue.apply(name, change)?;
        self.hosts.image_changed(name, change)
    }

    /// Remove an image. Errors: [`InUse`], and not `force`; an image with a damaged manifest goes by force only.
    pub fn remove_image(
        &self,
        name: &ImageName,
        force: bool,
        clients: impl FnOnce() -> Result<Vec<Client>>,
    ) -> Result<()> {
        if !force {
            let manifest = self.catalogue.manifest(name)?;
            if let Some(why) = in_use(&manifest, &clients()?, &self.hosts.load()?) {
                return Err(InUse(why).into());
            }
        }
        self.catalogue.remove(name)
    }
}

/// Wake a machine or a group. Whom a packet was sent for.
pub fn wake(target: &str, hosts: &Hosts, clients: &[Client]) -> Result<Vec<String>> {
    let macs = wake::resolve(target, hosts, clients).map_err(|why| anyhow!(why))?;
    wake::send(&macs)?;
    Ok(macs.iter().map(|m| m.to_string()).collect())
}

/// Why an image cannot be removed: LTSP names it, machines run it, or are to boot it.
fn in_use(image: &ImageManifest, clients: &[Client], hosts: &Hosts) -> Option<String> {
    const SHOWN: usize = 20;
    if image.kind == Kind::Ltsp {
        return Some(format!(
            "image '{0}' is of LTSP, whose menu names it: `ltsp boottorrent disable {0}` removes it",
            image.name
        ));
    }
    let list = |mut names: Vec<String>| {
        let more = names.len().saturating_sub(SHOWN);
        names.truncate(SHOWN);
        let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{}{tail}", names.join(", "))
    };
    // Anybody may say of a machine that it runs an image.
    let runs = clients.iter().filter(|c| c.proven && c.runs(image.infohash));
    let machines: Vec<String> = runs
        .map(|c| c.name.clone().or(c.heartbeat.hostname.clone()).unwrap_or_else(|| c.heartbeat.id.clone()))
        .collect();
    let assigned = hosts.users(&image.name);
    match (machines.is_empty(), assigned.is_empty()) {
        (false, _) => Some(format!(
            "image '{}' is in use by {}: shut them down first, or give --force",
            image.name,
            list(machines)
        )),
        (true, false) => Some(format!(
            "image '{}' is what {} should boot: give them another one first, or give --force",
            image.name,
            list(assigned)
        )),
        (true, true) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bootspec::{Heartbeat, Phase};

    #[test]
    fn nobodys_word_keeps_no_image() {
        let image = ImageManifest { infohash: bootspec::InfoHash([7; 20]), ..serde_json::from_value(serde_json::json!({
            "name": "lab", "kind": "filesystem", "infohash": "07".repeat(20), "size": 1, "piece_length": 1, "kernel": {"size": 1, "from": "x"},
            "initrd": {"size": 1, "from": "x"}, "append": "", "added": "", "source": ""
        })).unwrap() };
        let runs = |proven| Client {
            heartbeat: Heartbeat {
                infohash: Some(image.infohash),
                phase: Phase::Seed,
                ..Heartbeat::default()
            },
            proven,
            ..Client::default()
        };
        assert!(in_use(&image, &[runs(true)], &Hosts::default()).is_some());
        assert_eq!(in_use(&image, &[runs(false)], &Hosts::default()), None);
    }
}
