// SPDX-License-Identifier: GPL-3.0-or-later
//! Changes, each with what takes it back. No I/O.

use super::{
    effect::{Change, Effect, Undo},
    model::{Model, Targets},
};
use crate::{
    api::types::ImageRow,
    catalogue::ImageChange,
    hosts::{EntryKey, Field, HostChange, HostChanges, HostEntry, bulk::KeyedChange},
};

/// The same change of each of these, and what takes it back.
pub(super) fn hosts(model: &Model, targets: &Targets, change: HostChange, said: String) -> Effect {
    let changes = HostChanges::same(&targets.keys, &change);
    apply(model, Change::Hosts(changes), said)
}

/// A change of an image, and what takes it back.
pub(super) fn image(model: &Model, row: &ImageRow, change: ImageChange, said: String) -> Effect {
    apply(model, Change::Image(row.manifest.name.clone(), change), said)
}

/// A change, what is said of it afterwards, and what takes it back.
pub(super) fn apply(model: &Model, change: Change, said: String) -> Effect {
    let undo = opposite(model, &change).map(|change| Box::new(Undo { change, of: said.clone() }));
    Effect::Change(Box::new(change), said, undo)
}

/// Take back the last change.
pub(super) fn undo(model: &mut Model) -> Vec<Effect> {
    match model.undo.take() {
        Some(Undo { change, of }) => vec![apply(model, change, format!("taken back: {of}"))],
        None => {
            model.say("there is nothing to take back");
            Vec::new()
        }
    }
}

/// The change that makes everything as it is now.
fn opposite(model: &Model, change: &Change) -> Option<Change> {
    match change {
        Change::Hosts(changes) => {
            // Backwards: a group was made before machines were put into it.
            let changes = changes.changes.iter().rev().map(|c| as_now(model, c)).collect();
            Some(Change::Hosts(HostChanges { changes }))
        }
        Change::Image(name, change) => {
            let row = model.now.images.iter().find(|i| i.manifest.name == *name)?;
            if change.default == Some(true) {
                let old = model.now.hosts.iter().find(|h| h.key == EntryKey::Default);
                let set =
                    HostEntry { image: old.and_then(|h| h.entry.image.clone()), ..HostEntry::default() };
                let change = HostChange { set, unset: vec![Field::Image] };
                return Some(Change::Hosts(HostChanges::same(&[EntryKey::Default], &change)));
            }
            let back = ImageChange {
                name: change.name.as_ref().map(|_| name.clone()),
                priority: change.priority.map(|_| row.manifest.priority),
                append: change.append.as_ref().map(|_| row.manifest.admins().to_owned()),
                ..ImageChange::default()
            };
            Some(Change::Image(change.name.clone().unwrap_or_else(|| name.clone()), back))
        }
    }
}

/// What makes an entry as it is now, in the fields that a change touches.
fn as_now(model: &Model, changed: &KeyedChange) -> KeyedChange {
    let key = changed.key.clone();
    let Some(now) = model.now.hosts.iter().find(|h| h.key == key) else {
        return KeyedChange { key, change: HostChange::default(), forget: true };
    };
    if changed.forget {
        return KeyedChange {
            key,
            change: HostChange { set: now.entry.clone(), unset: Vec::new() },
            forget: false,
        };
    }
    KeyedChange { key, change: changed.change.opposite(&now.entry), forget: false }
}
