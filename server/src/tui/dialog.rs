// SPDX-License-Identifier: GPL-3.0-or-later
//! What is in front of the views: a line that is typed, a list to choose from, a text to read. No I/O.

use super::{
    effect::{Effect, Errand},
    model::{Cursor, Dialog, Model, Pick, PickDialog, PickItem, Prompt, TextDialog},
    rows,
};
use crate::{fetch::request::FetchRequest, setup::plan::parse_range};
use bootspec::ImageName;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

pub(super) fn ask(model: &mut Model, ask: Prompt) {
    model.dialog = Some(Dialog::Input { ask, text: String::new() });
}

pub(super) fn pick(model: &mut Model, pick: Pick, items: Vec<PickItem>) {
    let mut cursor = Cursor::default();
    cursor.settle(&items.iter().map(|i| i.key.clone()).collect::<Vec<_>>());
    model.dialog = Some(Dialog::Pick(PickDialog { pick, items, filter: String::new(), cursor }));
}

pub(super) fn in_dialog(model: &mut Model, dialog: Dialog, key: KeyEvent) -> Vec<Effect> {
    match dialog {
        Dialog::Machine(..) | Dialog::Image(_) => Vec::new(),
        Dialog::Text(text) => in_text(model, text, key),
        Dialog::Input { ask, mut text } => match key.code {
            KeyCode::Esc => Vec::new(),
            KeyCode::Enter => entered(model, ask, text),
            _ => {
                typed(&mut text, key);
                model.dialog = Some(Dialog::Input { ask, text });
                Vec::new()
            }
        },
        Dialog::Pick(list) => in_pick(model, list, key),
    }
}

fn in_text(model: &mut Model, text: TextDialog, key: KeyEvent) -> Vec<Effect> {
    let TextDialog { title, lines, scroll, yes } = text;
    let page = usize::from(model.height.saturating_sub(8).max(1));
    let scroll = match (key.code, yes) {
        (KeyCode::Char('y' | 'Y'), Some(effect)) => return vec![effect],
        (KeyCode::Down | KeyCode::Char('j'), yes) => (scroll + 1, yes),
        (KeyCode::Up | KeyCode::Char('k'), yes) => (scroll.saturating_sub(1), yes),
        (KeyCode::PageDown | KeyCode::Char(' '), yes) => (scroll + page, yes),
        (KeyCode::PageUp, yes) => (scroll.saturating_sub(page), yes),
        // Every other key closes it; nothing was done.
        _ => return Vec::new(),
    };
    let (scroll, yes) = (scroll.0.min(lines.len().saturating_sub(1)), scroll.1);
    model.dialog = Some(Dialog::Text(TextDialog { title, lines, scroll, yes }));
    Vec::new()
}

fn in_pick(model: &mut Model, list: PickDialog, key: KeyEvent) -> Vec<Effect> {
    let PickDialog { pick, items, mut filter, mut cursor } = list;
    let keys = |filter: &str| rows::items(&items, filter).iter().map(|i| i.key.clone()).collect::<Vec<_>>();
    let page = isize::from(model.height.saturating_sub(8).max(1) as i16);
    match key.code {
        KeyCode::Esc => return Vec::new(),
        KeyCode::Enter => return cursor.key.map_or_else(Vec::new, |key| picked(model, pick, key)),
        KeyCode::Down => cursor.step(1, &keys(&filter)),
        KeyCode::Up => cursor.step(-1, &keys(&filter)),
        KeyCode::PageDown => cursor.step(page, &keys(&filter)),
        KeyCode::PageUp => cursor.step(-page, &keys(&filter)),
        _ => {
            if typed(&mut filter, key) {
                cursor.go(0, &keys(&filter));
            }
        }
    }
    model.dialog = Some(Dialog::Pick(PickDialog { pick, items, filter, cursor }));
    Vec::new()
}

fn picked(model: &mut Model, pick: Pick, key: String) -> Vec<Effect> {
    match pick {
        Pick::Source => {
            model.say(format!("asking the server to fetch {key}"));
            vec![Effect::Fetch(Box::new(FetchRequest { what: key, ..Default::default() }))]
        }
        Pick::Image(machine) => vec![Effect::Assign(machine, key)],
        Pick::Once(machine) => vec![Effect::Once(machine, key)],
        Pick::Interface => {
            model.setup.options.interfaces = vec![key];
            model.setup.look()
        }
    }
}

fn entered(model: &mut Model, ask: Prompt, text: String) -> Vec<Effect> {
    let word = text.trim().to_owned();
    if word.is_empty() {
        return Vec::new();
    }
    match ask {
        Prompt::Add if model.running.is_some() => {
            model.complain("one file is being added already: wait for its end");
            Vec::new()
        }
        Prompt::Add => {
            model.running = Some(format!("adding {word}"));
            // A file whose name begins with a dash is still a file.
            vec![Effect::Run(Errand::Add, ["image", "add", "--", &word].map(String::from).to_vec())]
        }
        Prompt::Fetch => {
            model.say(format!("asking the server to fetch {word}"));
            vec![Effect::Fetch(Box::new(FetchRequest { what: word, ..Default::default() }))]
        }
        Prompt::Rename(old) => match word.parse::<ImageName>() {
            Ok(new) if new.as_str() == old => Vec::new(),
            Ok(new) => vec![Effect::Rename(old, new)],
            Err(e) => {
                model.complain(e.to_string());
                model.dialog = Some(Dialog::Input { ask: Prompt::Rename(old), text });
                Vec::new()
            }
        },
        Prompt::Range => match parse_range(&word) {
            Ok(range) => {
                let options = &mut model.setup.options;
                (options.authoritative, options.ranges) = (true, vec![range]);
                model.setup.look()
            }
            Err(why) => {
                model.complain(why);
                model.dialog = Some(Dialog::Input { ask, text });
                Vec::new()
            }
        },
    }
}

/// A key changes a line that is typed. Whether it did.
pub(super) fn typed(text: &mut String, key: KeyEvent) -> bool {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('u') if control => text.clear(),
        KeyCode::Char('w') if control => {
            let kept = text.trim_end().rfind([' ', '/']).map_or(0, |n| n + 1);
            text.truncate(kept);
        }
        KeyCode::Char('h') if control => drop(text.pop()),
        KeyCode::Char(c) if !control && !c.is_control() && text.len() < 4096 => text.push(c),
        KeyCode::Backspace => drop(text.pop()),
        _ => return false,
    }
    true
}
