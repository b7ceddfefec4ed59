// SPDX-License-Identifier: GPL-3.0-or-later
//! Changes of many entries: all of them, or none.

use super::{
    change::{Bootable, HostChange},
    entry::{HostEntry, Hosts},
    key::{EntryKey, Name},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Changes at once, at most: as many as there may be entries, and groups besides.
const MANY: usize = 20_000;

/// The change of one entry among others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyedChange {
    /// Whose entry it is.
    pub key: EntryKey,
    /// What changes in it.
    #[serde(default)]
    pub change: HostChange,
    /// Whether the entry is removed instead.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forget: bool,
}

/// `POST /api/v1/hosts`: all of these changes, or none of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HostChanges {
    /// One after the other.
    pub changes: Vec<KeyedChange>,
}

impl HostChanges {
    /// The same change for each of them.
    pub fn same(keys: &[EntryKey], change: &HostChange) -> HostChanges {
        let one = |key: &EntryKey| KeyedChange { key: key.clone(), change: change.clone(), forget: false };
        HostChanges { changes: keys.iter().map(one).collect() }
    }

    /// Each of them is forgotten.
    pub fn forget(keys: &[EntryKey]) -> HostChanges {
        let one =
            |key: &EntryKey| KeyedChange { key: key.clone(), change: HostChange::default(), forget: true };
        HostChanges { changes: keys.iter().map(one).collect() }
    }

    /// Entries that are set as they are given, as lists of machines have them. Groups that are named and not there
    /// are made.
    pub fn set(entries: Vec<(EntryKey, HostEntry)>) -> HostChanges {
        let named: BTreeSet<&Name> = entries.iter().filter_map(|(_, e)| e.group.as_ref()).collect();
        let own = entries.iter().filter_map(|(key, _)| match key {
            EntryKey::Group(name) => Some(name),
            _ => None,
        });
        // First, since others may be in them.
        let groups: Vec<EntryKey> = named
            .into_iter()
            .chain(own)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .map(|name| EntryKey::Group(name.clone()))
            .collect();
        let mut all = HostChanges::same(&groups, &HostChange::default());
        all.changes.extend(entries.into_iter().map(|(key, set)| KeyedChange {
            key,
            change: HostChange { set, unset: Vec::new() },
            forget: false,
        }));
        all
    }

    /// The entries that change.
    pub fn keys(&self) -> impl Iterator<Item = &EntryKey> {
        self.changes.iter().map(|c| &c.key)
    }

    /// Do them. Errors: one sentence; `hosts` is of no use then.
    pub fn apply(&self, hosts: &mut Hosts, images: &Bootable) -> Result<(), String> {
        if self.changes.len() > MANY {
            return Err(format!("{} changes at once are too many: make at most {MANY}", self.changes.len()));
        }
        // Names may go from one machine to another.
        for KeyedChange { key, change, .. } in self.changes.iter().filter(|c| c.change.set.name.is_some()) {
            if let Some(entry) = hosts.entries.get_mut(key) {
                entry.name = change.set.name.clone().filter(|new| Some(new) == entry.name.as_ref());
            }
        }
        for KeyedChange { key, change, forget } in &self.changes {
            let done = match forget {
                true => hosts.forget(key),
                false => change.apply(hosts, key, images),
            };
            done.map_err(|why| match self.changes.len() {
                1 => why,
                _ => format!("{key}: {why}"),
            })?;
        }
        Ok(())
    }
}
