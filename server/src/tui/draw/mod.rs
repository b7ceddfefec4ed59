// SPDX-License-Identifier: GPL-3.0-or-later
//! The model on a screen. No I/O: what is drawn depends on the model alone.

mod dialog;
mod grid;
mod images;
mod machines;
mod setup;
mod style;
mod transfers;

use super::{
    keys,
    model::{Model, ServerLink, VIEWS, View},
};
use bootspec::SERVER_UNIT;
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    text::{Line, Span},
    widgets::{Paragraph, Wrap},
};
use style::Tone;

/// Draw everything.
pub fn draw(frame: &mut Frame, model: &Model) {
    let rows = [Constraint::Length(1), Constraint::Min(1), Constraint::Length(1), Constraint::Length(1)];
    let [top, mut body, said, hints] = Layout::vertical(rows).areas(frame.area());
    title(frame, top, model);
    if let ServerLink::Down(why) = &model.link {
        let [notice, rest] = Layout::vertical([Constraint::Length(3), Constraint::Min(1)]).areas(body);
        down(frame, notice, why);
        body = rest;
    }
    match model.view {
        View::Images => images::draw(frame, body, model),
        View::Machines => machines::draw(frame, body, model),
        View::Transfers => transfers::draw(frame, body, model),
        View::Setup => setup::draw(frame, body, model),
    }
    sentence(frame, said, model);
    bottom(frame, hints, model);
    if let Some(dialog) = &model.dialog {
        dialog::draw(
            frame,
            Rect { height: body.bottom() - top.bottom(), y: top.bottom(), ..body },
            model,
            dialog,
        );
    }
}

fn title(frame: &mut Frame, area: Rect, model: &Model) {
    let mut spans = vec![Span::raw(" BootTorrent ")];
    for (n, (view, name)) in VIEWS.iter().enumerate() {
        let text = format!(" {} {name} ", n + 1);
        // The bar is reversed, so the view that is open is not.
        spans.push(match *view == model.view {
            true => Span::styled(format!("[{}]", &text[1..text.len() - 1]), Tone::Head.style()),
            false => Span::raw(text),
        });
    }
    let link = match &model.link {
        ServerLink::Asking => "asking the server".to_owned(),
        ServerLink::Full => machines_word(model),
        ServerLink::ReadOnly => format!("{}, looking only", machines_word(model)),
        ServerLink::Down(_) => "the server does not run".to_owned(),
    };
    frame.buffer_mut().set_style(area, Tone::Bar.style());
    frame.render_widget(Paragraph::new(Line::from(spans)), area);
    let width = Span::raw(&link).width() as u16 + 1;
    if area.width > width + 60 || area.width >= width + 52 {
        let place = Rect { x: area.right() - width, width, ..area };
        frame.render_widget(Paragraph::new(link), place);
    }
}

fn machines_word(model: &Model) -> String {
    let here = model.now.machines.iter().filter(|c| !c.gone).count();
    if here == 1 { "1 machine".into() } else { format!("{here} machines") }
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

/// The filter while it is typed, what was said last, or what runs.
fn sentence(frame: &mut Frame, area: Rect, model: &Model) {
    let line = match (&model.running, model.filtering, model.filter.is_empty()) {
        (_, true, _) => Line::from(format!("/{}_", model.filter)),
        _ if !model.said.text.is_empty() => {
            let tone = if model.said.bad { Tone::Bad } else { Tone::Plain };
            Line::styled(grid::cut(&model.said.text, area.width), tone.style())
        }
        (Some(running), ..) => Line::styled(grid::cut(running, area.width), Tone::Busy.style()),
        (None, _, false) => Line::from(format!("only rows with: {} (Esc shows all)", model.filter)),
        _ => Line::default(),
    };
    frame.render_widget(Paragraph::new(line), area);
}

fn bottom(frame: &mut Frame, area: Rect, model: &Model) {
    let mut spans = Vec::new();
    for (key, word) in keys::hints(model) {
        spans.push(Span::styled(key, Tone::Head.style()));
        spans.push(Span::raw(format!(" {word}  ")));
    }
    frame.render_widget(Paragraph::new(Line::from(spans)), area);
}
