// SPDX-License-Identifier: GPL-3.0-or-later
//! Changes of machines and images: whom they are for, what is said of them, what takes them back. No I/O.

use super::{
    edit,
    effect::Effect,
    keys::KeyAction,
    line::Line,
    model::{Dialog, Model, Pick, PickItem, Prompt, ServerLink, Targets, TextDialog},
    rows,
    undo::{self, hosts, image},
};
use crate::{
    api::types::{EntryRow, ImageRow},
    catalogue::ImageChange,
    fetch::request::FetchRequest,
    hosts::{EntryKey, Field, HostChange},
};
use bootspec::{ImageName, SERVER_UNIT};
use std::path::PathBuf;

/// What the server must do for us: only when it takes changes.
pub(super) fn change_something(model: &mut Model, command: KeyAction) -> Vec<Effect> {
    match &model.link {
        ServerLink::Full | ServerLink::Asking => {}
        ServerLink::ReadOnly => {
            model.complain("this user may look only: run it as root, or as a member of the socket's group");
            return Vec::new();
        }
        ServerLink::Down(_) => {
            model.complain(format!(
                    "the server does not run: start it first (systemctl start {SERVER_UNIT}, or: boottorrent serve)"
                ),
            );
            return Vec::new();
        }
    }
    match command {
        KeyAction::Fetch if model.sources.is_empty() => {
            model.say("looking for sources…");
            return vec![Effect::Sources];
        }
        KeyAction::Fetch => pick_source(model),
        KeyAction::FetchUrl => model.ask(Prompt::Fetch),
        KeyAction::Undo => return undo::undo(model),
        KeyAction::Assign | KeyAction::Once | KeyAction::Unassign | KeyAction::EditMachine => {
            match targets(model) {
                Ok(targets) => return change_machines(model, command, targets),
                Err(why) => model.complain(why),
            }
        }
        KeyAction::AssignGroup => match group(model) {
            Ok(targets) => pick_image(model, Pick::Image(targets)),
            Err(why) => model.complain(why),
        },
        KeyAction::Wake => match targets(model) {
            Ok(Targets { keys, .. }) if keys.is_empty() => {}
            Ok(Targets { keys, .. }) => {
                return vec![Effect::Wake(keys.iter().map(EntryKey::to_string).collect())];
            }
            Err(why) => model.complain(why),
        },
        _ => return change_image(model, command),
    }
    Vec::new()
}

fn change_machines(model: &mut Model, command: KeyAction, targets: Targets) -> Vec<Effect> {
    // There is no row.
    if targets.keys.is_empty() {
        return Vec::new();
    }
    match command {
        KeyAction::Assign => pick_image(model, Pick::Image(targets)),
        KeyAction::Once => pick_image(model, Pick::Once(targets)),
        KeyAction::Unassign => {
            let change = HostChange { unset: vec![Field::Image, Field::Once], ..HostChange::default() };
            let said = format!(
                "{} {} what the group or the default says",
                targets.who,
                targets.verb("boots", "boot")
            );
            return vec![hosts(model, &targets, change, said)];
        }
        _ => edit::machines(model, targets),
    }
    Vec::new()
}

/// The machines that are marked, else the one under the cursor: by what means one machine and nothing else.
fn targets(model: &Model) -> Result<Targets, String> {
    let marked = model.now.machines.iter().map(|c| &c.heartbeat.id).filter(|id| model.marks.contains(*id));
    let mut ids: Vec<&String> = marked.collect();
    if ids.is_empty() {
        ids.extend(&model.machines.key);
    }
    let key = |id: &&String| match id.parse::<EntryKey>() {
        Ok(key) if key.is_machine() => Ok(key),
        _ => Err(format!("{id} is not known by a MAC address: nothing can be changed of it")),
    };
    let keys: Vec<EntryKey> = ids.iter().map(key).collect::<Result<_, _>>()?;
    let who = match &ids[..] {
        [one] => rows::name_of(model, one),
        all => format!("{} machines", all.len()),
    };
    Ok(Targets { keys, who })
}

/// The group of the machine under the cursor.
fn group(model: &Model) -> Result<Targets, String> {
    let machine = model.now.machines.iter().find(|c| Some(&c.heartbeat.id) == model.machines.key.as_ref());
    let group = machine.and_then(|c| c.group.as_deref());
    let Some(group) = group.map(|g| g.trim_start_matches("group:")) else {
        return Err("it is in no group: press e to put it into one".into());
    };
    let key = format!("group:{group}").parse::<EntryKey>()?;
    let of_it = |c: &&crate::clients::Client| {
        c.group.as_deref().map(|g| g.trim_start_matches("group:")) == Some(group)
    };
    let members = model.now.machines.iter().filter(of_it).count();
    let machines = if members == 1 { "1 machine".to_owned() } else { format!("{members} machines") };
    Ok(Targets { keys: vec![key], who: format!("group {group} ({machines})") })
}

/// What machines can boot: images, and behind them what else there is.
fn pick_image(model: &mut Model, what: Pick) {
    let image = |row: &ImageRow| PickItem { key: row.manifest.name.to_string(), note: row.manifest.what() };
    let entry = |row: &EntryRow| PickItem {
        key: row.name.to_string(),
        note: match row.title.as_str() {
            "" => row.what.clone(),
            title => format!("{title} ({})", row.what),
        },
    };
    let images = model.now.images.iter().map(image);
    let items = images.chain(model.now.entries.iter().map(entry)).collect();
    model.pick(what, items);
}

/// An image was picked for machines or a group. Of a group it is asked once more: it is a whole room.
pub(super) fn assigned(model: &mut Model, targets: &Targets, image: &str, once: bool) -> Vec<Effect> {
    let reference = match image.parse::<ImageName>() {
        Ok(name) => Some(name.into()),
        Err(why) => {
            model.complain(why.to_string());
            return Vec::new();
        }
    };
    let mut change = HostChange::default();
    let only = if once { ", and only then" } else { "" };
    *(if once { &mut change.set.once } else { &mut change.set.image }) = reference;
    let said = format!("{} {} '{image}' the next time{only}", targets.who, targets.verb("boots", "boot"));
    let effect = hosts(model, targets, change, said);
    if !matches!(targets.keys[..], [EntryKey::Group(_)]) {
        return vec![effect];
    }
    let lines = vec![
        format!("All machines of {} boot '{image}' the next time they start,", targets.who),
        "but those that have an image of their own. What runs now goes on.".into(),
    ];
    question(model, format!("Let {} boot {image}?", targets.who), lines, effect);
    Vec::new()
}

fn change_image(model: &mut Model, command: KeyAction) -> Vec<Effect> {
    let lines = rows::images(model);
    match (lines.into_iter().find(|l| Some(l.key()) == model.images.key), command) {
        (Some(Line::Image(row, _)), _) => {
            let row = row.clone();
            change_published(model, command, &row);
            Vec::new()
        }
        (Some(Line::Fetch(fetch)), KeyAction::Remove) => vec![Effect::Cancel(fetch.id)],
        (Some(Line::Fetch(fetch)), KeyAction::Retry) if !fetch.progress.state.is_alive() => {
            vec![Effect::Cancel(fetch.id), Effect::Fetch(Box::new(fetch.request.clone()))]
        }
        (Some(Line::Fetch(fetch)), KeyAction::Unverified) if !fetch.progress.state.is_alive() => {
            let request = FetchRequest { no_verify: true, ..fetch.request.clone() };
            let lines = vec![
                format!("{} is taken as it comes.", request.what),
                "Nothing says that it is genuine, and it runs as root on every machine that boots it.".into(),
            ];
            question(model, "Fetch unverified?".into(), lines, Effect::Fetch(Box::new(request)));
            Vec::new()
        }
        _ => Vec::new(),
    }
}

fn change_published(model: &mut Model, command: KeyAction, row: &ImageRow) {
    let name = row.manifest.name.to_string();
    match command {
        KeyAction::Default if row.default => model.say(format!("'{name}' is the default image already")),
        KeyAction::Default => {
            let now = model.now.images.iter().find(|i| i.default);
            let now = now.map_or("none".to_owned(), |i| format!("'{}'", i.manifest.name));
            let lines = vec![
                "Every machine that has no image of its own, and none by its group,".into(),
                format!("boots '{name}' the next time it starts. The default is {now} now."),
            ];
            let change = ImageChange { default: Some(true), ..ImageChange::default() };
            let effect = image(model, row, change, format!("the default image is now '{name}'"));
            question(model, format!("Make {name} the default?"), lines, effect);
        }
        KeyAction::Rename => model.ask_with(Prompt::Rename(name.clone()), name),
        KeyAction::EditImage => edit::image(model, row),
        KeyAction::Remove => {
            let lines = who_runs(model, &name, &row.machines);
            question(model, format!("Remove {name}?"), lines, Effect::Remove(name));
        }
        _ => {}
    }
}

fn who_runs(model: &Model, image: &str, ids: &[String]) -> Vec<String> {
    let mut lines = match ids {
        [] => vec![format!("No machine runs {image}.")],
        ids => vec![
            match ids {
                [one] => format!("One machine runs it: {}.", rows::name_of(model, one)),
                ids => {
                    let names: Vec<String> = ids.iter().map(|id| rows::name_of(model, id)).collect();
                    format!("{} machines run it: {}.", ids.len(), names.join(", "))
                }
            },
            "Running machines keep working; machines still downloading have ten minutes to finish.".into(),
        ],
    };
    lines.push("It is deleted from the disk of this server.".into());
    lines
}

fn question(model: &mut Model, title: String, lines: Vec<String>, yes: Effect) {
    model.dialog = Some(Dialog::Text(TextDialog { title, lines, scroll: 0, yes: Some(yes) }));
}

fn pick_source(model: &mut Model) {
    let item = |s: &super::model::SourceRow| PickItem { key: s.name.clone(), note: s.about.clone() };
    let items = model.sources.iter().map(item).collect();
    model.pick(Pick::Source, items);
}

/// The sources were read.
pub(super) fn sources_came(model: &mut Model) {
    if model.dialog.is_none() {
        pick_source(model);
    }
}

/// Look for a file, where one was looked for last.
pub(super) fn pick_file(model: &mut Model, folder: PathBuf) -> Vec<Effect> {
    model.pick(Pick::File(folder.clone()), Vec::new());
    vec![Effect::Files(folder)]
}
