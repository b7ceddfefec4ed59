// SPDX-License-Identifier: GPL-3.0-or-later
//! How things look. Everything that colour says is said by words or marks too.

use bootspec::units::human_rate;
use ratatui::style::{Color, Modifier, Style};

/// What a thing is, which says how it looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// As text is.
    #[default]
    Plain,
    /// A table's head, a title.
    Head,
    /// The title bar.
    Bar,
    /// Where the cursor is.
    Selected,
    /// Done.
    Good,
    /// Under way.
    Busy,
    /// Failed.
    Bad,
    /// Of little interest.
    Dim,
}

impl Tone {
    /// Its style.
    pub fn style(self) -> Style {
        let style = Style::new();
        match self {
            Tone::Plain => style,
            Tone::Head => style.add_modifier(Modifier::BOLD),
            Tone::Bar | Tone::Selected => style.add_modifier(Modifier::REVERSED),
            Tone::Good => style.fg(Color::Green),
            Tone::Busy => style.fg(Color::Cyan),
            Tone::Bad => style.fg(Color::Red).add_modifier(Modifier::BOLD),
            Tone::Dim => style.fg(Color::DarkGray),
        }
    }
}

/// A bar of `width` columns.
pub fn bar(percent: f64, width: usize) -> String {
    let full = (percent.clamp(0.0, 100.0) / 100.0 * width as f64) as usize;
    format!("{}{}", "█".repeat(full), "░".repeat(width - full))
}

/// A rate, or that there is none.
pub fn rate(bytes: u64) -> String {
    if bytes == 0 { "-".into() } else { human_rate(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_full_only_at_the_end() {
        for (percent, want) in [(0.0, "░░░░"), (49.0, "█░░░"), (99.9, "███░"), (100.0, "████"), (1e9, "████")]
        {
            assert_eq!(bar(percent, 4), want);
        }
    }
}
