// SPDX-License-Identifier: GPL-3.0-or-later
//! Tables for people: columns as wide as they must be, numbers to the right.

/// How a column stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Lay out `rows` under `head`. No line ends in spaces.
pub fn layout(head: &[(&str, Align)], rows: &[Vec<String>]) -> String {
    let width = |n: usize| {
        let cells = rows.iter().filter_map(|r| r.get(n)).map(|c| c.chars().count());
        cells.chain([head[n].0.chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells
            .zip(head.iter().zip(&widths))
            .map(|(cell, ((_, align), width))| match align {
                Align::Left => format!("{cell:<width$}"),
                Align::Right => format!("{cell:>width$}"),
            })
            .collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let mut out = line(&mut head.iter().map(|(h, _)| *h));
    for row in rows {
        out.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_up() {
        let rows = [
            vec!["é".to_owned(), "1".to_owned(), String::new()],
            vec!["long".to_owned(), "100".to_owned(), "x".to_owned()],
        ];
        let head = [("NAME", Align::Left), ("N", Align::Right), ("WHY", Align::Left)];
        assert_eq!(layout(&head, &rows), "NAME    N  WHY\né       1\nlong  100  x\n");
    }
}
