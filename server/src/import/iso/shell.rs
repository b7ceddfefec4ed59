// SPDX-License-Identifier: GPL-3.0-or-later
//! GRUB's script language, as far as menus need it: commands of words, with quotes, escapes, comments, line
//! continuations and variables (GRUB manual, "Writing full configuration files directly"). Conditions are not
//! evaluated: every branch is read, in order. No I/O.

use std::{collections::HashMap, iter::Peekable, str::Chars};

/// Limits for other people's text: words of one command, and bytes of one variable or word.
const MAX_WORDS: usize = 256;
const MAX_TEXT: usize = 4096;

/// A part of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// A variable. Outside of quotes its value is split at white space.
    Variable {
        name: String,
        quoted: bool,
    },
}

/// A word before variables are replaced.
type Word = Vec<Part>;

/// The variables of a script.
#[derive(Default)]
pub struct Variables(HashMap<String, String>);

impl Variables {
    /// Remember a variable, as `set NAME=VALUE` does; without `=` nothing happens.
    fn set(&mut self, assignment: &str) {
        if let Some((name, value)) = assignment.split_once('=').filter(|(_, v)| v.len() <= MAX_TEXT) {
            self.0.insert(name.to_owned(), value.to_owned());
        }
    }

    /// The words that a word stands for. A variable that was never set stays as `${NAME}`.
    fn expand(&self, word: &Word) -> Vec<String> {
        let (mut words, mut now, mut any) = (Vec::new(), String::new(), false);
        for part in word {
            match part {
                Part::Text(text) => {
                    now.push_str(text);
                    any = true;
                }
                Part::Variable { name, quoted } => {
                    let Some(value) = self.0.get(name) else {
                        now.push_str(&format!("${{{name}}}"));
                        any = true;
                        continue;
                    };
                    if *quoted {
                        now.push_str(value);
                        any = true;
                        continue;
                    }
                    let blank = |c: char| c.is_ascii_whitespace();
                    for (n, piece) in value.split(blank).enumerate() {
                        if n > 0 && any {
                            words.push(std::mem::take(&mut now));
                            any = false;
                        }
                        now.push_str(piece);
                        any |= !piece.is_empty();
                    }
                }
            }
            if now.len() > MAX_TEXT {
                return Vec::new();
            }
        }
        if any {
            words.push(now);
        }
        words
    }
}

/// Call `each` with the words of every command, in order. `set` is carried out, words such as `then` are skipped;
/// `{` and `}` are commands of their own.
pub fn run(text: &str, each: &mut dyn FnMut(&[String])) {
    let mut lexer = Lexer { rest: text.chars().peekable() };
    let mut variables = Variables::default();
    while let Some(command) = lexer.command() {
        let mut words: Vec<String> = Vec::new();
        for word in command {
            words.extend(variables.expand(&word).into_iter().take(MAX_WORDS - words.len().min(MAX_WORDS)));
        }
        let opening = |w: &String| matches!(w.as_str(), "then" | "else" | "do" | "!");
        let begin = words.iter().position(|w| !opening(w)).unwrap_or(words.len());
        match &words[begin..] {
            [] => {}
            [set, assignments @ ..] if set == "set" => assignments.iter().for_each(|a| variables.set(a)),
            words => each(words),
        }
    }
}

struct Lexer<'a> {
    rest: Peekable<Chars<'a>>,
}

impl Lexer<'_> {
    /// The next command that has words; `None` at the end.
    fn command(&mut self) -> Option<Vec<Word>> {
        let mut words: Vec<Word> = Vec::new();
        loop {
            let Some(&c) = self.rest.peek() else { return (!words.is_empty()).then_some(words) };
            match c {
                '\n' | ';' | '|' | '&' => {
                    self.rest.next();
                    if !words.is_empty() {
                        return Some(words);
                    }
                }
                '{' | '}' => {
                    if words.is_empty() {
                        self.rest.next();
                        words.push(vec![Part::Text(c.into())]);
                    }
                    return Some(words);
                }
                '#' => while self.rest.next_if(|c| *c != '\n').is_some() {},
                c if c.is_ascii_whitespace() => drop(self.rest.next()),
                _ => {
                    let word = self.word();
                    // Nothing but a line continuation, or nothing between quotes.
                    if !word.is_empty() && words.len() < MAX_WORDS {
                        words.push(word);
                    }
                }
            }
        }
    }

    fn word(&mut self) -> Word {
        let mut word = Word::new();
        let mut text = String::new();
        while let Some(&c) = self.rest.peek() {
            match c {
                ';' | '|' | '&' | '{' | '}' => break,
                c if c.is_ascii_whitespace() => break,
                '\'' => {
                    self.rest.next();
                    text.extend(std::iter::from_fn(|| self.rest.next_if(|c| *c != '\'')));
                    self.rest.next();
                }
                '"' => {
                    self.rest.next();
                    self.quoted(&mut word, &mut text);
                }
                '\\' => {
                    self.rest.next();
                    text.extend(self.rest.next().filter(|c| *c != '\n'));
                }
                '$' => self.variable(&mut word, &mut text, false),
                c => {
                    self.rest.next();
                    text.push(c);
                }
            }
        }
        if !text.is_empty() {
            word.push(Part::Text(text));
        }
        word
    }

    /// Between double quotes: a backslash escapes only `$`, `"`, itself and the end of a line.
    fn quoted(&mut self, word: &mut Word, text: &mut String) {
        while let Some(&c) = self.rest.peek() {
            match c {
                '"' => {
                    self.rest.next();
                    return;
                }
                '$' => self.variable(word, text, true),
                '\\' => {
                    self.rest.next();
                    match self.rest.next() {
                        Some('\n') | None => {}
                        Some(c @ ('$' | '"' | '\\')) => text.push(c),
                        Some(c) => text.extend(['\\', c]),
                    }
                }
                c => {
                    self.rest.next();
                    text.push(c);
                }
            }
        }
    }

    fn variable(&mut self, word: &mut Word, text: &mut String, quoted: bool) {
        self.rest.next();
        let braces = self.rest.next_if_eq(&'{').is_some();
        let part_of_name =
            |c: &char| c.is_ascii_alphanumeric() || *c == '_' || (braces && *c != '}' && *c != '\n');
        let name: String = std::iter::from_fn(|| self.rest.next_if(part_of_name)).collect();
        if braces {
            self.rest.next_if_eq(&'}');
        }
        if name.is_empty() {
            return text.push('$');
        }
        if !text.is_empty() {
            word.push(Part::Text(std::mem::take(text)));
        }
        word.push(Part::Variable { name, quoted });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(text: &str) -> Vec<Vec<String>> {
        let mut all = Vec::new();
        run(text, &mut |words| all.push(words.to_vec()));
        all
    }

    #[test]
    fn words_as_grub_reads_them() {
        for (text, want) in [
            (r#"a "b c" 'd "e"' f\ g"#, &["a", "b c", "d \"e\"", "f g"][..]),
            (r#"k="x y"'z'"#, &["k=x yz"]),
            (r#""\$a \"b\" \n""#, &[r#"$a "b" \n"#]),
            ("a \\\n b", &["a", "b"]),
            ("a\\\nb", &["ab"]),
            ("a b#c # d", &["a", "b#c"]),
            ("a \"\" ''", &["a"]),
            ("then a", &["a"]),
        ] {
            assert_eq!(commands(text), [want], "{text:?}");
        }
    }

    #[test]
    fn commands_end_where_grub_ends_them() {
        let text = "menuentry \"x\" { linux /k quiet; initrd /i ; }\n# comment\nif true; then echo a; fi";
        let want: Vec<Vec<&str>> = vec![
            vec!["menuentry", "x"],
            vec!["{"],
            vec!["linux", "/k", "quiet"],
            vec!["initrd", "/i"],
            vec!["}"],
            vec!["if", "true"],
            vec!["echo", "a"],
            vec!["fi"],
        ];
        assert_eq!(commands(text), want);
    }

    #[test]
    fn variables() {
        let said = |text: &str| commands(text).concat().join("|");
        assert_eq!(said("set p='a  b'\nx $p \"$p\" ${p}c"), "x|a|b|a  b|a|bc");
        assert_eq!(said("set linux=linuxefi\n$linux /k"), "linuxefi|/k");
        assert_eq!(said("x $unset y${unset}z"), "x|${unset}|y${unset}z");
        assert_eq!(said("set e=\nx $e y"), "x|y");
        // A bomb stays small.
        let bomb = format!("set a=xxxxxxxxxxxxxxxx\n{}y $a", "set a=\"$a$a$a$a\"\n".repeat(40));
        assert!(said(&bomb).len() <= 2 * MAX_TEXT);
    }
}
