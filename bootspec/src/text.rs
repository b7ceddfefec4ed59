// SPDX-License-Identifier: GPL-3.0-or-later
//! Other people's text on its way to a terminal, a log, or a line of a file: names of machines, labels
//! of filesystems, what a server answers. What would control a terminal, or look like something else
//! than it is, does not get there.

use std::borrow::Cow;

/// Whether a character must not be shown: it controls a terminal, turns the text's direction, or cannot be seen.
pub fn is_odd(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The text with a blank for every odd character that is one, and a `?` for the others.
/// `keep`: those that are meant, such as the ends of lines.
pub fn clean<'a>(text: &'a str, keep: &[char]) -> Cow<'a, str> {
    let bad = |c: char| is_odd(c) && !keep.contains(&c);
    if !text.contains(bad) {
        return text.into();
    }
    let shown = |c: char| match c {
        c if !bad(c) => c,
        '\t' | '\n' | '\r' => ' ',
        _ => '?',
    };
    text.chars().map(shown).collect::<String>().into()
}

/// The text without its odd characters, and of at most `limit` bytes: for a word or a sentence of somebody else's.
pub fn printable(text: &str, limit: usize) -> String {
    let mut left = limit;
    let fits = |c: &char| {
        left = left.checked_sub(c.len_utf8()).unwrap_or(usize::MAX);
        left != usize::MAX
    };
    text.chars().filter(|c| !is_odd(*c)).take_while(fits).collect()
}

/// `1 image`, `2 images`: a number of things whose name gets an s.
pub fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// JSON that means the same, with every odd character written as `\uXXXX`. They only stand in its strings.
pub fn json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push(c),
            c if is_odd(c) => c.encode_utf16(&mut [0; 2]).iter().for_each(|u| out += &format!("\\u{u:04x}")),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_controls_a_terminal_stays() {
        for (text, want) in [
            ("plain é 机", "plain é 机"),
            ("a\x1b[2Jb", "a?[2Jb"),
            ("\u{9b}31m", "?31m"),
            ("evil\u{202e}gpj.exe", "evil?gpj.exe"),
            ("one\ntwo\tx", "one\ntwo x"),
        ] {
            assert_eq!(clean(text, &['\n']), want);
        }
        assert_eq!(clean("a\nb", &[]), "a b");
    }

    #[test]
    fn json_means_the_same() {
        let value = serde_json::json!({"a": "\u{9b}31m\u{202e}\u{e0041}\x1b\n", "b": [1, "é"]});
        for text in [serde_json::to_string(&value), serde_json::to_string_pretty(&value)] {
            let clean = json(&text.unwrap());
            assert!(!clean.contains(|c| c != '\n' && is_odd(c)), "{clean}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&clean).unwrap(), value);
        }
    }
}
