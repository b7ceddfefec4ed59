// SPDX-License-Identifier: GPL-3.0-or-later
//! What is where on the screen: for who draws it, and for who clicks on it. No I/O.

use super::{
    keys,
    model::{Dialog, Model, ServerLink, VIEWS, View},
    rows,
};
use crossterm::event::KeyCode;
use ratatui::{
    layout::{Constraint, Layout, Rect},
    text::Span,
};

/// From so many columns on, details stand beside the list.
const WIDE: u16 = 150;
/// In front of the views' names.
pub const NAME: &str = " BootTorrent ";

/// The parts of the screen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Areas {
    /// The views' names.
    pub title: Rect,
    /// That the server does not run. Empty: it does.
    pub notice: Rect,
    /// The view.
    pub body: Rect,
    /// The view's list.
    pub list: Rect,
    /// What there is to say of the row under the cursor: beside the list, or below it. Empty: nothing.
    pub details: Rect,
    /// A sentence.
    pub said: Rect,
    /// The keys.
    pub hints: Rect,
    /// What lies over the view.
    pub dialog: Rect,
}

impl Areas {
    /// Whether details stand beside the list, and not below it.
    pub fn beside(&self) -> bool {
        self.details.x > self.list.x
    }
}

/// Whether a terminal is so wide that details stand beside the list.
pub fn is_wide(width: u16) -> bool {
    width >= WIDE
}

/// Where everything is.
pub fn areas(model: &Model, screen: Rect) -> Areas {
    let rows = [Constraint::Length(1), Constraint::Min(1), Constraint::Length(1), Constraint::Length(1)];
    let [title, whole, said, hints] = Layout::vertical(rows).areas(screen);
    let down = if matches!(model.link, ServerLink::Down(_)) { 3 } else { 0 };
    let [notice, body] = Layout::vertical([Constraint::Length(down), Constraint::Min(1)]).areas(whole);
    let (list, details) = match model.view {
        View::Images | View::Machines if is_wide(screen.width) => {
            let [list, details] =
                Layout::horizontal([Constraint::Min(1), Constraint::Length(body.width * 35 / 100)])
                    .areas(body);
            (list, details)
        }
        View::Machines => {
            let [list, details] = Layout::vertical([Constraint::Min(2), Constraint::Length(3)]).areas(body);
            (list, details)
        }
        _ => (body, Rect::default()),
    };
    let dialog = Rect { height: body.bottom() - title.bottom(), y: title.bottom(), ..body };
    Areas { title, notice, body, list, details, said, hints, dialog }
}

/// The views as they stand in the title: name, first column, width.
pub fn tabs() -> impl Iterator<Item = (View, String, u16, u16)> {
    let mut at = NAME.len() as u16;
    VIEWS.iter().enumerate().map(move |(n, (view, name))| {
        let text = format!(" {} {name} ", n + 1);
        let (from, width) = (at, text.len() as u16);
        at += width;
        (*view, text, from, width)
    })
}

/// The rows of a list with a head, as they are seen in an area: the first one's number, and how many fit.
pub fn seen(area: Rect, len: usize, selected: usize) -> (usize, usize) {
    let height = usize::from(area.height.saturating_sub(1));
    // So that the selected one is in the middle.
    let first = selected.saturating_sub(height / 2).min(len.saturating_sub(height));
    (first, height)
}

/// The parts of a list to choose from: what was typed, the list, what the keys do.
pub fn pick_areas(dialog: Rect) -> [Rect; 3] {
    let inner = Rect {
        x: dialog.x.saturating_add(1),
        y: dialog.y.saturating_add(1),
        width: dialog.width.saturating_sub(2),
        height: dialog.height.saturating_sub(2),
    };
    Layout::vertical([Constraint::Length(1), Constraint::Min(2), Constraint::Length(1)]).areas(inner)
}

/// What there is at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hit {
    /// The name of a view.
    Tab(View),
    /// A row of the view's list, or of the one that lies over it.
    Row(usize),
    /// What a key does.
    Key(KeyCode),
}

/// What is at this column and row.
pub fn hit(model: &Model, column: u16, row: u16) -> Option<Hit> {
    let areas = areas(model, Rect::new(0, 0, model.width, model.height));
    if let Some(dialog) = &model.dialog {
        let Dialog::Pick(pick) = dialog else { return None };
        let [_, list, _] = pick_areas(areas.dialog);
        return row_at(list, rows::items(&pick.items, &pick.filter).len(), pick.cursor.at, column, row);
    }
    if row == areas.title.y {
        return tabs()
            .find(|(_, _, from, width)| (*from..from + width).contains(&column))
            .map(|t| Hit::Tab(t.0));
    }
    if row == areas.hints.y {
        let mut at = 0;
        for hint in keys::hints(model) {
            let width = Span::raw(format!("{} {}", hint.label, hint.word)).width() as u16;
            if (at..at + width).contains(&column) {
                return Some(Hit::Key(hint.code));
            }
            at += width + 2;
        }
        return None;
    }
    match model.view {
        View::Images => row_at(areas.list, rows::images(model).len(), model.images.at, column, row),
        View::Machines => row_at(areas.list, rows::machines(model).len(), model.machines.at, column, row),
        View::Transfers | View::Setup => None,
    }
}

fn row_at(area: Rect, len: usize, selected: usize, column: u16, row: u16) -> Option<Hit> {
    if !area.contains((column, row).into()) || row == area.y {
        return None;
    }
    let (first, _) = seen(area, len, selected);
    let at = first + usize::from(row - area.y - 1);
    (at < len).then_some(Hit::Row(at))
}
