// SPDX-License-Identifier: GPL-3.0-or-later
//! A message changes the model, and may ask for work. No I/O.

use super::{
    change::{change_something, pick_file, sources_came},
    dialog::{in_dialog, typed},
    effect::{Done, Effect, Errand, Ran},
    files::Found,
    keys::{self, KeyAction},
    layout::{self, Hit},
    line::Line,
    model::{
        Dialog, Model, Pick, PickItem, Prompt, ServerLink, ServerSnapshot, SetupView, SourceRow, StatusLine,
        TextDialog, VIEWS, View,
    },
    rows, sort,
};
use crate::setup::plan::SetupOptions;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use std::{collections::BTreeSet, path::PathBuf};

/// Something has happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// A key.
    Key(KeyEvent),
    /// The mouse.
    Mouse(MouseEvent),
    /// The terminal has so many columns and rows now.
    Size(u16, u16),
    /// The server was asked.
    Polled(ServerLink, Box<ServerSnapshot>),
    /// What a machine said last.
    Log(String, Vec<String>),
    /// It was told something: what came of it.
    Did(Result<Done, String>),
    /// What is at a path that was looked at: a folder, or a file.
    Files(PathBuf, Result<Found, String>),
    /// The catalogue of sources.
    Sources(Result<Vec<SourceRow>, String>),
    /// This machine's networks.
    Networks(Vec<(String, String)>),
    /// What setup would write with these options, and whether all of it is there already; or why it cannot.
    Planned(Box<SetupOptions>, Result<(String, bool), String>),
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
        Message::Mouse(mouse) => return point(model, mouse),
        Message::Size(width, height) => (model.width, model.height) = (width, height),
        Message::Polled(link, now) => {
            model.link = link;
            model.now = *now;
            let known: BTreeSet<&String> = model.now.machines.iter().map(|c| &c.heartbeat.id).collect();
            model.marks.retain(|id| known.contains(id));
            settle(model);
            return read_log(model);
        }
        Message::Log(of, lines) => match &mut model.dialog {
            Some(Dialog::Machine(id, log)) if *id == of => *log = lines,
            _ => model.log = (of, lines),
        },
        Message::Did(Ok(Done { said, undo })) => {
            let hint = if undo.is_some() { " (z takes it back)" } else { "" };
            model.say(said + hint);
            if let Some(undo) = undo {
                model.undo = Some(*undo);
            }
        }
        Message::Did(Err(text)) => model.complain(text),
        Message::Files(asked, found) => found_files(model, asked, found),
        Message::Sources(sources) => return sources_are(model, sources),
        Message::Networks(networks) => model.setup.networks = networks,
        // With other options it was asked for before, and came after.
        Message::Planned(asked, _) if *asked != model.setup.options => {}
        Message::Planned(_, plan) => {
            (model.setup.fits, model.setup.written) = (plan.is_ok(), matches!(plan, Ok((_, true))));
            let (Ok((text, _)) | Err(text)) = plan;
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

/// Have the log read that is shown: in front of the views, or beside them.
fn read_log(model: &Model) -> Vec<Effect> {
    let beside = model.view == View::Machines && layout::is_wide(model.width);
    let id = match &model.dialog {
        Some(Dialog::Machine(id, _)) => Some(id),
        _ => model.machines.key.as_ref().filter(|_| beside),
    };
    id.map(|id| Effect::Log(id.clone())).into_iter().collect()
}

/// The mouse does what keys do.
fn point(model: &mut Model, mouse: MouseEvent) -> Vec<Effect> {
    let pressed = |code| KeyEvent::new(code, KeyModifiers::NONE);
    match mouse.kind {
        MouseEventKind::ScrollDown => return press(model, pressed(KeyCode::Down)),
        MouseEventKind::ScrollUp => return press(model, pressed(KeyCode::Up)),
        MouseEventKind::Down(_) => {}
        _ => return Vec::new(),
    }
    model.said = StatusLine::default();
    match layout::hit(model, mouse.column, mouse.row) {
        Some(Hit::Tab(view)) => go(model, view),
        Some(Hit::Key(code)) => press(model, pressed(code)),
        // A second click on a row is Enter.
        Some(Hit::Row(row)) => match (choose(model, row), mouse.kind) {
            (_, MouseEventKind::Down(MouseButton::Right)) if model.view == View::Machines => {
                if model.dialog.is_none() {
                    mark(model);
                }
                Vec::new()
            }
            (true, _) => press(model, pressed(KeyCode::Enter)),
            (false, _) => read_log(model),
        },
        None => Vec::new(),
    }
}

/// Put the cursor at a row of the list in front. Whether it was there.
fn choose(model: &mut Model, row: usize) -> bool {
    let (images, machines) = (image_keys(model), machine_keys(model));
    let (cursor, keys) = match (&mut model.dialog, model.view) {
        (Some(Dialog::Pick(list)), _) => {
            let keys = rows::items(&list.items, &list.filter).iter().map(|i| i.key.clone()).collect();
            (&mut list.cursor, keys)
        }
        (_, View::Images) => (&mut model.images, images),
        _ => (&mut model.machines, machines),
    };
    let before = cursor.at;
    cursor.go(row, &keys);
    before == row
}

/// Mark the machine under the cursor, or no longer.
fn mark(model: &mut Model) {
    if let Some(id) = model.machines.key.clone().filter(|id| !model.marks.remove(id)) {
        model.marks.insert(id);
    }
}

/// Mark all machines that are shown; if they are, none of them.
fn mark_all(model: &mut Model) {
    let shown = machine_keys(model);
    if shown.iter().all(|id| model.marks.contains(id)) {
        model.marks.retain(|id| !shown.contains(id));
    } else {
        model.marks.extend(shown);
    }
}

fn act(model: &mut Model, command: KeyAction) -> Vec<Effect> {
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
        KeyAction::Step(by) => return step(model, by),
        KeyAction::Page(by) => return step(model, by * model.page()),
        KeyAction::First => return step(model, isize::MIN),
        KeyAction::Last => return step(model, isize::MAX),
        KeyAction::Filter => model.filtering = true,
        KeyAction::Clear if model.filter.is_empty() => model.marks.clear(),
        KeyAction::Clear => {
            model.filter.clear();
            settle(model);
        }
        KeyAction::Mark => {
            mark(model);
            return step(model, 1);
        }
        KeyAction::MarkAll => mark_all(model),
        KeyAction::Sort | KeyAction::Reverse => sort_rows(model, command),
        KeyAction::Details => return details(model),
        KeyAction::Add => return pick_file(model, model.folder.clone()),
        KeyAction::Again => return model.setup.look(),
        KeyAction::Interface => {
            let item = |(key, note): &(String, String)| PickItem { key: key.clone(), note: note.clone() };
            let items = model.setup.networks.iter().map(item).collect();
            model.pick(Pick::Interface, items);
        }
        KeyAction::Mode => return mode(model),
        KeyAction::Write => write_setup(model),
        change => return change_something(model, change),
    }
    Vec::new()
}

/// Ask whether what setup shows is to be written.
fn write_setup(model: &mut Model) {
    if !model.setup.fits {
        model.complain("there is nothing to write: the reason is above");
        return;
    }
    let head = "This is written, checked with `dnsmasq --test` (boottorrent setup --remove undoes it):";
    let mut lines = vec![head.to_owned(), String::new()];
    lines.extend(model.setup.plan.iter().cloned());
    let words = [vec!["setup".into()], model.setup.options.flags(), vec!["--write".into()]].concat();
    let yes = Some(Effect::Run(Errand::Write, words));
    model.dialog = Some(Dialog::Text(TextDialog { title: "Write the setup?".into(), lines, scroll: 0, yes }));
}

fn sort_rows(model: &mut Model, command: KeyAction) {
    let view = model.view;
    let Some(order) = model.sort() else { return };
    match command {
        KeyAction::Reverse => order.reversed = !order.reversed,
        _ => sort::advance(order, view),
    }
    settle(model);
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

fn step(model: &mut Model, by: isize) -> Vec<Effect> {
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
    read_log(model)
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

fn sources_are(model: &mut Model, sources: Result<Vec<SourceRow>, String>) -> Vec<Effect> {
    match sources {
        Err(why) => model.complain(why),
        Ok(sources) if sources.is_empty() => {
            model.complain("there are no sources: see boottorrent source add, or press u for a URL");
        }
        Ok(sources) => {
            model.sources = sources;
            model.said = StatusLine::default();
            sources_came(model);
        }
    }
    Vec::new()
}

/// A folder that was asked for, or the file that was chosen; unless it is no longer wanted.
fn found_files(model: &mut Model, asked: PathBuf, found: Result<Found, String>) {
    let Some(Dialog::Pick(list)) = &mut model.dialog else { return };
    // What was asked for before may come after.
    if list.pick != Pick::File(asked) {
        return;
    }
    match found {
        Ok(Found::Folder(folder, items)) => {
            let keys: Vec<String> = rows::items(&items, &list.filter).iter().map(|i| i.key.clone()).collect();
            list.cursor.settle(&keys);
            (list.pick, list.items) = (Pick::File(folder.clone()), items);
            model.folder = folder;
        }
        Ok(Found::File(path)) => model.ask(Prompt::Add(path)),
        Err(why) => {
            model.dialog = None;
            model.complain(why);
        }
    }
}

fn mode(model: &mut Model) -> Vec<Effect> {
    let options = &mut model.setup.options;
    if !options.authoritative {
        model.ask(Prompt::Range);
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
