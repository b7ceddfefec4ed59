// SPDX-License-Identifier: GPL-3.0-or-later
//! What is said of machines, groups and everybody.

use super::{
    key::{EntryKey, Name},
    schedule::ScheduleEntry,
};
use crate::{catalogue::ImageChange, net::Subnet};
use bootspec::{ImageName, ImageRef, Sha256Sum};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is set for a machine, a group, or everybody. What is missing comes from the group, then from `default`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HostEntry {
    /// The machine's name. Machines only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// The group that the machine, or the group, is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<Name>,
    /// The image that is booted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageRef>,
    /// The image that is booted the next time, and then no more. Machines only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub once: Option<ImageRef>,
    /// Whether there is a menu, in which `image` starts by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub menu: Option<bool>,
    /// More kernel parameters: `NAME=VALUE`, or `NAME`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<String>,
    /// Files that are laid over the root, by the SHA-256 of the archive that they are in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<Sha256Sum>,
    /// Private files, by the SHA-256 of their archive: sent over HTTPS, to machines whose key was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private: Option<Sha256Sum>,
    /// The SHA-256 of the machine's own key, which the admin has accepted. Machines only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Sha256Sum>,
    /// Machines whose name begins so are in the group. Groups only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prefix: Vec<String>,
    /// Machines with an address in one of these are in the group. Groups only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subnet: Vec<Subnet>,
}

/// Groups in groups, at most.
pub const MAX_DEPTH: usize = 16;

/// All entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    /// By whom they are for.
    pub entries: BTreeMap<EntryKey, HostEntry>,
    /// The calendar, by the names of its entries.
    pub schedule: BTreeMap<Name, ScheduleEntry>,
}

impl Hosts {
    /// What is set for everybody.
    pub fn default_image(&self) -> Option<&ImageRef> {
        self.entries.get(&EntryKey::Default)?.image.as_ref()
    }

    /// The names of the groups.
    pub fn groups(&self) -> impl Iterator<Item = &Name> {
        self.entries.keys().filter_map(|key| match key {
            EntryKey::Group(name) => Some(name),
            _ => None,
        })
    }

    /// Forget what is set for somebody. The machines of a group are in no group then.
    pub fn forget(&mut self, key: &EntryKey) -> Result<(), String> {
        if self.entries.remove(key).is_none() {
            return Err(format!("nothing is set for '{key}': see `boottorrent host list`"));
        }
        if let EntryKey::Group(name) = key {
            self.entries.values_mut().filter(|e| e.group.as_ref() == Some(name)).for_each(|e| e.group = None);
        }
        Ok(())
    }

    /// An image has another name, or is the default now, or no longer.
    pub fn image_changed(&mut self, old: &ImageName, change: &ImageChange) {
        let new = change.name.as_ref().unwrap_or(old);
        let entries = self.entries.values_mut().flat_map(|e| [&mut e.image, &mut e.once]);
        let said = entries.chain(self.schedule.values_mut().map(|e| &mut e.image)).flatten();
        said.filter(|i| i.name == *old).for_each(|i| i.name = new.clone());
        match change.default {
            Some(true) => self.entries.entry(EntryKey::Default).or_default().image = Some(new.clone().into()),
            Some(false) => {
                let default = self.entries.get_mut(&EntryKey::Default);
                if let Some(entry) = default.filter(|e| e.image.as_ref().is_some_and(|i| i.name == *new)) {
                    entry.image = None;
                }
            }
            None => {}
        }
    }

    /// Who boots an image, in whichever version, as the entries say.
    pub fn users(&self, image: &ImageName) -> Vec<String> {
        self.who_boots(|i| i.name == *image)
    }

    /// Who boots just this version of an image, as the entries say.
    pub fn users_of_version(&self, image: &ImageName, version: u32) -> Vec<String> {
        self.who_boots(|i| i.name == *image && i.version == Some(version))
    }

    fn who_boots(&self, it: impl Fn(&ImageRef) -> bool) -> Vec<String> {
        let boots = |e: &HostEntry| e.image.iter().chain(&e.once).any(&it);
        let name =
            |k: &EntryKey, e: &HostEntry| e.name.as_ref().map_or_else(|| k.to_string(), |n| n.to_string());
        let machines = self.entries.iter().filter(|(_, e)| boots(e)).map(|(k, e)| name(k, e));
        let due = self.schedule.iter().filter(|(_, e)| e.image.as_ref().is_some_and(&it));
        machines.chain(due.map(|(name, _)| format!("the calendar's '{name}'"))).collect()
    }

    /// A group and the groups that it is in, the nearest first. A circle, which can only be made by hand, ends.
    pub fn lineage(&self, group: &Name) -> Vec<(&Name, &HostEntry)> {
        let mut all: Vec<(&Name, &HostEntry)> = Vec::new();
        let mut next = Some(group);
        while let Some(name) = next.filter(|n| all.len() < MAX_DEPTH && !all.iter().any(|(a, _)| a == n)) {
            let found = self.entries.get_key_value(&EntryKey::Group(name.clone()));
            let Some((EntryKey::Group(name), entry)) = found else { break };
            all.push((name, entry));
            next = entry.group.as_ref();
        }
        all
    }

    /// Whether a group is another one, or in it.
    pub fn is_within(&self, group: &Name, other: &Name) -> bool {
        group == other || self.lineage(group).iter().any(|(name, _)| *name == other)
    }

    /// The key that a person means: a key as it is written, or the name of a machine or a group that is known.
    pub fn find(&self, word: &str) -> Result<EntryKey, String> {
        let parsed = word.parse::<EntryKey>();
        if parsed.is_ok() {
            return parsed;
        }
        let Ok(name) = word.parse::<Name>() else { return parsed };
        let named = self.entries.iter().find(|(_, e)| e.name.as_ref() == Some(&name)).map(|(k, _)| k.clone());
        let group = EntryKey::Group(name);
        match named {
            Some(key) => Ok(key),
            None if self.entries.contains_key(&group) => Ok(group),
            None => Err(format!(
                "no machine and no group is called '{word}': write a MAC address, a UUID, serial:NUMBER, or \
                 group:{word} for a new group"
            )),
        }
    }
}
