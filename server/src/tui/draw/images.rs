// SPDX-License-Identifier: GPL-3.0-or-later
//! The images: published, and being prepared.

use super::{
    grid::{self, Column, GridRow, left, right},
    style::{Tone, bar, rate},
};
use crate::{
    api::types::ImageRow,
    fetch::request::{FetchRow, FetchState},
    tui::{
        layout::Areas,
        line::{Line, fetch_name},
        model::{Model, ServerLink},
        rows,
    },
    watch::stats::ImageStats,
};
use bootspec::units::{human_size, human_time};
use ratatui::{Frame, widgets::Paragraph};
use std::time::Duration;

const COLUMNS: [Column; 8] = [
    left("IMAGE", 34, 0),
    left("WHAT", 20, 5),
    right("SIZE", 1),
    Column { title: "STATE", right: false, most: 50, drop: 0 },
    right("MACHINES", 2),
    right("SEEDERS", 4),
    right("SENT", 3),
    left("ADDED", 20, 6),
];

pub fn draw(frame: &mut Frame, areas: &Areas, model: &Model) {
    let lines = rows::images(model);
    if lines.is_empty() {
        let text = match model.filter.is_empty() {
            true if model.link == ServerLink::Asking => "\n  Asking the server…",
            true => {
                "\n  There is no image yet.\n\n  f  fetch one from the catalogue of sources\n  u  fetch a URL, a magnet link or a .torrent\n  a  make one of a file on this server"
            }
            false => "\n  No image matches.",
        };
        frame.render_widget(Paragraph::new(text), areas.body);
        return;
    }
    let rows: Vec<GridRow> = lines.iter().map(row).collect();
    grid::draw(frame.buffer_mut(), areas.list, &COLUMNS, &rows, Some(model.images.at));
}

fn row(line: &Line) -> GridRow {
    match line {
        Line::Image(image, stats) => published(image, *stats),
        Line::Fetch(fetch) => prepared(fetch),
    }
}

fn published(image: &ImageRow, stats: Option<&ImageStats>) -> GridRow {
    let m = &image.manifest;
    let (state, tone) = match stats {
        None => ("on disk", Tone::Plain),
        Some(s) if !s.seeding => ("being checked", Tone::Busy),
        Some(_) if image.default => ("published, default", Tone::Good),
        Some(_) => ("published", Tone::Good),
    };
    let number = |n: &dyn Fn(&ImageStats) -> String| stats.map_or_else(|| "-".into(), n);
    let cells = vec![
        m.name.to_string(),
        m.what(),
        human_size(m.size),
        state.into(),
        number(&|s| s.machines.to_string()),
        number(&|s| s.complete.to_string()),
        number(&|s| format!("{:.2}×", s.copies())),
        m.added.clone(),
    ];
    GridRow { cells, tone, marked: false }
}

fn prepared(fetch: &FetchRow) -> GridRow {
    let (state, tone) = state(fetch);
    let none = || "-".to_owned();
    let size = fetch.progress.total.map_or_else(none, human_size);
    GridRow {
        cells: vec![
            fetch_name(fetch),
            "fetch".into(),
            size,
            state,
            none(),
            none(),
            none(),
            fetch.started.clone(),
        ],
        tone,
        marked: false,
    }
}

/// How far a fetch is, in a few words.
pub fn state(f: &FetchRow) -> (String, Tone) {
    let percent = f.progress.total.filter(|t| *t > 0).map(|t| f.progress.have as f64 * 100.0 / t as f64);
    match f.progress.state {
        FetchState::Queued => ("waits for others".into(), Tone::Dim),
        FetchState::Fetching => {
            let left =
                f.progress.total.map(|t| t.saturating_sub(f.progress.have)).filter(|_| f.progress.rate > 0);
            let eta =
                left.map(|l| format!(", {} left", human_time(Duration::from_secs(l / f.progress.rate))));
            let far = match percent {
                Some(p) => format!("{} {:.0} %", bar(p, 10), p.floor()),
                None => human_size(f.progress.have),
            };
            (format!("{far} {}{}", rate(f.progress.rate), eta.unwrap_or_default()), Tone::Busy)
        }
        FetchState::Verifying => ("verifying".into(), Tone::Busy),
        FetchState::Importing => ("importing".into(), Tone::Busy),
        FetchState::Done => ("done".into(), Tone::Good),
        FetchState::Cancelled => ("cancelled".into(), Tone::Dim),
        FetchState::Failed => {
            (format!("failed: {}", f.error.as_deref().unwrap_or("it does not say why")), Tone::Bad)
        }
    }
}
