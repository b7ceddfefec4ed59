// SPDX-License-Identifier: GPL-3.0-or-later
//! Tables for people: columns as wide as they must be, numbers to the right.

use bootspec::text::clean;

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
    // File names, and what servers and machines call themselves, stand in tables.
    let rows: Vec<Vec<_>> =
        rows.iter().map(|row| row.iter().map(|cell| clean(cell, &[])).collect()).collect();
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
    for row in &rows {
        out.push_str(&line(&mut row.iter().map(|cell| &**cell)));
    }
    out
}

/// The same in at most `columns`: columns that are named in `less` are left out, in this order, until it fits. What is
/// still too long is cut.
pub fn layout_in(columns: usize, head: &[(&str, Align)], rows: &[Vec<String>], less: &[&str]) -> String {
    let (mut head, mut rows, mut less) = (head.to_vec(), rows.to_vec(), less.iter());
    loop {
        let text = layout(&head, &rows);
        if text.lines().all(|line| line.chars().count() <= columns) {
            return text;
        }
        let Some(name) = less.next() else {
            return text.lines().map(|line| cut(line, columns) + "\n").collect();
        };
        if let Some(at) = head.iter().position(|(h, _)| h == name) {
            head.remove(at);
            rows.iter_mut().filter(|r| at < r.len()).for_each(|r| drop(r.remove(at)));
        }
    }
}

/// A line of at most so many characters.
pub fn cut(line: &str, columns: usize) -> String {
    match line.chars().count() > columns {
        true => line.chars().take(columns.saturating_sub(1)).chain(['…']).collect(),
        false => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_up() {
        let rows = [
            vec!["é".to_owned(), "1".to_owned(), String::new()],
            vec!["long".to_owned(), "100".to_owned(), "x".to_owned()],
        ];
        let head = [("NAME", Align::Left), ("N", Align::Right), ("WHY", Align::Left)];
        assert_eq!(layout(&head, &rows), "NAME    N  WHY\né       1\nlong  100  x\n");
    }

    #[test]
    fn fits() {
        let head = [("NAME", Align::Left), ("SIZE", Align::Right), ("NOTE", Align::Left)];
        let rows = [vec!["lab".to_owned(), "100 MiB".to_owned(), "a long note".to_owned()]];
        let less = ["SIZE"];
        assert_eq!(layout_in(26, &head, &rows, &less), layout(&head, &rows));
        assert_eq!(layout_in(20, &head, &rows, &less), "NAME  NOTE\nlab   a long note\n");
        assert_eq!(layout_in(10, &head, &rows, &less), "NAME  NOTE\nlab   a l…\n");
    }

    proptest! {
        /// A row stays a line, and the terminal as it was.
        #[test]
        fn cells_are_text(cells in proptest::collection::vec(any::<String>(), 2..=2), odd in "[\x1b\u{9b}\u{202e}\n\t ]{0,4}") {
            let rows = vec![cells.clone(), vec![format!("{}{odd}x", cells[0]), odd.clone()]];
            let text = layout(&[("A", Align::Left), ("B", Align::Right)], &rows);
            prop_assert_eq!(text.lines().count(), 3);
            prop_assert!(!text.contains(|c| c != '\n' && bootspec::text::is_odd(c)), "{:?}", text);
        }
    }
}
