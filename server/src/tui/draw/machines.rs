// SPDX-License-Identifier: GPL-3.0-or-later
//! The machines, a line each; and below, what there is to say of the selected one.

use super::{
    grid::{self, Column, GridRow, left, right},
    style::{Tone, bar, rate},
};
use crate::{
    clients::Client,
    tui::{
        layout::Areas,
        model::{Model, ServerLink},
        rows,
    },
};
use bootspec::units::{human_size, human_time};
use ratatui::{Frame, text::Line, widgets::Paragraph};
use std::time::Duration;

const COLUMNS: [Column; 12] = [
    left("MACHINE", 24, 0),
    left("IMAGE", 20, 1),
    left("PHASE", 8, 0),
    left("DONE", 16, 0),
    right("DOWN", 2),
    right("UP", 4),
    right("FROM SERVER", 3),
    right("FROM MACHINES", 5),
    right("PEERS", 8),
    right("SINCE", 6),
    left("ADDRESS", 20, 9),
    left("LAST ERROR", 80, 7),
];

pub fn draw(frame: &mut Frame, areas: &Areas, model: &Model) {
    let all = rows::machines(model);
    if all.is_empty() {
        let text = match model.filter.is_empty() {
            true if model.link == ServerLink::Asking => "\n  Asking the server…",
            true => "\n  No machine has reported yet. It appears here as soon as it asks what to boot.",
            false => "\n  No machine matches.",
        };
        frame.render_widget(Paragraph::new(text), areas.body);
        return;
    }
    let rows: Vec<GridRow> =
        all.iter().map(|c| GridRow { marked: model.marks.contains(&c.heartbeat.id), ..row(c) }).collect();
    grid::draw(frame.buffer_mut(), areas.list, &COLUMNS, &rows, Some(model.machines.at));
    let Some(c) = all.get(model.machines.at).filter(|_| !areas.beside()) else { return };
    let width = areas.details.width;
    let mut lines = vec![Line::styled("─".repeat(width.into()), Tone::Dim.style())];
    lines.push(Line::from(grid::cut(&place(c), width)));
    lines.push(match &c.heartbeat.error {
        Some(error) => Line::styled(grid::cut(error, width), Tone::Bad.style()),
        None => Line::from(grid::cut(&bytes(c), width)),
    });
    frame.render_widget(Paragraph::new(lines), areas.details);
}

fn row(c: &Client) -> GridRow {
    let (h, p) = (&c.heartbeat, &c.heartbeat.progress);
    let now = |r| if c.gone { "-".into() } else { rate(r) };
    // Who has everything told its rate while it still came.
    let down = if p.total > 0 && p.have >= p.total { 0 } else { p.down_rate };
    let size = |b| if b == 0 { "-".into() } else { human_size(b) };
    let tone = match c.phase() {
        "failed" => Tone::Bad,
        "gone" => Tone::Dim,
        "booted" => Tone::Good,
        _ => Tone::Busy,
    };
    let done = match p.total {
        0 => "-".into(),
        _ => format!("{} {:>3.0} %", bar(p.percent(), 10), p.percent().floor()),
    };
    let cells = vec![
        crate::clients::name(c),
        c.image(),
        c.phase().into(),
        done,
        now(down),
        now(p.up_rate),
        size(p.from_server.saturating_add(p.from_http)),
        size(p.from_peers),
        p.peers.to_string(),
        human_time(rows::since(c)),
        h.address.clone().unwrap_or_else(|| "-".into()),
        c.remark(),
    ];
    GridRow { cells, tone, marked: false }
}

/// Who and where it is, and what it boots the next time.
pub fn place(c: &Client) -> String {
    let h = &c.heartbeat;
    let address = h.address.clone().or(c.remote.map(|r| r.to_string())).unwrap_or_else(|| "-".into());
    let heard = human_time(Duration::try_from_secs_f64(c.age).unwrap_or_default());
    let mut text = format!("{}  {address}  heard {heard} ago", h.id);
    for (word, value) in [("group", &c.group), ("through relay", &c.relay), ("boots next", &c.next)] {
        if let Some(value) = value {
            text += &format!("  {word} {value}");
        }
    }
    text
}

/// Where its bytes came from.
pub fn bytes(c: &Client) -> String {
    let p = &c.heartbeat.progress;
    format!(
        "{} from the server, {} over HTTP, {} from machines; {} sent; {} peers",
        human_size(p.from_server),
        human_size(p.from_http),
        human_size(p.from_peers),
        human_size(p.uploaded),
        p.peers
    )
}
