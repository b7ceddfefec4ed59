// SPDX-License-Identifier: GPL-3.0-or-later
//! What the admin does to images and machines: the same whether the running server does it over its API, or the command
//! line on the disk, where none runs.

use crate::{
    catalogue::{Catalogue, ImageChange, entries::EntriesFolder},
    clients::{Client, MachinesFile},
    config::Config,
    hosts::{
        self, Bootable, EntryKey, HostChange, HostChanges, Hosts, Name, ScheduleEntry, files::LayersFolder,
        schedule::MAX_SCHEDULE, select,
    },
    keys::{CatalogueSigner, Folder},
    wake,
};
use anyhow::{Result, anyhow};
use bootspec::{ImageManifest, ImageName, ImageRef, manifest::Kind};

/// Images and machines on the disk.
#[derive(Clone, Debug)]
pub struct Disk {
    /// The images.
    pub catalogue: Catalogue,
    /// What is said of machines and groups.
    pub hosts: hosts::HostsFile,
    /// What can be booted besides images.
    pub entries: EntriesFolder,
    /// Files for machines, over their images.
    pub layers: LayersFolder,
    /// Private ones.
    pub private: LayersFolder,
    /// The machines, as the server writes them down.
    pub machines: MachinesFile,
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
        Disk {
            catalogue,
            hosts: hosts::HostsFile::at(dir),
            entries: EntriesFolder::at(dir),
            layers: LayersFolder::at(dir),
            private: LayersFolder::private(dir),
            machines: MachinesFile::at(dir),
        }
    }

    /// Everything that a machine may boot: images with their versions, and entries.
    pub fn bootable(&self) -> Result<Bootable> {
        let mut all = Bootable::new();
        for name in self.catalogue.names()? {
            // A damaged one is there all the same.
            let mut numbers: Vec<u32> =
                self.catalogue.versions(&name).unwrap_or_default().iter().map(|m| m.version).collect();
            numbers.sort_unstable();
            all.insert(name, numbers);
        }
        all.extend(self.entries.load().0.into_iter().map(|(name, _)| (name, Vec::new())));
        Ok(all)
    }

    /// The machines as a server knew them that has stopped.
    pub fn machines(&self) -> Result<Vec<Client>> {
        let (mut clients, hosts) = (self.machines.load()?.list(), self.hosts.load()?);
        for client in &mut clients {
            let choice = hosts::choose(&hosts, &wake::asker(client));
            client.name = choice.name.map(|n| n.to_string());
            client.group = choice.group.map(|g| g.to_string());
        }
        Ok(clients)
    }

    /// Change many entries: all of them, or none.
    pub fn change_hosts(&self, changes: &HostChanges) -> Result<Hosts> {
        self.hosts.change(|hosts| {
            let images = self.bootable().map_err(|e| format!("{e:#}"))?;
            changes.changes.iter().try_for_each(|c| self.check_files(&c.key, &c.change))?;
            changes.apply(hosts, &images)
        })
    }

    /// Change the entry of a machine or a group.
    pub fn set_host(&self, key: &EntryKey, change: &HostChange) -> Result<Hosts> {
        // With the lock: a version that is to be booted from now on is not removed meanwhile.
        self.hosts.change(|hosts| {
            let images = self.bootable().map_err(|e| format!("{e:#}"))?;
            self.check_files(key, change)?;
            change.apply(hosts, key, &images)
        })
    }

    /// Whether the files that an entry is to have are there, and are for it.
    fn check_files(&self, key: &EntryKey, change: &HostChange) -> Result<(), String> {
        let check = |folder: &LayersFolder, sum: Option<_>| sum.map_or(Ok(()), |sum| folder.check(sum, key));
        check(&self.layers, change.set.files)
            .and_then(|()| check(&self.private, change.set.private))
            .map_err(|e| format!("{e:#}"))
    }

    /// Remove files that no entry has any more.
    pub fn prune_files(&self) -> Result<()> {
        if self.layers.is_empty() && self.private.is_empty() {
            return Ok(());
        }
        // With the lock: none of them is given to anybody meanwhile.
        self.hosts.change(|hosts| {
            let used = hosts.entries.values().flat_map(|e| [e.files, e.private]).flatten().collect();
            let pruned = self.layers.prune(&used).and_then(|()| self.private.prune(&used));
            pruned.map_err(|e| format!("{e:#}"))
        })?;
        Ok(())
    }

    /// Forget what is set for a machine or a group.
    pub fn unset_host(&self, key: &EntryKey) -> Result<Hosts> {
        self.hosts.change(|hosts| hosts.forget(key))
    }

    /// Set an entry of the calendar; one of that name is replaced.
    pub fn set_schedule(&self, name: &Name, entry: &ScheduleEntry) -> Result<Hosts> {
        self.hosts.change(|hosts| {
            entry.check()?;
            for key in select(hosts, &entry.who)? {
                if key != EntryKey::Default && !hosts.entries.contains_key(&key) {
                    return Err(format!("nothing is set for '{key}': see `boottorrent host list`"));
                }
            }
            if let Some(image) = &entry.image
                && !self.has_image(image)
            {
                return Err(format!(
                    "there is no image '{image}' to switch to: `boottorrent image list` lists the images"
                ));
            }
            if !hosts.schedule.contains_key(name) && hosts.schedule.len() >= MAX_SCHEDULE {
                return Err(format!("there are {MAX_SCHEDULE} entries in the calendar already"));
            }
            hosts.schedule.insert(name.clone(), entry.clone());
            Ok(())
        })
    }

    /// Remove an entry of the calendar.
    pub fn unset_schedule(&self, name: &Name) -> Result<Hosts> {
        self.hosts.change(|hosts| match hosts.schedule.remove(name) {
            Some(_) => Ok(()),
            None => Err(format!("the calendar has no entry '{name}': see `boottorrent host schedule`")),
        })
    }

    /// Whether there is such an image, in this version.
    pub fn has_image(&self, image: &ImageRef) -> bool {
        let versions = self.catalogue.versions(&image.name).unwrap_or_default();
        versions.iter().any(|m| image.version.is_none_or(|v| v == m.version))
    }

    /// Change an image, and with its name what is said of machines that boot it.
    pub fn change_image(&self, name: &ImageName, change: &ImageChange) -> Result<Hosts> {
        self.catalogue.manifest(name)?;
        self.catalogue.apply(name, change)?;
        self.hosts.image_changed(name, change)
    }

    /// Remove an image with all its versions, or one version of it. Errors: [`InUse`], and not `force`; an image with a
    /// damaged manifest goes by force only.
    pub fn remove_image(
        &self,
        image: &ImageRef,
        force: bool,
        clients: impl FnOnce() -> Result<Vec<Client>>,
    ) -> Result<()> {
        let ImageRef { name, version } = image;
        if !force {
            let mut all = self.catalogue.versions(name)?;
            all.retain(|m| version.is_none_or(|v| v == m.version));
            let (clients, hosts) = (clients()?, self.hosts.load()?);
            let assigned = match version {
                None => hosts.users(name),
                Some(version) => hosts.users_of_version(name, *version),
            };
            if let Some(why) = in_use(image, &all, &clients, assigned) {
                return Err(InUse(why).into());
            }
        }
        match version {
            None => self.catalogue.remove(name),
            Some(version) => self.catalogue.remove_version(name, *version),
        }
    }

    /// Remove earlier versions of which there are more than are kept. Never one that a machine runs, or that somebody
    /// should boot. Which were removed.
    pub fn prune(&self, keep: &Retention, clients: &[Client]) -> Result<Vec<ImageRef>> {
        let mut removed = Vec::new();
        let names = self.catalogue.names()?;
        let mut folders = names.iter().map(|name| self.catalogue.kept_folders(name));
        if folders.all(|f| f.is_ok_and(|f| f.is_empty())) {
            return Ok(removed);
        }
        // With the lock: nobody is told to boot a version that goes.
        self.hosts.change(|hosts| {
            removed = self.prune_with(keep, clients, hosts).map_err(|e| format!("{e:#}"))?;
            Ok(())
        })?;
        Ok(removed)
    }

    fn prune_with(&self, keep: &Retention, clients: &[Client], hosts: &Hosts) -> Result<Vec<ImageRef>> {
        let (mut earlier, mut removed) = (Vec::new(), Vec::new());
        for name in self.catalogue.names()? {
            let Ok(current) = self.catalogue.manifest(&name) else { continue };
            let kept = self.catalogue.kept(&name)?.into_iter().map(|k| k.manifest);
            // Newer ones wait to become the current one.
            let mut kept: Vec<ImageManifest> = kept.filter(|m| m.version < current.version).collect();
            kept.reverse();
            earlier.extend(kept.into_iter().enumerate());
        }
        // The oldest goes first, whichever image's it is.
        earlier.sort_by(|(_, a), (_, b)| a.added.cmp(&b.added).then(a.version.cmp(&b.version)));
        let mut bytes: u64 = earlier.iter().map(|(_, m)| m.size).sum();
        for (newer, m) in earlier {
            let many = newer >= keep.versions || keep.size.is_some_and(|most| bytes > most);
            let runs = clients.iter().any(|c| c.holds(m.infohash));
            if !many || runs || !hosts.users_of_version(&m.name, m.version).is_empty() {
                continue;
            }
            // It may have become the current one meanwhile: then it stays.
            if self.catalogue.remove_version(&m.name, m.version).is_ok() {
                bytes -= m.size;
                removed.push(ImageRef { name: m.name, version: Some(m.version) });
            }
        }
        Ok(removed)
    }
}

/// How many earlier versions are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Of each image.
    pub versions: usize,
    /// Bytes of all of them together.
    pub size: Option<u64>,
}

impl Retention {
    /// As the settings say.
    pub fn of(config: &Config) -> Retention {
        Retention { versions: config.catalogue.keep_versions, size: config.catalogue.keep_size }
    }
}

/// Wake a machine or a group. Whom a packet was sent for.
pub fn wake(target: &str, hosts: &Hosts, clients: &[Client]) -> Result<Vec<String>> {
    let macs = wake::resolve(target, hosts, clients).map_err(|why| anyhow!(why))?;
    wake::send(&macs)?;
    Ok(macs.iter().map(|m| m.to_string()).collect())
}

/// Why versions of an image cannot be removed: LTSP names it, machines run them, or are to boot them.
fn in_use(
    image: &ImageRef,
    versions: &[ImageManifest],
    clients: &[Client],
    assigned: Vec<String>,
) -> Option<String> {
    const SHOWN: usize = 20;
    if versions.iter().any(|m| m.kind == Kind::Ltsp) {
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
    let runs = clients.iter().filter(|c| versions.iter().any(|m| c.holds(m.infohash)));
    let machines: Vec<String> = runs
        .map(|c| c.name.clone().or(c.heartbeat.hostname.clone()).unwrap_or_else(|| c.heartbeat.id.clone()))
        .collect();
    match (machines.is_empty(), assigned.is_empty()) {
        (false, _) => Some(format!(
            "image '{image}' is in use by {}: shut them down first, or give --force",
            list(machines)
        )),
        (true, false) => Some(format!(
            "image '{image}' is what {} should boot: give them another one first, or give --force",
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
        let lab = ImageRef::from(image.name.clone());
        let versions = [image.clone()];
        assert!(in_use(&lab, &versions, &[runs(true)], Vec::new()).is_some());
        assert_eq!(in_use(&lab, &versions, &[runs(false)], Vec::new()), None);
    }
}
