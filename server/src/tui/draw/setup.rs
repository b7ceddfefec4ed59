// SPDX-License-Identifier: GPL-3.0-or-later
//! Setup: the networks, what is wrong, and what dnsmasq would be told.

use super::style::Tone;
use crate::tui::model::Model;
use ratatui::{
    Frame,
    layout::Rect,
    text::Line,
    widgets::{Paragraph, Wrap},
};

pub fn draw(frame: &mut Frame, area: Rect, model: &Model) {
    let s = &model.setup;
    let head = |text: String| Line::styled(text, Tone::Head.style());
    let mode = if s.options.authoritative {
        "this server gives the addresses (authoritative)"
    } else {
        "another DHCP server gives the addresses (proxy)"
    };
    let networks: Vec<String> = s.networks.iter().map(|(i, n)| format!("{i} ({n})")).collect();
    let mut lines =
        vec![Line::from(format!("Networks: {}", networks.join(", "))), Line::from(format!("Mode: {mode}"))];
    lines.push(head(format!("boottorrent doctor{}", if s.busy { " (looking…)" } else { "" })));
    lines.extend(s.doctor.iter().map(|l| indented(l, Tone::Plain)));
    let word = match (s.fits, s.written) {
        (true, true) => "has written:",
        (true, false) => "would write:",
        (false, _) if s.busy => "…",
        (false, _) => "cannot write:",
    };
    lines.push(head(format!("boottorrent setup {} {word}", s.options.flags().join(" "))));
    let tone = if s.fits || s.busy { Tone::Plain } else { Tone::Bad };
    lines.extend(s.plan.iter().map(|l| indented(l, tone)));
    let text = Paragraph::new(lines)
        .wrap(Wrap { trim: false })
        .scroll((model.scroll.min(u16::MAX.into()) as u16, 0));
    frame.render_widget(text, area);
}

/// A line of what a command said. An empty one stays empty: spaces alone would be wrapped.
fn indented(line: &str, tone: Tone) -> Line<'static> {
    match line.trim_end() {
        "" => Line::default(),
        line => Line::styled(format!("  {line}"), tone.style()),
    }
}
