// SPDX-License-Identifier: GPL-3.0-or-later
//! docs/tried.md: which inputs of other people's programs are tried, from the tests that try them.
//!
//! A test says so above its `#[test]`, in lines that go on until the attribute:
//!
//! ```text
//! // Tried: INPUT | PROGRAM VERSION
//! // Tried: INPUT | PROGRAM VERSION | on machines
//! ```

use crate::workspace;
use anyhow::{Context, Result};
use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

const PLACES: [&str; 3] = ["tests/tests", "server/tests", "server/src"];

const HEAD: &str = "# What others make, and was tried

Inputs that tests make with other people's programs. \"On machines\" means that virtual machines booted
it; otherwise `image add`, `setup` or `fetch` was run on it. Tests marked \"full\" are run by
`make test-full`, the others with every change. Versions are those of Debian 12 unless another is
named. Real hardware has not been tried.

This page is made from the tests (`// Tried:` above a test; `UPDATE_GOLDEN=1 cargo test -p
boottorrent-tests --lib tried`).

| input | made by | tested by |
|---|---|---|
";

const TAIL: &str = "
Not tried yet: disk images made by grml-debootstrap, unified kernel images of Fedora and Arch.
";

/// The page.
///
/// # Errors
/// Sources cannot be read, or what a test says of itself has no such form.
pub fn page() -> Result<String> {
    let mut page = HEAD.to_owned();
    for place in PLACES {
        for file in sources(&workspace().join(place))? {
            let text = fs::read_to_string(&file)?;
            let name = file.strip_prefix(workspace())?.display().to_string();
            for row in rows(&text, &name)? {
                writeln!(page, "{row}")?;
            }
        }
    }
    Ok(page + TAIL)
}

fn sources(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut all: Vec<PathBuf> = fs::read_dir(dir)?.map(|e| Ok(e?.path())).collect::<Result<_>>()?;
    all.sort();
    for path in all {
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    Ok(found)
}

fn rows(text: &str, file: &str) -> Result<Vec<String>> {
    let mut rows = Vec::new();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    for (n, line) in lines.iter().enumerate() {
        let Some(first) = line.strip_prefix("// Tried: ") else { continue };
        let more = lines[n + 1..]
            .iter()
            .map_while(|l| l.strip_prefix("// "))
            .take_while(|l| !l.starts_with("Tried: "));
        let said = more.fold(first.to_owned(), |said, l| said + " " + l);
        let test: Vec<&str> = lines[n..].iter().take(20).copied().collect();
        let function = test.iter().find_map(|l| l.strip_prefix("fn ")?.split_once('(')).map(|(f, _)| f);
        let function = function.with_context(|| format!("{file}: no test below: {said}"))?;
        let full = test.iter().take_while(|l| !l.starts_with("fn ")).any(|l| l.starts_with("#[ignore"));
        let (input, by) = said.split_once(" | ").with_context(|| format!("{file}: made by whom? {said}"))?;
        let (by, machines) = by.split_once(" | ").unwrap_or((by, ""));
        let more = [machines, if full { "full" } else { "" }]
            .map(|m| if m.is_empty() { String::new() } else { format!(", {m}") });
        rows.push(format!("| {input} | {by} | `{file}`: {function}{} |", more.concat()));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_tried_is_what_tests_try() {
        let (path, page) = (workspace().join("docs/tried.md"), page().unwrap());
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &page).unwrap();
        }
        assert!(page.lines().count() > 30, "{page}");
        assert!(
            fs::read_to_string(path).unwrap() == page,
            "docs/tried.md is not what the tests say: run with UPDATE_GOLDEN=1"
        );
    }

    #[test]
    fn a_row_is_what_stands_above_a_test() {
        let text = "// Tried: an input,\n// of two lines | tool 1.0 | on machines\n#[test]\n#[ignore = \"long\"]\nfn it_boots() {\n";
        let row = "| an input, of two lines | tool 1.0 | `a.rs`: it_boots, on machines, full |";
        assert_eq!(rows(text, "a.rs").unwrap(), [row]);
        assert!(rows("// Tried: an input\n#[test]\nfn it() {", "a.rs").is_err());
        assert!(rows("// Tried: an input | tool\n", "a.rs").is_err());
    }
}
