// SPDX-License-Identifier: GPL-3.0-or-later
//! Splitting and joining a kernel command line, with quotes as the kernel has
//! them (`next_arg` in lib/cmdline.c): a double quote switches "white space is
//! text" on and off; quotes around a whole word or around a whole value go
//! away; there are no escapes.

/// Split into (name, value) pairs; a word without `=` has no value.
pub fn split(cmdline: &str) -> Vec<(String, Option<String>)> {
    let mut words = Vec::new();
    let (mut word, mut quoted, mut any) = (String::new(), false, false);
    for c in cmdline.chars() {
        if c == '"' {
            quoted = !quoted;
        }
        if c.is_ascii_whitespace() && !quoted {
            if any {
                words.push(std::mem::take(&mut word));
            }
            any = false;
        } else {
            word.push(c);
            any = true;
        }
    }
    if any {
        words.push(word);
    }
    words.iter().map(|w| pair(w)).collect()
}

fn pair(word: &str) -> (String, Option<String>) {
    let word = match word.strip_prefix('"') {
        Some(inner) => inner.strip_suffix('"').unwrap_or(inner),
        None => word,
    };
    match word.split_once('=') {
        None => (word.to_owned(), None),
        Some((name, value)) => {
            let value = match value.strip_prefix('"') {
                Some(inner) => inner.strip_suffix('"').unwrap_or(inner),
                None => value,
            };
            (name.to_owned(), Some(value.to_owned()))
        }
    }
}

/// Render one `name=value`, quoted where white space demands it. The kernel
/// has no escapes, so a value must not hold a double quote: it is dropped.
pub fn render(name: &str, value: &str) -> String {
    let value = value.replace('"', "");
    if value.chars().any(|c| c.is_ascii_whitespace()) {
        format!("{name}=\"{value}\"")
    } else {
        format!("{name}={value}")
    }
}

/// Whether two parameter names are the same: `-` and `_` are.
pub fn same_name(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).all(|(x, y)| x == y || (is_dash(x) && is_dash(y)))
}

fn is_dash(b: u8) -> bool {
    b == b'-' || b == b'_'
}

/// Kernel parameters pass through an iPXE script: what would end the command there is refused.
pub fn check_append(text: &str) -> Result<(), String> {
    if text.split(' ').any(ends_a_command) || text.chars().any(is_odd) {
        return Err(format!(
            "'{}' are not valid kernel parameters: write them in one line without the words && || ; and without words that begin with #",
            text.escape_debug()
        ));
    }
    Ok(())
}

/// Nothing that a kernel command line is made of: it could become the blank before a word, or its end, or
/// show something else on the console than what is booted.
fn is_odd(c: char) -> bool {
    crate::text::is_odd(c) || (c.is_whitespace() && c != ' ')
}

fn ends_a_command(word: &str) -> bool {
    matches!(word, "&&" | "||" | ";") || word.starts_with('#')
}

/// What [`check_append`] lets pass, of whatever a manifest that was changed by hand holds.
pub fn harmless(text: &str) -> String {
    let line = text.replace(is_odd, " ");
    line.split(' ').filter(|w| !ends_a_command(w)).collect::<Vec<_>>().join(" ").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_as_the_kernel_does() {
        type Word = (&'static str, Option<&'static str>);
        let cases: [(&str, &[Word]); 8] = [
            ("", &[]),
            ("  quiet\tro\n", &[("quiet", None), ("ro", None)]),
            ("a=1 b=", &[("a", Some("1")), ("b", Some(""))]),
            (r#"a="x y" b"#, &[("a", Some("x y")), ("b", None)]),
            (r#""a=x y" b"#, &[("a", Some("x y")), ("b", None)]),
            ("a=b=c", &[("a", Some("b=c"))]),
            (r#"a=x"y z""#, &[("a", Some(r#"x"y z""#))]),
            (r#"a="never closed"#, &[("a", Some("never closed"))]),
        ];
        for (text, expect) in cases {
            let expect: Vec<_> = expect.iter().map(|(n, v)| (n.to_string(), v.map(str::to_owned))).collect();
            assert_eq!(split(text), expect, "{text:?}");
        }
    }

    #[test]
    fn names() {
        assert!(same_name("boottorrent.log-level", "boottorrent.log_level"));
        assert!(!same_name("a.b", "a-b"));
    }

    #[test]
    fn what_looks_like_a_blank_is_no_way_round() {
        assert!(check_append("a\u{2028}&&").is_err());
        assert_eq!(harmless("\u{2028}&& quiet"), "quiet");
        assert_eq!(harmless("a\u{2028}#b"), "a");
        assert_eq!(harmless("root=\u{202e}x"), "root= x");
    }
}
