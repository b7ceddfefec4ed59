// SPDX-License-Identifier: GPL-3.0-or-later
//! What `e` changes: of machines the name, the group, kernel parameters and the menu; of an image its name, priority
//! and kernel parameters. No I/O.

use super::{
    effect::{Change, Effect},
    model::{Model, Pick, PickItem, Prompt, Targets},
    undo::{apply, hosts, image as image_change},
};
use crate::{
    api::types::ImageRow,
    catalogue::ImageChange,
    hosts::{EntryKey, Field, HostChange, HostChanges, HostEntry, Name},
};
use bootspec::ImageName;

/// The item that takes something away. No name has parentheses.
const NONE: &str = "(none)";

fn items(all: Vec<(&str, String)>) -> Vec<PickItem> {
    all.into_iter().map(|(key, note)| PickItem { key: key.to_owned(), note }).collect()
}

/// What is set for the first of these.
fn entry<'a>(model: &'a Model, targets: &Targets) -> Option<&'a HostEntry> {
    let first = targets.keys.first()?;
    model.now.hosts.iter().find(|h| h.key == *first).map(|h| &h.entry)
}

/// Ask what is to change of machines.
pub(super) fn machines(model: &mut Model, targets: Targets) {
    let now = entry(model, &targets).cloned().unwrap_or_default();
    let word = |w: Option<String>| w.unwrap_or_else(|| "-".into());
    let mut all = Vec::new();
    // Two cannot have one name.
    if targets.keys.len() == 1 {
        all.push(("name", word(now.name.map(|n| n.to_string()))));
    }
    let menu = now.menu.map(|m| if m { "shown" } else { "not shown" }.to_owned());
    all.push(("group", word(now.group.map(|g| g.to_string()))));
    all.push(("kernel parameters", word((!now.params.is_empty()).then(|| now.params.join(" ")))));
    all.push(("menu", word(menu)));
    model.pick(Pick::Edit(targets), items(all));
}

/// Ask what is to change of an image.
pub(super) fn image(model: &mut Model, row: &ImageRow) {
    let m = &row.manifest;
    let parameters = if m.admins().is_empty() { "-" } else { m.admins() };
    let all = vec![
        ("name", m.name.to_string()),
        ("priority", format!("{} of 9", m.priority)),
        ("kernel parameters", parameters.to_owned()),
    ];
    model.pick(Pick::EditImage(m.name.to_string()), items(all));
}

/// One of the things that [`image`] offers.
pub(super) fn picked_of_image(model: &mut Model, name: String, what: &str) {
    let row = model.now.images.iter().find(|i| i.manifest.name.as_str() == name);
    let (priority, append) =
        row.map(|r| (r.manifest.priority.to_string(), r.manifest.admins().to_owned())).unwrap_or_default();
    match what {
        "priority" => model.ask_with(Prompt::Priority(name), priority),
        "kernel parameters" => model.ask_with(Prompt::Append(name), append),
        _ => model.ask_with(Prompt::Rename(name.clone()), name),
    }
}

/// One of the things that [`machines`] offers.
pub(super) fn picked(model: &mut Model, targets: Targets, what: &str) {
    let now = entry(model, &targets).cloned().unwrap_or_default();
    match what {
        "name" => model.ask_with(Prompt::Name(targets), now.name.map(|n| n.to_string()).unwrap_or_default()),
        "kernel parameters" => model.ask_with(Prompt::Params(targets), now.params.join(" ")),
        "menu" => {
            let all = [("yes", "a menu, in which the image starts by itself"), ("no", "it boots at once")];
            let mut all: Vec<(&str, String)> = all.map(|(key, note)| (key, note.to_owned())).to_vec();
            all.push((NONE, "as the group or the default says".into()));
            model.pick(Pick::Menu(targets), items(all));
        }
        _ => {
            let members = |key: &EntryKey| {
                let of = |g: &Option<String>| g.as_deref().map(|g| g.trim_start_matches("group:").to_owned());
                let name = key.to_string();
                let here = model
                    .now
                    .machines
                    .iter()
                    .filter(|c| of(&c.group).is_some_and(|g| name == format!("group:{g}")));
                here.count()
            };
            let row = |h: &crate::api::types::HostRow| match &h.key {
                EntryKey::Group(name) => {
                    let image = h.entry.image.as_ref().map_or("-".to_owned(), ToString::to_string);
                    Some(PickItem {
                        key: name.to_string(),
                        note: format!("{} machines, boots {image}", members(&h.key)),
                    })
                }
                _ => None,
            };
            let mut all: Vec<PickItem> = model.now.hosts.iter().filter_map(row).collect();
            all.push(PickItem { key: NONE.into(), note: "no group".into() });
            model.pick(Pick::Group(targets), all);
        }
    }
}

/// A group was picked, or typed.
pub(super) fn grouped(model: &mut Model, targets: &Targets, word: &str) -> Vec<Effect> {
    let who = &targets.who;
    if word == NONE {
        let change = HostChange { unset: vec![Field::Group], ..HostChange::default() };
        let said = format!("{who} {} in no group any more", targets.verb("is", "are"));
        return vec![hosts(model, targets, change, said)];
    }
    let group: Name = match word.parse() {
        Ok(group) => group,
        Err(why) => {
            model.complain(why);
            return Vec::new();
        }
    };
    let mut change = HostChange::default();
    change.set.group = Some(group.clone());
    let mut changes = HostChanges::same(&targets.keys, &change);
    let key = EntryKey::Group(group);
    if !model.now.hosts.iter().any(|h| h.key == key) {
        let new = HostChanges::same(&[key], &HostChange::default());
        changes.changes.splice(0..0, new.changes);
    }
    let said = format!("{who} {} in group '{word}' now", targets.verb("is", "are"));
    vec![apply(model, Change::Hosts(changes), said)]
}

/// Whether there is a menu.
pub(super) fn with_menu(model: &Model, targets: &Targets, word: &str) -> Vec<Effect> {
    let mut change = HostChange { unset: vec![Field::Menu], ..HostChange::default() };
    let who = &targets.who;
    let said = match word {
        NONE => format!("{who}: the group or the default says whether there is a menu"),
        word => {
            change.set.menu = Some(word == "yes");
            let not = if word == "yes" { "" } else { "no " };
            format!("{who} {} {not}menu", targets.verb("shows", "show"))
        }
    };
    vec![hosts(model, targets, change, said)]
}

/// A text of [`picked`] was typed: what it asks for, or why it cannot be.
pub(super) fn entered(model: &Model, targets: &Targets, ask: &Prompt, text: &str) -> Result<Effect, String> {
    let who = &targets.who;
    let (mut change, said) = match ask {
        Prompt::Name(_) => {
            let change = HostChange { unset: vec![Field::Name], ..HostChange::default() };
            (
                change,
                if text.is_empty() {
                    format!("{who} has no name of its own any more")
                } else {
                    format!("{who} is '{text}' now")
                },
            )
        }
        _ => {
            let change = HostChange { unset: vec![Field::Params], ..HostChange::default() };
            let verb = targets.verb("gets", "get");
            (
                change,
                match text {
                    "" => {
                        format!("{who} {verb} no kernel parameters of {} own", targets.verb("its", "their"))
                    }
                    text => format!("{who} {verb} the kernel parameters {text}"),
                },
            )
        }
    };
    match ask {
        Prompt::Name(_) if text.is_empty() => {}
        Prompt::Name(_) => change.set.name = Some(text.parse()?),
        _ => change.set.params = text.split_whitespace().map(str::to_owned).collect(),
    }
    Ok(hosts(model, targets, change, said))
}

/// The same for an image.
pub(super) fn entered_of_image(
    model: &Model,
    name: &str,
    ask: &Prompt,
    text: &str,
) -> Result<Option<Effect>, String> {
    let Some(row) = model.now.images.iter().find(|i| i.manifest.name.as_str() == name) else {
        return Err(format!("there is no image '{name}' any more"));
    };
    let mut change = ImageChange::default();
    let said = match ask {
        Prompt::Rename(_) => {
            let new = text.parse::<ImageName>().map_err(|e| e.to_string())?;
            if new == row.manifest.name {
                return Ok(None);
            }
            change.name = Some(new);
            format!("image '{name}' is '{text}' now")
        }
        Prompt::Priority(_) => {
            change.priority = Some(text.parse().map_err(|e: bootspec::priority::BadPriority| e.to_string())?);
            format!("image '{name}' has priority {text} now")
        }
        _ => {
            change.append = Some(text.to_owned());
            match text {
                "" => format!("image '{name}' gets no kernel parameters of yours"),
                text => format!("image '{name}' gets the kernel parameters {text}"),
            }
        }
    };
    Ok(Some(image_change(model, row, change, said)))
}
