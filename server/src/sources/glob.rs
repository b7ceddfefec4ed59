// SPDX-License-Identifier: GPL-3.0-or-later
//! File names with a version in them: `debian-live-*-amd64-gnome.iso`.

use std::cmp::Ordering;

/// Whether `name` fits `pattern`, in which `*` stands for any characters.
pub fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Which name is of the later version: runs of digits count as numbers.
pub fn by_version(a: &str, b: &str) -> Ordering {
    let (a, b) = (chunks(a), chunks(b));
    a.iter().map(|c| key(c)).cmp(b.iter().map(|c| key(c)))
}

fn chunks(s: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut start = 0;
    let digit = |n: usize| s.as_bytes()[n].is_ascii_digit();
    for n in 1..s.len() {
        if s.is_char_boundary(n) && digit(n) != digit(n - 1) {
            out.push(&s[start..n]);
            start = n;
        }
    }
    out.push(&s[start..]);
    out
}

/// Longer numbers are larger ones: no number is too long to be compared.
fn key(chunk: &str) -> (usize, &str) {
    let digits = chunk.trim_start_matches('0');
    if chunk.starts_with(|c: char| c.is_ascii_digit()) { (digits.len() + 1, digits) } else { (0, chunk) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, want) in [
            ("a.iso", "a.iso", true),
            ("a.iso", "a.isox", false),
            ("a-*-gnome.iso", "a-13.2.0-gnome.iso", true),
            ("a-*-gnome.iso", "a-13.2.0-kde.iso", false),
            ("*.iso", "x.iso", true),
            ("a*a", "a", false),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "a1c", false),
            ("*", "", true),
        ] {
            assert_eq!(fits(pattern, name), want, "{pattern} {name}");
        }
    }

    #[test]
    fn versions() {
        let mut names = ["x-13.10.0.iso", "x-9.1.iso", "x-13.2.0.iso", "x-13.2.0-é.iso"];
        names.sort_by(|a, b| by_version(a, b));
        assert_eq!(names.last(), Some(&"x-13.10.0.iso"));
        assert_eq!(names[0], "x-9.1.iso");
    }
}
