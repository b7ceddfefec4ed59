// SPDX-License-Identifier: GPL-3.0-or-later
//! What lies over a view.

use super::{
    details,
    grid::{self, GridRow, left},
    style::Tone,
};
use crate::tui::{
    layout,
    model::{Dialog, Model, Pick, PickDialog, PickItem, Prompt, TextDialog},
    rows,
};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    text::Line,
    widgets::{Clear, Paragraph, Wrap},
};

pub fn draw(frame: &mut Frame, area: Rect, model: &Model, dialog: &Dialog) {
    match dialog {
        Dialog::Machine(id, log) => match model.now.machines.iter().find(|c| c.heartbeat.id == *id) {
            Some(c) => {
                let lines = details::machine(c, log, area);
                details::draw(frame, area, &format!(" {} ", crate::clients::name(c)), lines);
            }
            None => text(frame, area, " Gone ", vec![Line::from(format!(" {id} is no longer known"))], 0),
        },
        Dialog::Image(key) => details::draw(frame, area, " Image ", details::image(model, key)),
        Dialog::Text(TextDialog { title, lines, scroll, yes }) => {
            let title = format!(" {title} ");
            let [above, below] = Layout::vertical([Constraint::Min(3), Constraint::Length(1)]).areas(area);
            text(frame, above, &title, lines.iter().map(|l| Line::from(format!(" {l}"))).collect(), *scroll);
            let ask = if yes.is_some() {
                " y: yes   any other key: no   arrows: scroll"
            } else {
                " arrows: scroll   any other key closes this"
            };
            frame.render_widget(Clear, below);
            frame.render_widget(Paragraph::new(Line::styled(ask, Tone::Head.style())), below);
        }
        Dialog::Input { ask, text } => input(frame, area, ask, text),
        Dialog::Pick(dialog) => list(frame, area, dialog),
    }
}

fn text(frame: &mut Frame, area: Rect, title: &str, lines: Vec<Line>, scroll: usize) {
    let inner = details::framed(frame, area, title);
    let scroll = (scroll.min(u16::MAX.into()) as u16, 0);
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }).scroll(scroll), inner);
}

fn input(frame: &mut Frame, area: Rect, ask: &Prompt, typed: &str) {
    let (title, help) = match ask {
        Prompt::Add(path) => {
            (format!(" Add {} ", path.display()), "The image's name (nothing: as the file is called):")
        }
        Prompt::Fetch => (" Fetch ".into(), "A URL, a magnet link, or the path of a .torrent:"),
        Prompt::Rename(name) => (format!(" Rename {name} "), "The new name:"),
        Prompt::Priority(name) => {
            (format!(" Priority of {name} "), "From 1 (least) to 9 (most); 5 is usual:")
        }
        Prompt::Append(name) => {
            (format!(" Kernel parameters of {name} "), "For all machines that boot it (nothing: none):")
        }
        Prompt::Name(targets) => (format!(" Name of {} ", targets.who), "Its host name too (nothing: none):"),
        Prompt::Params(targets) => {
            (format!(" Kernel parameters of {} ", targets.who), "With spaces between them (nothing: none):")
        }
        Prompt::Range => (" Addresses ".into(), "The addresses to give, as in 10.0.0.100,10.0.0.200:"),
    };
    let height = 6.min(area.height);
    let place = Rect { y: area.y + (area.height - height) / 2, height, ..area };
    let inner = details::framed(frame, place, &title);
    // Of a long line the end is shown: that is where one types.
    let room = usize::from(inner.width.saturating_sub(4));
    let tail: String = typed.chars().skip(typed.chars().count().saturating_sub(room)).collect();
    let lines = vec![
        Line::from(format!(" {help}")),
        Line::from(format!(" > {tail}_")),
        Line::default(),
        Line::from(" Enter: confirm   Esc: cancel"),
    ];
    frame.render_widget(Paragraph::new(lines), inner);
}

fn list(frame: &mut Frame, area: Rect, dialog: &PickDialog) {
    let PickDialog { pick, items, filter, cursor } = dialog;
    let title = match pick {
        Pick::Source => " Fetch which? ".to_owned(),
        Pick::File(folder) => format!(" Add which file? {} ", folder.display()),
        Pick::Image(targets) => format!(" Which image for {}? ", targets.who),
        Pick::Once(targets) => format!(" Which image for {}, once? ", targets.who),
        Pick::Edit(targets) => format!(" Change what of {}? ", targets.who),
        Pick::Group(targets) => format!(" Which group for {}? ", targets.who),
        Pick::Menu(targets) => format!(" A menu for {}? ", targets.who),
        Pick::EditImage(name) => format!(" Change what of {name}? "),
        Pick::Interface => " Which network? ".to_owned(),
    };
    details::framed(frame, area, &title);
    let [top, middle, below] = layout::pick_areas(area);
    let shown = rows::items(items, filter);
    frame.render_widget(Paragraph::new(format!(" {} of {} with: {filter}_", shown.len(), items.len())), top);
    let row = |i: &&PickItem| GridRow { cells: vec![i.key.clone(), i.note.clone()], ..GridRow::default() };
    let rows: Vec<GridRow> = shown.iter().map(row).collect();
    grid::draw(
        frame.buffer_mut(),
        middle,
        &[left("NAME", 34, 0), left("WHAT", 120, 1)],
        &rows,
        Some(cursor.at),
    );
    let keys = match pick {
        Pick::File(_) => " type to filter, or a path from /   Enter: open or choose   Esc: cancel",
        Pick::Group(_) => " type to filter, or a new group   Enter: choose   Esc: cancel",
        _ => " type to filter   Enter: choose   Esc: cancel",
    };
    frame.render_widget(Paragraph::new(keys), below);
}
