// SPDX-License-Identifier: GPL-3.0-or-later
//! What lies over a view.

use super::{
    grid::{self, GridRow, left},
    images, machines,
    style::{Tone, bar, rate},
};
use crate::{
    clients::{
        Client,
        totals::{boot_seconds, complete_seconds},
    },
    tui::{
        model::{Dialog, Model, Pick, PickDialog, PickItem, Prompt, TextDialog},
        rows::{self, Line as ImageLine},
    },
};
use bootspec::{
    Phase,
    units::{human_size, human_time},
};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    text::Line,
    widgets::{Block, Clear, Paragraph, Wrap},
};

pub fn draw(frame: &mut Frame, area: Rect, model: &Model, dialog: &Dialog) {
    match dialog {
        Dialog::Machine(id, log) => match model.now.machines.iter().find(|c| c.heartbeat.id == *id) {
            Some(c) => {
                let mut lines = machine(c);
                let width = usize::from(area.width.saturating_sub(2)).max(1);
                let taken: usize = lines.iter().map(|l| l.width().div_ceil(width).max(1)).sum();
                // Its end is what counts: as much as there is room for, inside the frame.
                let room = usize::from(area.height).saturating_sub(taken + 3).max(2);
                if !log.is_empty() {
                    lines.push(Line::default());
                    let end = &log[log.len().saturating_sub(room)..];
                    lines.extend(end.iter().map(|l| Line::from(l.chars().take(width).collect::<String>())));
                }
                text(frame, area, &format!(" {} ", crate::clients::name(c)), lines, 0);
            }
            None => text(frame, area, " Gone ", vec![Line::from(format!(" {id} is no longer known"))], 0),
        },
        Dialog::Image(key) => text(frame, area, " Image ", image(model, key), 0),
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

/// A box over the view. What is in it.
fn framed(frame: &mut Frame, area: Rect, title: &str) -> Rect {
    let block = Block::bordered().title(Line::styled(title.to_owned(), Tone::Head.style()));
    let inner = block.inner(area);
    frame.render_widget(Clear, area);
    frame.render_widget(block, area);
    inner
}

fn text(frame: &mut Frame, area: Rect, title: &str, lines: Vec<Line>, scroll: usize) {
    let inner = framed(frame, area, title);
    let scroll = (scroll.min(u16::MAX.into()) as u16, 0);
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }).scroll(scroll), inner);
}

fn input(frame: &mut Frame, area: Rect, ask: &Prompt, typed: &str) {
    let (title, help) = match ask {
        Prompt::Add => {
            (" Add a file ", "ISO, disk or filesystem image, root folder or tarball on this server:")
        }
        Prompt::Fetch => (" Fetch ", "A URL, a magnet link, or the path of a .torrent:"),
        Prompt::Rename(_) => (" Rename ", "The new name:"),
        Prompt::Range => (" Addresses ", "The addresses to give, as in 10.0.0.100,10.0.0.200:"),
    };
    let height = 6.min(area.height);
    let place = Rect { y: area.y + (area.height - height) / 2, height, ..area };
    let inner = framed(frame, place, title);
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
        Pick::Image(machine) => format!(" Which image for {machine}? "),
        Pick::Once(machine) => format!(" Which image for {machine}, once? "),
        Pick::Interface => " Which network? ".to_owned(),
    };
    let inner = framed(frame, area, &title);
    let rows = [Constraint::Length(1), Constraint::Min(2), Constraint::Length(1)];
    let [top, middle, below] = Layout::vertical(rows).areas(inner);
    let shown = rows::items(items, filter);
    frame.render_widget(Paragraph::new(format!(" {} of {} with: {filter}_", shown.len(), items.len())), top);
    let row = |i: &&PickItem| GridRow { cells: vec![i.key.clone(), i.note.clone()], tone: Tone::Plain };
    let rows: Vec<GridRow> = shown.iter().map(row).collect();
    grid::draw(
        frame.buffer_mut(),
        middle,
        &[left("NAME", 34, 0), left("WHAT", 120, 1)],
        &rows,
        Some(cursor.at),
    );
    frame.render_widget(Paragraph::new(" type to filter   Enter: choose   Esc: cancel"), below);
}

/// All that is known of a machine.
fn machine(c: &Client) -> Vec<Line<'static>> {
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
    if let Some(error) = &h.error {
        lines.push(Line::default());
        lines.push(Line::styled(format!(" {error}"), Tone::Bad.style()));
    }
    let phases = h.phases.iter().map(|p| format!("{} {:.1}", p.phase.as_str(), p.at));
    let heard = std::iter::once(format!("heard {:.1}", h.uptime));
    lines.push(fact("seconds", phases.chain(heard).collect::<Vec<_>>().join(", ")));
    lines
}

fn image(model: &Model, key: &str) -> Vec<Line<'static>> {
    let fact = |name: &str, value: String| Line::from(format!(" {name:<12} {value}"));
    match rows::images(model).iter().find(|l| l.key() == key) {
        Some(ImageLine::Image(row, stats)) => {
            let m = &row.manifest;
            let mut lines = vec![
                fact("name", m.name.to_string()),
                fact("what", m.what()),
                fact("size", format!("{} ({} bytes)", human_size(m.size), m.size)),
                fact("phase one", format!("{} for each machine", human_size(m.kernel.size + m.initrd.size))),
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
                if row.machines.is_empty() { "none".into() } else { row.machines.join(", ") },
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
