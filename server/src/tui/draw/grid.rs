// SPDX-License-Identifier: GPL-3.0-or-later
//! Columns that fit: as wide as what is in them; the least important ones go when the screen is narrow.

use super::style::Tone;
use crate::tui::layout;
use ratatui::{buffer::Buffer, layout::Rect, text::Span};

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its head.
    pub title: &'static str,
    /// Whether it stands to the right: numbers.
    pub right: bool,
    /// How wide it may become.
    pub most: u16,
    /// Which goes first when there is no room: the highest. 0 stays.
    pub drop: u8,
}

/// A column of words.
pub const fn left(title: &'static str, most: u16, drop: u8) -> Column {
    Column { title, right: false, most, drop }
}

/// A column of numbers.
pub const fn right(title: &'static str, drop: u8) -> Column {
    Column { title, right: true, most: 12, drop }
}

/// A row: its cells, and how it looks.
#[derive(Clone, Debug, Default)]
pub struct GridRow {
    /// A cell for each column.
    pub cells: Vec<String>,
    /// How it looks.
    pub tone: Tone,
    /// Whether the admin has marked it.
    pub marked: bool,
}

const GAP: u16 = 2;
/// What may become so wide is a text that may be cut, down to [`LEAST`].
const LONG: u16 = 60;
const LEAST: u16 = 20;
/// In front of each row: where the cursor is, and whether it is marked.
const MARK: u16 = 2;

fn width(text: &str) -> u16 {
    Span::raw(text).width() as u16
}

/// The columns that fit, with their widths.
fn fit(columns: &[Column], rows: &[GridRow], room: u16) -> Vec<(usize, u16)> {
    let wide = |n: usize, c: &Column| {
        let cells = rows.iter().filter_map(|r| r.cells.get(n)).map(|c| width(c)).max().unwrap_or(0);
        (n, cells.min(c.most).max(width(c.title)))
    };
    let mut all: Vec<(usize, u16)> = columns.iter().enumerate().map(|(n, c)| wide(n, c)).collect();
    // A column without a head and without words is none.
    all.retain(|(n, w)| *w > 0 || !columns[*n].title.is_empty());
    let needed =
        |all: &[(usize, u16)]| all.iter().map(|(_, w)| w + GAP).sum::<u16>().saturating_sub(GAP) + MARK;
    while needed(&all) > room {
        let over = needed(&all) - room;
        // A long text is cut before a column goes.
        let long = all.iter_mut().find(|(n, w)| columns[*n].most >= LONG && w.saturating_sub(LEAST) >= over);
        if let Some((_, w)) = long {
            *w -= over;
            break;
        }
        let Some(at) = (0..all.len()).max_by_key(|i| (columns[all[*i].0].drop, *i)) else { break };
        if columns[all[at].0].drop > 0 {
            all.remove(at);
            continue;
        }
        // Only what must stay is left: the widest column of words gives.
        if let Some(widest) = all.iter_mut().filter(|(n, _)| !columns[*n].right).max_by_key(|(_, w)| *w) {
            widest.1 = widest.1.saturating_sub(over).max(1);
        }
        break;
    }
    all
}

/// Draw head and rows.
pub fn draw(buffer: &mut Buffer, area: Rect, columns: &[Column], rows: &[GridRow], selected: Option<usize>) {
    if area.height < 2 || area.width < 4 {
        return;
    }
    let fitting = fit(columns, rows, area.width);
    let mut line = |y: u16, cells: &dyn Fn(usize) -> String, tone: Tone, mark: &str| {
        buffer.set_style(Rect { y, height: 1, ..area }, tone.style());
        buffer.set_stringn(area.x, y, mark, MARK.into(), tone.style());
        let mut x = area.x + MARK;
        for (n, w) in &fitting {
            let room = (*w).min(area.right().saturating_sub(x));
            if room == 0 {
                break;
            }
            let text = cut(&cells(*n), room);
            let pad = if columns[*n].right { room.saturating_sub(width(&text)) } else { 0 };
            buffer.set_stringn(x + pad, y, &text, (room - pad).into(), tone.style());
            x += w + GAP;
        }
    };
    line(area.y, &|n| columns[n].title.to_owned(), Tone::Head, "");
    let (begin, height) = layout::seen(area, rows.len(), selected.unwrap_or(0));
    for (i, row) in rows.iter().enumerate().skip(begin).take(height) {
        let here = selected == Some(i);
        // Without colours and without reverse video it must be seen too.
        let mark = match (here, row.marked) {
            (true, true) => ">*",
            (true, false) => ">",
            (false, true) => " *",
            (false, false) => "",
        };
        let tone = if here { Tone::Selected } else { row.tone };
        let cell = |n: usize| row.cells.get(n).cloned().unwrap_or_default();
        line(area.y + 1 + (i - begin) as u16, &cell, tone, mark);
    }
}

/// A text in so many columns; one that is cut says so.
pub fn cut(text: &str, room: u16) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let mut out = String::new();
    for c in text.chars() {
        if width(&out) + width(c.encode_utf8(&mut [0; 4])) >= room {
            break;
        }
        out.push(c);
    }
    out + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_important_go_first() {
        let columns = [left("NAME", 20, 0), right("SIZE", 1), right("UP", 3), left("WHY", 40, 2)];
        let cells = ["a long name here", "1 GiB", "2 MB/s", "because of this"].map(String::from).to_vec();
        let rows = [GridRow { cells, ..GridRow::default() }];
        let shown = |room| fit(&columns, &rows, room).iter().map(|(n, _)| *n).collect::<Vec<_>>();
        assert_eq!(shown(80), [0, 1, 2, 3]);
        assert_eq!(shown(45), [0, 1, 3]);
        assert_eq!(shown(30), [0, 1]);
        assert_eq!(fit(&columns, &rows, 10), [(0, 8)]);
    }

    #[test]
    fn a_long_text_is_cut_before_columns_go() {
        let columns = [left("NAME", 20, 0), left("WHAT", 120, 1)];
        let rows =
            [GridRow { cells: vec!["debian-live-gnome".into(), "x".repeat(100)], ..GridRow::default() }];
        assert_eq!(fit(&columns, &rows, 78), [(0, 17), (1, 57)]);
        assert_eq!(fit(&columns, &rows, 40), [(0, 17)]);
    }

    #[test]
    fn the_selected_row_is_always_there() {
        for (len, height, selected) in [(100, 10, 0), (100, 10, 50), (100, 10, 99), (3, 10, 2), (0, 10, 0)] {
            let (begin, _) = layout::seen(Rect::new(0, 0, 80, height as u16 + 1), len, selected);
            assert!(len == 0 || (begin..begin + height).contains(&selected), "{len} {height} {selected}");
            assert!(len <= height || begin + height <= len);
        }
    }

    #[test]
    fn what_is_cut_says_so() {
        assert_eq!((cut("short", 5), cut("longer", 5)), ("short".to_owned(), "long…".to_owned()));
        assert_eq!(cut("日本語", 5), "日本…");
    }
}
