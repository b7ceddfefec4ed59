// SPDX-License-Identifier: GPL-3.0-or-later
//! A message changes the model, and may ask for work. No I/O.

use super::{
    dialog::{ask, in_dialog, pick, typed},
    effect::{Effect, Errand, Ran},
    keys::{self, KeyAction},
    model::{
        Dialog, Model, Pick, PickItem, Prompt, ServerLink, ServerSnapshot, SetupView, SourceRow, StatusLine,
        TextDialog, VIEWS, View,
    },
    rows::{self, Line},
};
use crate::{api::types::ImageRow, fetch::request::FetchRequest, hosts::EntryKey};
use bootspec::SERVER_UNIT;
use crossterm::event::{KeyCode, KeyEvent};

/// Something has happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// A key.
    Key(KeyEvent),
    /// The terminal has so many rows now.
    Rows(u16),
    /// The server was asked.
    Polled(ServerLink, Box<ServerSnapshot>),
    /// What a machine said last.
    Log(String, Vec<String>),
    /// It was told something: what came of it.
    Did(Result<String, String>),
    /// The catalogue of sources.
    Sources(Result<Vec<SourceRow>, String>),
    /// This machine's networks.
    Networks(Vec<(String, String)>),
    /// What setup would write, or why it cannot.
    Planned(Result<String, String>),
    /// What is wrong.
    Examined(String),
    /// A command that runs says how far it is.
    Progress(String),
    /// A command has ended.
    Ran(Errand, Ran),
}

/// The one way in which the model changes.
pub fn update(model: &mut Model, message: Message) -> Vec<Effect> {
    match message {
        Message::Key(key) => return press(model, key),
        Message::Rows(rows) => model.height = rows,
        Message::Polled(link, now) => {
            model.link = link;
            model.now = *now;
            settle(model);
            if let Some(Dialog::Machine(id, _)) = &model.dialog {
                return vec![Effect::Log(id.clone())];
            }
        }
        Message::Log(of, lines) => match &mut model.dialog {
            Some(Dialog::Machine(id, log)) if *id == of => *log = lines,
            // It was closed meanwhile, or is another machine's.
            _ => {}
        },
        Message::Did(Ok(text)) => model.say(text),
        Message::Did(Err(text)) => model.complain(text),
        Message::Sources(sources) => return sources_came(model, sources),
        Message::Networks(networks) => model.setup.networks = networks,
        Message::Planned(plan) => {
            model.setup.fits = plan.is_ok();
            let (Ok(text) | Err(text)) = plan;
            model.setup.plan = text.lines().map(str::to_owned).collect();
        }
        Message::Examined(text) => {
            model.setup.busy = false;
            model.setup.doctor = text.lines().map(str::to_owned).collect();
        }
        Message::Progress(line) => model.running = Some(line),
        Message::Ran(errand, ran) => return ran_to_its_end(model, errand, ran),
    }
    Vec::new()
}

fn image_keys(model: &Model) -> Vec<String> {
    rows::images(model).iter().map(Line::key).collect()
}

fn machine_keys(model: &Model) -> Vec<String> {
    rows::machines(model).iter().map(|c| c.heartbeat.id.clone()).collect()
}

/// Put the cursors where their rows are now.
fn settle(model: &mut Model) {
    let (images, machines) = (image_keys(model), machine_keys(model));
    model.images.settle(&images);
    model.machines.settle(&machines);
}

fn press(model: &mut Model, key: KeyEvent) -> Vec<Effect> {
    if keys::is_interrupt(key) {
        model.over = true;
        return Vec::new();
    }
    model.said = StatusLine::default();
    if let Some(dialog) = model.dialog.take() {
        return in_dialog(model, dialog, key);
    }
    if model.filtering {
        match key.code {
            KeyCode::Enter | KeyCode::Down | KeyCode::Up => model.filtering = false,
            KeyCode::Esc => {
                model.filtering = false;
                model.filter.clear();
            }
            _ => drop(typed(&mut model.filter, key)),
        }
        settle(model);
        return Vec::new();
    }
    match keys::command(model.view, key) {
        Some(command) => act(model, command),
        None => Vec::new(),
    }
}

fn act(model: &mut Model, command: KeyAction) -> Vec<Effect> {
    let page = isize::from(model.height.saturating_sub(8).max(1) as i16);
    match command {
        KeyAction::Quit => model.over = true,
        KeyAction::Help => {
            let lines = keys::help();
            model.dialog =
                Some(Dialog::Text(TextDialog { title: "Keys".into(), lines, scroll: 0, yes: None }));
        }
        KeyAction::To(view) => return go(model, view),
        KeyAction::Next => return go(model, beside(model.view, 1)),
        KeyAction::Previous => return go(model, beside(model.view, VIEWS.len() - 1)),
        KeyAction::Step(by) => step(model, by),
        KeyAction::Page(by) => step(model, by * page),
        KeyAction::First => step(model, isize::MIN),
        KeyAction::Last => step(model, isize::MAX),
        KeyAction::Filter => model.filtering = true,
        KeyAction::Clear => {
            model.filter.clear();
            settle(model);
        }
        KeyAction::Details => return details(model),
        KeyAction::Add => ask(model, Prompt::Add),
        KeyAction::Again => return model.setup.look(),
        KeyAction::Interface => {
            let item = |(key, note): &(String, String)| PickItem { key: key.clone(), note: note.clone() };
            let items = model.setup.networks.iter().map(item).collect();
            pick(model, Pick::Interface, items);
        }
        KeyAction::Mode => return mode(model),
        KeyAction::Write => {
            if model.setup.fits {
                let mut lines = vec![
                    "This is written, checked with `dnsmasq --test` (boottorrent setup --remove undoes it):"
                        .into(),
                ];
                lines.push(String::new());
                lines.extend(model.setup.plan.iter().cloned());
                let yes = Some(Effect::Run(
                    Errand::Write,
                    [vec!["setup".into()], model.setup.options.flags(), vec!["--write".into()]].concat(),
                ));
                model.dialog = Some(Dialog::Text(TextDialog {
                    title: "Write the setup?".into(),
                    lines,
                    scroll: 0,
                    yes,
                }));
            } else {
                model.complain("there is nothing to write: the reason is above");
            }
        }
        change => return change_something(model, change),
    }
    Vec::new()
}

/// What the server must do for us: only when it takes changes.
fn change_something(model: &mut Model, command: KeyAction) -> Vec<Effect> {
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
        KeyAction::FetchUrl => ask(model, Prompt::Fetch),
        KeyAction::Assign => {
            if let Some(machine) = machine(model) {
                assign(model, Pick::Image(machine));
            }
        }
        KeyAction::Once => {
            if let Some(machine) = machine(model) {
                assign(model, Pick::Once(machine));
            }
        }
        KeyAction::AssignGroup => {
            let machine =
                model.now.machines.iter().find(|c| Some(&c.heartbeat.id) == model.machines.key.as_ref());
            match machine.and_then(|c| c.group.clone()) {
                Some(group) => {
                    assign(model, Pick::Image(format!("group:{}", group.trim_start_matches("group:"))))
                }
                None => model.complain("it is in no group: boottorrent host set MAC --group NAME"),
            }
        }
        KeyAction::Unassign => return machine(model).map(Effect::Unassign).into_iter().collect(),
        KeyAction::Wake => return machine(model).map(Effect::Wake).into_iter().collect(),
        _ => return change_image(model, command),
    }
    Vec::new()
}

/// The machine under the cursor, by a name that means one machine and nothing else.
fn machine(model: &mut Model) -> Option<String> {
    let id = model.machines.key.clone()?;
    match id.parse::<EntryKey>() {
        Ok(key) if key.is_machine() => Some(id),
        _ => {
            model.complain("it is not known by a MAC address: nothing can be assigned to it");
            None
        }
    }
}

fn assign(model: &mut Model, what: Pick) {
    let item = |row: &ImageRow| PickItem { key: row.manifest.name.to_string(), note: row.manifest.what() };
    let items = model.now.images.iter().map(item).collect();
    pick(model, what, items);
}

fn change_image(model: &mut Model, command: KeyAction) -> Vec<Effect> {
    let lines = rows::images(model);
    match (lines.iter().find(|l| Some(l.key()) == model.images.key), command) {
        (Some(Line::Image(row, _)), KeyAction::Default) => {
            vec![Effect::Default(row.manifest.name.to_string())]
        }
        (Some(Line::Image(row, _)), KeyAction::Rename) => {
            let name = row.manifest.name.to_string();
            let text = name.clone();
            model.dialog = Some(Dialog::Input { ask: Prompt::Rename(name), text });
            Vec::new()
        }
        (Some(Line::Image(row, _)), KeyAction::Remove) => {
            let name = row.manifest.name.to_string();
            let lines = who_runs(model, &name, &row.machines);
            let yes = Some(Effect::Remove(name.clone()));
            model.dialog =
                Some(Dialog::Text(TextDialog { title: format!("Remove {name}?"), lines, scroll: 0, yes }));
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
            let yes = Some(Effect::Fetch(Box::new(request)));
            model.dialog =
                Some(Dialog::Text(TextDialog { title: "Fetch unverified?".into(), lines, scroll: 0, yes }));
            Vec::new()
        }
        _ => Vec::new(),
    }
}

fn who_runs(model: &Model, image: &str, ids: &[String]) -> Vec<String> {
    let name = |id: &String| {
        let machine = model.now.machines.iter().find(|c| c.heartbeat.id == *id);
        machine.map_or_else(|| id.clone(), crate::clients::name)
    };
    let mut lines = match ids {
        [] => vec![format!("No machine runs {image}.")],
        ids => vec![
            match ids {
                [one] => format!("One machine runs it: {}.", name(one)),
                ids => {
                    let names: Vec<String> = ids.iter().map(name).collect();
                    format!("{} machines run it: {}.", ids.len(), names.join(", "))
                }
            },
            "Running machines keep working; machines still downloading have ten minutes to finish.".into(),
        ],
    };
    lines.push("It is deleted from the disk of this server.".into());
    lines
}

fn beside(view: View, by: usize) -> View {
    let at = VIEWS.iter().position(|(v, _)| *v == view).unwrap_or(0);
    VIEWS[(at + by) % VIEWS.len()].0
}

fn go(model: &mut Model, view: View) -> Vec<Effect> {
    if model.view != view {
        model.filter.clear();
    }
    model.view = view;
    settle(model);
    match view == View::Setup && model.setup == SetupView::default() {
        true => model.setup.look(),
        false => Vec::new(),
    }
}

fn step(model: &mut Model, by: isize) {
    match model.view {
        View::Images => {
            let keys = image_keys(model);
            model.images.step(by, &keys);
        }
        View::Machines => {
            let keys = machine_keys(model);
            model.machines.step(by, &keys);
        }
        View::Transfers => {}
        View::Setup => {
            let lines = model.setup.doctor.len() + model.setup.plan.len() + 4;
            model.scroll = model.scroll.saturating_add_signed(by).min(lines.saturating_sub(1));
        }
    }
}

fn details(model: &mut Model) -> Vec<Effect> {
    match (model.view, &model.machines.key) {
        (View::Machines, Some(id)) => {
            model.dialog = Some(Dialog::Machine(id.clone(), Vec::new()));
            vec![Effect::Log(id.clone())]
        }
        (View::Images, _) => {
            model.dialog = model.images.key.clone().map(Dialog::Image);
            Vec::new()
        }
        _ => Vec::new(),
    }
}

fn pick_source(model: &mut Model) {
    let item = |s: &SourceRow| PickItem { key: s.name.clone(), note: s.about.clone() };
    let items = model.sources.iter().map(item).collect();
    pick(model, Pick::Source, items);
}

fn sources_came(model: &mut Model, sources: Result<Vec<SourceRow>, String>) -> Vec<Effect> {
    match sources {
        Err(why) => model.complain(why),
        Ok(sources) if sources.is_empty() => {
            model.complain("there are no sources: see boottorrent source add, or press u for a URL");
        }
        Ok(sources) => {
            model.sources = sources;
            model.said = StatusLine::default();
            if model.dialog.is_none() {
                pick_source(model);
            }
        }
    }
    Vec::new()
}

fn mode(model: &mut Model) -> Vec<Effect> {
    let options = &mut model.setup.options;
    if !options.authoritative {
        ask(model, Prompt::Range);
        return Vec::new();
    }
    options.authoritative = false;
    options.ranges.clear();
    model.setup.look()
}

fn ran_to_its_end(model: &mut Model, errand: Errand, ran: Ran) -> Vec<Effect> {
    let last = |text: &str| text.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or_default().to_owned();
    let why = last(&ran.err);
    let why = why.strip_prefix("boottorrent: ").unwrap_or(&why).to_owned();
    match errand {
        Errand::Add => {
            model.running = None;
            match ran.good {
                true => model.say(ran.out.lines().next().unwrap_or("added")),
                false => model.complain(why),
            }
        }
        Errand::Write => {
            match ran.good {
                true => model.say(last(&ran.out)),
                false => model.complain(why),
            }
            return model.setup.look();
        }
    }
    Vec::new()
}
