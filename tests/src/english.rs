// SPDX-License-Identifier: GPL-3.0-or-later
//! Habits of other languages that went out of strings and docs, and must not come back (CONTRIBUTING.md, "English").

#[cfg(test)]
mod tests {
    use crate::{Cmd, workspace};
    use std::fs;

    /// What is written so, and what to write.
    const HABITS: [(&str, &str); 7] = [
        ("leave away", "omit"),
        ("left away", "omitted"),
        ("gone on with", "resumed"),
        ("mend it", "fix it"),
        ("is to be had", "is available"),
        ("begun pieces", "partial pieces"),
        ("one of both", "either"),
    ];
    /// What may follow "is no".
    const FOLLOW: [&str; 10] =
        ["longer", "more", "matter", "accident", "reason", "such", "one", "need", "bitfield,", "sign"];

    /// "'soon' is no time", but for "there is no".
    fn is_no(line: &str) -> bool {
        line.match_indices(" is no ").any(|(at, found)| {
            let next = line[at + found.len()..].split(' ').next().unwrap_or_default();
            !line[..at].to_lowercase().ends_with("there") && !FOLLOW.contains(&next)
        })
    }

    /// In Rust, what stands between quotes as far as a line tells; in docs, all.
    fn read(file: &str, line: &str) -> bool {
        file.ends_with(".md") || (line.contains('"') && !line.trim_start().starts_with("//"))
    }

    #[test]
    fn strings_and_docs_are_plain_english() {
        let list =
            Cmd::new("git").args(["-C", &workspace().display().to_string(), "ls-files", "*.rs", "*.md"]);
        let mut found = Vec::new();
        for file in list.run().unwrap().lines().filter(|f| !f.ends_with("english.rs")) {
            let Ok(text) = fs::read_to_string(workspace().join(file)) else { continue };
            for (n, line) in text.lines().enumerate().filter(|(_, l)| read(file, l)) {
                let habit = HABITS.iter().find(|(habit, _)| line.contains(habit));
                let cure = habit.map(|h| h.1).or_else(|| is_no(line).then_some("is not a (valid) …"));
                found.extend(cure.map(|cure| format!("{file}:{}: write \"{cure}\": {}", n + 1, line.trim())));
            }
        }
        assert!(found.is_empty(), "{}", found.join("\n"));
    }

    /// Pages that are made by a program, and what they are made of.
    const MADE: [&str; 6] =
        ["kernel-parameters.md", "api.md", "tried.md", "reliability.md", "benchmarks.md", "method.md"];

    #[test]
    fn prose_is_wrapped_at_100_columns() {
        let list = Cmd::new("git").args(["-C", &workspace().display().to_string(), "ls-files", "*.md"]);
        let mut long = Vec::new();
        for file in list.run().unwrap().lines().filter(|f| !MADE.iter().any(|made| f.ends_with(made))) {
            let Ok(text) = fs::read_to_string(workspace().join(file)) else { continue };
            let mut code = false;
            for (n, line) in text.lines().enumerate() {
                code ^= line.trim_start().starts_with("```");
                // Tables, code, and words that have no space where they could end.
                let prose = !code && !line.starts_with(['|', '!']) && !line.starts_with("    ");
                if prose && line.chars().count() > 100 && line.trim_start().matches(' ').count() > 3 {
                    long.push(format!("{file}:{}", n + 1));
                }
            }
        }
        assert!(long.is_empty(), "more than 100 columns: {}", long.join(" "));
    }

    #[test]
    fn what_is_found() {
        assert!(is_no("'soon' is no time") && is_no("There is no key. It is no key."));
        assert!(!is_no("there is no time") && !is_no("it is no longer here"));
    }
}
