// SPDX-License-Identifier: GPL-3.0-or-later
//! The swarm: what the server sends against what all machines receive, and each image's share in it.

use super::{
    grid::{self, Column, GridRow, left, right},
    style::{Tone, rate},
};
use crate::{
    tui::model::Model,
    watch::stats::{ImageStats, Sample},
};
use bootspec::units::{human_size, human_time};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    text::Line,
    widgets::{Paragraph, Sparkline},
};
use std::time::Duration;

const COLUMNS: [Column; 8] = [
    left("IMAGE", 34, 0),
    right("SIZE", 3),
    right("COMPLETE", 0),
    right("PARTLY", 0),
    right("MACHINES", 2),
    right("SERVER SENT", 1),
    right("COPIES", 0),
    right("PRIORITY", 4),
];

/// Columns of a curve's scale.
const SCALE: u16 = 12;

pub fn draw(frame: &mut Frame, area: Rect, model: &Model) {
    let images = model.now.stats.images.len() as u16;
    let table = (images + 1).min(area.height / 3).max(2);
    let graph = (area.height.saturating_sub(table + 9) / 2).clamp(1, 8);
    let one = Constraint::Length(1);
    let curve = Constraint::Length(graph);
    let rows = [Constraint::Length(3), one, curve, one, one, curve, one, one, Constraint::Min(2)];
    let [figures, sent_title, sent, sent_time, received_title, received, received_time, _, images] =
        Layout::vertical(rows).areas(area);
    frame.render_widget(Paragraph::new(sums(model)), figures);
    let history = &model.now.stats.history;
    spark(frame, [sent_title, sent, sent_time], history, "server sends", |s| s.sent);
    spark(frame, [received_title, received, received_time], history, "machines receive", |s| s.received);
    let rows: Vec<GridRow> = model.now.stats.images.iter().map(row).collect();
    grid::draw(frame.buffer_mut(), images, &COLUMNS, &rows, None);
}

/// The figures that this is about.
fn sums(model: &Model) -> Vec<Line<'static>> {
    let (s, t) = (&model.now.stats, &model.now.stats.totals);
    let received = t.from_server.saturating_add(t.from_http).saturating_add(t.from_machines);
    let share = if received == 0 { 0.0 } else { t.from_machines as f64 * 100.0 / received as f64 };
    let mean = if t.booted == 0 { "-".into() } else { format!("{:.0} s", t.boot_seconds / t.booted as f64) };
    vec![
        Line::styled(
            format!(
                "The server sent {}; machines received {} ({share:.0} % from each other)",
                human_size(s.sent),
                human_size(received)
            ),
            Tone::Head.style(),
        ),
        Line::from(format!(
            "Kernels and initrds: {} sent. Boots: {}, {mean} each; {} failed.",
            human_size(s.boot_files),
            t.booted,
            t.failed
        )),
        Line::default(),
    ]
}

/// A curve with its scale: the rate at its top to the left, and how long ago its left edge is, below.
fn spark(
    frame: &mut Frame,
    [title, area, time]: [Rect; 3],
    history: &[Sample],
    what: &str,
    value: impl Fn(&Sample) -> u64,
) {
    let now = history.last().map_or(0, &value);
    let [scale, curve] = Layout::horizontal([Constraint::Length(SCALE), Constraint::Min(1)]).areas(area);
    // The newest is at the right edge.
    let width = usize::from(curve.width);
    let mut data: Vec<u64> = history.iter().rev().take(width).map(value).collect();
    data.resize(width, 0);
    data.reverse();
    let most = data.iter().copied().max().unwrap_or(0);
    let text = format!("{what}: {} now, {} at most", rate(now), rate(most));
    frame.render_widget(Paragraph::new(Line::styled(text, Tone::Head.style())), title);
    let mark = |word: String| Line::from(format!("{word} ┤")).right_aligned();
    let mut marks = vec![Line::from("│").right_aligned(); usize::from(scale.height)];
    if let Some(last) = marks.last_mut() {
        *last = mark("0".into());
    }
    if let Some(first) = marks.first_mut().filter(|_| most > 0) {
        *first = mark(rate(most));
    }
    frame.render_widget(Paragraph::new(marks), scale);
    frame.render_widget(Sparkline::default().data(&data).max(most.max(1)).style(Tone::Busy.style()), curve);
    let axis = Rect { x: curve.x, width: curve.width, ..time };
    let ago = human_time(Duration::from_secs(curve.width.into()));
    frame.render_widget(Paragraph::new(Line::styled(format!("{ago} ago"), Tone::Dim.style())), axis);
    frame.render_widget(Paragraph::new(Line::styled("now", Tone::Dim.style()).right_aligned()), axis);
}

fn row(s: &ImageStats) -> GridRow {
    let cells = vec![
        s.name.to_string(),
        human_size(s.size),
        s.complete.to_string(),
        s.incomplete.to_string(),
        s.machines.to_string(),
        human_size(s.sent),
        format!("{:.2}", s.copies()),
        s.priority.to_string(),
    ];
    GridRow { cells, ..GridRow::default() }
}
