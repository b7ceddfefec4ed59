// SPDX-License-Identifier: GPL-3.0-or-later
//! All there is to say of one machine or one image, in a frame.

use super::{
    images, machines,
    style::{Tone, bar, rate},
};
use crate::{
    clients::{
        Client,
        totals::{boot_seconds, complete_seconds},
    },
    tui::{
        line::Line as ImageLine,
        model::{Model, View},
        rows,
    },
};
use bootspec::{
    Phase,
    units::{human_size, human_time},
};
use ratatui::{
    Frame,
    layout::Rect,
    text::Line,
    widgets::{Block, Clear, Paragraph, Wrap},
};

/// A frame with a title. What is in it.
pub fn framed(frame: &mut Frame, area: Rect, title: &str) -> Rect {
    let block = Block::bordered().title(Line::styled(title.to_owned(), Tone::Head.style()));
    let inner = block.inner(area);
    frame.render_widget(Clear, area);
    frame.render_widget(block, area);
    inner
}

/// Lines in a frame.
pub fn draw(frame: &mut Frame, area: Rect, title: &str, lines: Vec<Line>) {
    let inner = framed(frame, area, title);
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), inner);
}

/// What there is to say of the row under the cursor, beside the list.
pub fn beside(frame: &mut Frame, area: Rect, model: &Model) {
    match model.view {
        View::Images => {
            let Some(key) = &model.images.key else { return };
            draw(frame, area, " Image ", image(model, key));
        }
        _ => {
            let all = rows::machines(model);
            let Some(c) = all.get(model.machines.at) else { return };
            let log: &[String] = if model.log.0 == c.heartbeat.id { &model.log.1 } else { &[] };
            draw(frame, area, &format!(" {} ", crate::clients::name(c)), machine(c, log, area));
        }
    }
}

/// All that is known of a machine, and of its log the end: as much as there is room for in a frame of this size.
pub fn machine(c: &Client, log: &[String], area: Rect) -> Vec<Line<'static>> {
    let mut lines = facts(c);
    let width = usize::from(area.width.saturating_sub(2)).max(1);
    let taken: usize = lines.iter().map(|l| l.width().div_ceil(width).max(1)).sum();
    let room = usize::from(area.height).saturating_sub(taken + 3).max(2);
    if !log.is_empty() {
        lines.push(Line::default());
        let end = &log[log.len().saturating_sub(room)..];
        lines.extend(end.iter().map(|l| Line::from(l.chars().take(width).collect::<String>())));
    }
    lines
}

fn facts(c: &Client) -> Vec<Line<'static>> {
    let (h, p) = (&c.heartbeat, &c.heartbeat.progress);
    let mut lines = vec![Line::from(format!(" {}", machines::place(c)))];
    let fact = |name: &str, value: String| Line::from(format!(" {name:<12} {value}"));
    let word = |w: &Option<String>| w.clone().unwrap_or_else(|| "-".into());
    lines.push(fact("image", word(&h.image)));
    lines.push(fact("phase", format!("{} for {}", c.phase(), human_time(rows::since(c)))));
    if p.total > 0 {
        let done = format!("{} {:.1} % of {}", bar(p.percent(), 30), p.percent(), human_size(p.total));
        lines.push(fact("done", done));
    }
    lines.push(fact("rates", format!("{} down, {} up", rate(p.down_rate), rate(p.up_rate))));
    lines.push(fact("bytes", machines::bytes(c)));
    if matches!(h.phase, Phase::Streaming | Phase::Seed) {
        lines.push(fact("booted in", format!("{:.1} s from the kernel's start", boot_seconds(h))));
    }
    if let Some(seconds) = complete_seconds(h) {
        lines.push(fact("complete in", format!("{seconds:.1} s")));
    }
    for (name, value) in [("firmware", &c.platform), ("serial", &c.serial), ("UUID", &c.uuid)] {
        if value.is_some() {
            lines.push(fact(name, word(value)));
        }
    }
    lines.push(fact("agent", format!("{}, {} of memory beside the image", h.version, human_size(h.memory))));
    let remark = c.remark();
    if !remark.is_empty() {
        let tone = if h.error.as_ref().is_some_and(|e| *e == remark) { Tone::Bad } else { Tone::Head };
        lines.push(Line::default());
        lines.push(Line::styled(format!(" {remark}"), tone.style()));
    }
    let phases = h.phases.iter().map(|p| format!("{} {:.1}", p.phase.as_str(), p.at));
    let heard = std::iter::once(format!("heard {:.1}", h.uptime));
    lines.push(fact("seconds", phases.chain(heard).collect::<Vec<_>>().join(", ")));
    lines
}

/// All that is known of an image, or of a fetch.
pub fn image(model: &Model, key: &str) -> Vec<Line<'static>> {
    let fact = |name: &str, value: String| Line::from(format!(" {name:<12} {value}"));
    match rows::images(model).iter().find(|l| l.key() == key) {
        Some(ImageLine::Image(row, stats)) => {
            let m = &row.manifest;
            let mut lines = vec![
                fact("name", m.name.to_string()),
                fact("what", m.what()),
                fact("size", format!("{} ({} bytes)", human_size(m.size), m.size)),
                fact("phase one", format!("{} for each machine", human_size(row.phase_one))),
                fact("infohash", m.infohash.to_string()),
                fact("priority", m.priority.to_string()),
                fact("parameters", m.append.clone()),
                fact("added", m.added.clone()),
                fact("from", m.source.clone()),
            ];
            if let Some(s) = stats {
                lines.push(fact("swarm", format!("{} complete, {} partly", s.complete, s.incomplete)));
                lines.push(fact(
                    "sent",
                    format!("{} by this server: {:.2} copies", human_size(s.sent), s.copies()),
                ));
            }
            lines.push(fact(
                "machines",
                match &row.machines[..] {
                    [] => "none".into(),
                    ids => ids.iter().map(|id| rows::name_of(model, id)).collect::<Vec<_>>().join(", "),
                },
            ));
            lines
        }
        Some(ImageLine::Fetch(f)) => {
            let mut lines = vec![
                fact("fetch of", f.request.what.clone()),
                fact("state", images::state(f).0),
                fact("peers", f.progress.peers.to_string()),
            ];
            lines.extend(f.progress.verified.clone().map(|v| fact("verified", v)));
            lines.extend(f.error.clone().map(|e| fact("error", e)));
            lines
        }
        None => vec![Line::from(" it is no longer here")],
    }
}
