// SPDX-License-Identifier: GPL-3.0-or-later
//! The last thing before the terminal: only what this terminal may and can show goes out. Whatever
//! a machine, a file or a server calls itself, it passes here, and nothing passes elsewhere.

use bootspec::text::is_odd;
use ratatui::{buffer::Buffer, style::Color};

/// What the terminal can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Colours.
    pub color: bool,
    /// More than ASCII.
    pub unicode: bool,
}

impl Look {
    /// By the environment: TERM, NO_COLOR (no-color.org), and the locale's character set.
    pub fn of(var: impl Fn(&str) -> Option<String>) -> Look {
        let set = |name: &str| var(name).filter(|v| !v.is_empty());
        let term = set("TERM").unwrap_or_default();
        let plain = ["vt", "dumb", "linux-m", "xterm-mono", "ansi-m"].iter().any(|p| term.starts_with(p));
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|n| set(n)).unwrap_or_default();
        let utf8 = ["utf-8", "utf8"].iter().any(|u| locale.to_lowercase().contains(u));
        Look { color: set("NO_COLOR").is_none() && !plain && !term.is_empty(), unicode: utf8 && !plain }
    }
}

/// Clean all that was drawn.
pub fn clean(buffer: &mut Buffer, look: Look) {
    for cell in &mut buffer.content {
        if let Some(text) = replacement(cell.symbol(), look) {
            cell.set_symbol(text);
        }
        if !look.color {
            cell.set_fg(Color::Reset).set_bg(Color::Reset);
        }
    }
}

/// What stands for a symbol that must not or cannot be shown.
fn replacement(symbol: &str, look: Look) -> Option<&'static str> {
    if symbol.contains(is_odd) {
        return Some("?");
    }
    if look.unicode || symbol.is_ascii() {
        return None;
    }
    Some(match symbol {
        "─" | "━" | "–" | "—" | "╌" => "-",
        "│" | "┃" => "|",
        "┌" | "┐" | "└" | "┘" | "├" | "┤" | "┬" | "┴" | "┼" => "+",
        "█" | "▉" | "▊" | "▋" => "#",
        "▌" | "▍" | "▎" | "▏" => "=",
        "░" => ".",
        // A sparkline's eighths.
        "▁" => "_",
        "▂" => ".",
        "▃" => "-",
        "▄" => "=",
        "▅" => "+",
        "▆" => "*",
        "▇" => "%",
        "•" | "●" | "✓" => "*",
        "▶" | "›" | "→" => ">",
        "↑" => "^",
        "↓" => "v",
        "…" => "~",
        "·" => ":",
        "×" => "x",
        _ => "?",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::{layout::Rect, style::Style};

    #[test]
    fn looks_at_the_environment() {
        let look = |vars: &[(&str, &str)]| {
            let look = Look::of(|n| vars.iter().find(|(v, _)| *v == n).map(|(_, v)| (*v).to_owned()));
            (look.color, look.unicode)
        };
        for (vars, want) in [
            (&[("TERM", "xterm-256color"), ("LANG", "de_DE.UTF-8")][..], (true, true)),
            (&[("TERM", "xterm"), ("LANG", "C.utf8"), ("NO_COLOR", "1")], (false, true)),
            (&[("TERM", "xterm"), ("LANG", "C.UTF-8"), ("NO_COLOR", "")], (true, true)),
            (&[("TERM", "xterm"), ("LANG", "en_US.UTF-8"), ("LC_ALL", "C")], (true, false)),
            (&[("TERM", "vt220"), ("LANG", "C.UTF-8")], (false, false)),
            (&[("TERM", "linux")], (true, false)),
            (&[], (false, false)),
        ] {
            assert_eq!(look(vars), want, "{vars:?}");
        }
    }

    /// Even if a widget let it through.
    #[test]
    fn nothing_that_controls_a_terminal_goes_out() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 6, 1));
        for (x, symbol) in ["\x1b", "a\u{202e}", "\u{9b}", "é", "█", "\u{200b}"].into_iter().enumerate() {
            buffer[(x as u16, 0)].set_symbol(symbol).set_style(Style::new().fg(Color::Red));
        }
        let mut all = buffer.clone();
        clean(&mut all, Look { color: true, unicode: true });
        let text = |b: &Buffer| b.content.iter().map(|c| c.symbol().to_owned()).collect::<String>();
        assert_eq!(text(&all), "???é█?");
        clean(&mut buffer, Look { color: false, unicode: false });
        assert_eq!(text(&buffer), "????#?");
        assert!(buffer.content.iter().all(|c| c.fg == Color::Reset));
    }
}
