// SPDX-License-Identifier: GPL-3.0-or-later
//! What is in front of the views: a line that is typed, a list to choose from, a text to read. No I/O.

use super::{
    change, edit,
    effect::{Effect, Errand},
    files::HERE,
    model::{Dialog, Model, Pick, PickDialog, Prompt, TextDialog},
    rows,
};
use crate::{fetch::request::FetchRequest, setup::plan::parse_range};
use bootspec::ImageName;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::path::Path;

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
    let page = model.page().unsigned_abs();
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
    let page = model.page();
    match key.code {
        KeyCode::Esc => return Vec::new(),
        KeyCode::Enter => {
            let key = if is_path(&pick, &filter) { None } else { cursor.key };
            return match key.or_else(|| free(&pick, filter)) {
                Some(key) => picked(model, pick, key),
                None => Vec::new(),
            };
        }
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

/// Whether what is typed is no filter, but a path.
fn is_path(pick: &Pick, typed: &str) -> bool {
    matches!(pick, Pick::File(_)) && typed.starts_with('/')
}

/// What is typed, where more can be had than what is in the list.
fn free(pick: &Pick, typed: String) -> Option<String> {
    let free = is_path(pick, &typed) || matches!(pick, Pick::Group(_));
    Some(typed.trim().to_owned()).filter(|word| free && !word.is_empty())
}

fn picked(model: &mut Model, pick: Pick, key: String) -> Vec<Effect> {
    match pick {
        Pick::Source => {
            model.say(format!("asking the server to fetch {key}"));
            return vec![Effect::Fetch(Box::new(FetchRequest { what: key, ..Default::default() }))];
        }
        Pick::File(folder) => return opened(model, &folder, &key),
        Pick::Image(targets) => return change::assigned(model, &targets, &key, false),
        Pick::Once(targets) => return change::assigned(model, &targets, &key, true),
        Pick::Group(targets) => return edit::grouped(model, &targets, &key),
        Pick::Menu(targets) => return edit::with_menu(model, &targets, &key),
        Pick::Edit(targets) => edit::picked(model, targets, &key),
        Pick::EditImage(name) => edit::picked_of_image(model, name, &key),
        Pick::Interface => {
            model.setup.options.interfaces = vec![key];
            return model.setup.look();
        }
    }
    Vec::new()
}

/// A file was chosen, or a folder opened.
fn opened(model: &mut Model, folder: &Path, key: &str) -> Vec<Effect> {
    if key == HERE {
        model.ask(Prompt::Add(folder.to_owned()));
        return Vec::new();
    }
    // An absolute path takes the folder's place.
    let path = folder.join(key);
    change::pick_file(model, path)
}

/// What `boottorrent image add` is given.
fn add(path: &Path, name: &str) -> Vec<String> {
    let mut args = vec!["image".to_owned(), "add".to_owned()];
    if !name.is_empty() {
        args.push(format!("--name={name}"));
    }
    // A file whose name begins with a dash is still a file.
    args.extend(["--".to_owned(), path.display().to_string()]);
    args
}

fn entered(model: &mut Model, ask: Prompt, text: String) -> Vec<Effect> {
    let word = text.trim().to_owned();
    let may_be_empty =
        matches!(ask, Prompt::Add(_) | Prompt::Append(_) | Prompt::Name(_) | Prompt::Params(_));
    if word.is_empty() && !may_be_empty {
        return Vec::new();
    }
    let done = match &ask {
        Prompt::Add(path) => added(model, path, &word),
        Prompt::Fetch => {
            model.say(format!("asking the server to fetch {word}"));
            Ok(vec![Effect::Fetch(Box::new(FetchRequest { what: word, ..Default::default() }))])
        }
        Prompt::Rename(name) | Prompt::Priority(name) | Prompt::Append(name) => {
            edit::entered_of_image(model, name, &ask, &word).map(|effect| effect.into_iter().collect())
        }
        Prompt::Name(targets) | Prompt::Params(targets) => {
            edit::entered(model, targets, &ask, &word).map(|effect| vec![effect])
        }
        Prompt::Range => parse_range(&word).map(|range| {
            let options = &mut model.setup.options;
            (options.authoritative, options.ranges) = (true, vec![range]);
            model.setup.look()
        }),
    };
    done.unwrap_or_else(|why| {
        // It can still be mended.
        model.complain(why);
        model.ask_with(ask, text);
        Vec::new()
    })
}

fn added(model: &mut Model, path: &Path, name: &str) -> Result<Vec<Effect>, String> {
    if model.running.is_some() {
        model.complain("one file is being added already: wait for its end");
        return Ok(Vec::new());
    }
    if !name.is_empty() {
        name.parse::<ImageName>().map_err(|e| e.to_string())?;
    }
    model.running = Some(format!("adding {}", path.display()));
    Ok(vec![Effect::Run(Errand::Add, add(path, name))])
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
