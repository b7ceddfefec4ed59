// SPDX-License-Identifier: GPL-3.0-or-later
//! The model on a screen. No I/O: what is drawn depends on the model alone.

mod details;
mod dialog;
mod grid;
mod images;
mod machines;
mod setup;
mod style;
mod transfers;

use super::{
    keys, layout,
    model::{Model, ServerLink, View},
    sort,
};
use crate::clients::{Client, Counts};
use bootspec::SERVER_UNIT;
use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
    widgets::{Paragraph, Wrap},
};
use style::Tone;

/// Draw everything.
pub fn draw(frame: &mut Frame, model: &Model) {
    let areas = layout::areas(model, frame.area());
    title(frame, areas.title, model);
    if let ServerLink::Down(why) = &model.link {
        down(frame, areas.notice, why);
    }
    match model.view {
        View::Images => images::draw(frame, &areas, model),
        View::Machines => machines::draw(frame, &areas, model),
        View::Transfers => transfers::draw(frame, areas.body, model),
        View::Setup => setup::draw(frame, areas.body, model),
    }
    if areas.beside() {
        details::beside(frame, areas.details, model);
    }
    sentence(frame, areas.said, model);
    bottom(frame, areas.hints, model);
    if let Some(dialog) = &model.dialog {
        dialog::draw(frame, areas.dialog, model, dialog);
    }
}

fn title(frame: &mut Frame, area: Rect, model: &Model) {
    let mut spans = vec![Span::raw(layout::NAME)];
    let mut taken = layout::NAME.len() as u16;
    for (view, text, _, width) in layout::tabs() {
        taken += width;
        // The bar is reversed, so the view that is open is not.
        spans.push(match view == model.view {
            true => Span::styled(format!("[{}]", &text[1..text.len() - 1]), Tone::Head.style()),
            false => Span::raw(text),
        });
    }
    frame.buffer_mut().set_style(area, Tone::Bar.style());
    frame.render_widget(Paragraph::new(Line::from(spans)), area);
    let room = area.width.saturating_sub(taken + 1);
    if let Some(state) = states(model).into_iter().find(|s| Span::raw(s).width() <= usize::from(room)) {
        let width = Span::raw(&state).width() as u16 + 1;
        frame.render_widget(Paragraph::new(state), Rect { x: area.right() - width, width, ..area });
    }
}

/// The server and the machines in words, the longest first: the first that fits is shown.
fn states(model: &Model) -> Vec<String> {
    match &model.link {
        ServerLink::Asking => vec!["asking the server".into()],
        ServerLink::Down(_) => vec!["the server does not run".into(), "no server".into()],
        ServerLink::Full => counts(&model.now.machines).to_vec(),
        ServerLink::ReadOnly => counts(&model.now.machines).map(|c| format!("{c}, looking only")).to_vec(),
    }
}

fn counts(machines: &[Client]) -> [String; 3] {
    let n = Counts::of(machines);
    let all = if n.all == 1 { "1 machine".to_owned() } else { format!("{} machines", n.all) };
    let parts = [(n.booted, "booted"), (n.under_way, "under way"), (n.failed, "failed"), (n.gone, "gone")];
    let parts = parts.into_iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}"));
    let parts = parts.collect::<Vec<_>>().join(", ");
    let long = if parts.is_empty() { all.clone() } else { format!("{all}: {parts}") };
    let failed = if n.failed > 0 { format!("{} failed, ", n.failed) } else { String::new() };
    [long, format!("{failed}{}/{} booted", n.booted, n.all), all]
}

fn down(frame: &mut Frame, area: Rect, why: &str) {
    let lines = vec![
        Line::styled(
            format!(
                "The server does not run: start it with `systemctl start {SERVER_UNIT}`, or `boottorrent serve`."
            ),
            Tone::Bad.style(),
        ),
        Line::styled(format!("({why})"), Tone::Dim.style()),
    ];
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: true }), area);
}

/// The filter while it is typed, what was said last, what runs, or how the list is not all that there is.
fn sentence(frame: &mut Frame, area: Rect, model: &Model) {
    let line = match &model.running {
        _ if model.filtering => Line::from(format!("/{}_", model.filter)),
        _ if !model.said.text.is_empty() => {
            let tone = if model.said.bad { Tone::Bad } else { Tone::Plain };
            Line::styled(grid::cut(&model.said.text, area.width), tone.style())
        }
        Some(running) => Line::styled(grid::cut(running, area.width), Tone::Busy.style()),
        None => Line::from(grid::cut(&list_words(model).join("; "), area.width)),
    };
    frame.render_widget(Paragraph::new(line), area);
}

/// How the rows were chosen, marked and sorted.
fn list_words(model: &Model) -> Vec<String> {
    let marked = match (model.view, model.marks.len()) {
        (View::Machines, 1) => Some("1 machine is marked".to_owned()),
        (View::Machines, n @ 2..) => Some(format!("{n} machines are marked")),
        _ => None,
    };
    let filter = Some(&model.filter).filter(|f| !f.is_empty());
    let filter = filter.map(|f| format!("only rows with: {f} (Esc shows all)"));
    let sort = match model.view {
        View::Images => sort::words(model.image_sort, View::Images),
        View::Machines => sort::words(model.machine_sort, View::Machines),
        View::Transfers | View::Setup => None,
    };
    [marked, filter, sort].into_iter().flatten().collect()
}

fn bottom(frame: &mut Frame, area: Rect, model: &Model) {
    let mut spans = Vec::new();
    for hint in keys::hints(model) {
        spans.push(Span::styled(hint.label, Tone::Head.style()));
        spans.push(Span::raw(format!(" {}  ", hint.word)));
    }
    frame.render_widget(Paragraph::new(Line::from(spans)), area);
}
