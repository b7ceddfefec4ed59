// SPDX-License-Identifier: GPL-3.0-or-later
//! The machine's own apt sources, for another suite if need be: the only
//! place that packages are fetched from.

use super::Suite;
use anyhow::{Context, Result, ensure};
use std::{fs, path::Path};

/// Apt sources of Debian for `suite`, as text: what this machine uses, with its suite's name replaced.
pub fn sources(suite: Suite) -> Result<Vec<Source>> {
    let own = Suite::own()?;
    let mut files = vec![Path::new("/etc/apt/sources.list").to_owned()];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(entries.filter_map(|e| Some(e.ok()?.path())));
    }
    files.sort();
    let mut found = Vec::new();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        match file.extension().and_then(|e| e.to_str()) {
            Some("list") => found.extend(lists(&text, own.as_str()).map(Source::List)),
            Some("sources") => found.extend(stanzas(&text, own.as_str()).map(Source::Deb822)),
            _ => {}
        }
    }
    ensure!(!found.is_empty(), "no apt source of this machine is for {}", own.as_str());
    for source in &mut found {
        let (Source::List(text) | Source::Deb822(text)) = source;
        *text = text.replace(own.as_str(), suite.as_str());
    }
    Ok(found)
}

/// The mirror that this machine's own apt uses: `HOST` or `HOST:PORT`.
pub fn mirror_host() -> Result<String> {
    let found = sources(Suite::own()?)?;
    let texts = found.iter().map(|s| match s {
        Source::List(text) | Source::Deb822(text) => text.as_str(),
    });
    let mut lines = texts.flat_map(str::lines).filter(|l| !l.starts_with('#'));
    let host = lines.find_map(|l| l.split_once("http://")?.1.split(['/', ' ']).next());
    host.map(str::to_owned).context("none of this machine's apt sources has an http:// URL")
}

/// Where Debian's archive is, as this machine's own apt has it, for tools that take one address.
pub fn archive(suite: Suite) -> Result<String> {
    for source in sources(suite)? {
        let (Source::List(text) | Source::Deb822(text)) = source;
        // A comment may have another address, as in Debian's container images.
        let words = || text.lines().filter(|l| !l.starts_with('#')).flat_map(str::split_whitespace);
        let of_suite = words().any(|w| w == suite.as_str());
        let url = words().find(|w| w.starts_with("http://") || w.starts_with("https://"));
        if let (true, Some(url)) = (of_suite, url) {
            return Ok(url.to_owned());
        }
    }
    anyhow::bail!("no apt source of this machine has an URL for {}", suite.as_str())
}

/// One source, in one of apt's two forms.
pub enum Source {
    /// A line `deb …`.
    List(String),
    /// A paragraph `Types: deb …`.
    Deb822(String),
}

/// Write them as files that mmdebstrap takes as its mirrors.
pub fn write(sources: &[Source], dir: &Path) -> Result<Vec<std::path::PathBuf>> {
    let (mut list, mut deb822) = (String::new(), String::new());
    for source in sources {
        match source {
            Source::List(line) => list += &format!("{line}\n"),
            Source::Deb822(paragraph) => deb822 += &format!("{paragraph}\n\n"),
        }
    }
    let mut files = Vec::new();
    for (name, text) in [("debian.list", list), ("debian.sources", deb822)] {
        if !text.is_empty() {
            let file = dir.join(name);
            fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
            files.push(file);
        }
    }
    Ok(files)
}

fn lists<'a>(text: &'a str, suite: &'a str) -> impl Iterator<Item = String> + 'a {
    text.lines()
        .map(str::trim)
        .filter(move |line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.first() == Some(&"deb") && words.iter().any(|w| is(w, suite)) && words.contains(&"main")
        })
        .map(str::to_owned)
}

fn stanzas<'a>(text: &'a str, suite: &'a str) -> impl Iterator<Item = String> + 'a {
    text.split("\n\n")
        .map(str::trim)
        .filter(move |paragraph| {
            let field = |name: &str| {
                paragraph.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':')).unwrap_or("")
            };
            field("Suites").split_whitespace().any(|w| is(w, suite))
                && field("Components").split_whitespace().any(|w| w == "main")
                && field("Enabled").trim() != "no"
        })
        .map(str::to_owned)
}

/// `bookworm`, `bookworm-updates`, `bookworm-security`, `bookworm/updates`.
fn is(word: &str, suite: &str) -> bool {
    word.strip_prefix(suite).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '/']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_debians_own() {
        let text = "Types: deb\nURIs: http://a/debian\nSuites: bookworm bookworm-updates\nComponents: main\n\n\
                    Types: deb\nURIs: http://b\nSuites: nodistro\nComponents: main\n\n\
                    Types: deb\nURIs: http://c\nSuites: bookworm\nComponents: stable\n";
        let found: Vec<_> = stanzas(text, "bookworm").collect();
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("http://a/debian"));
    }

    #[test]
    fn one_line_form() {
        let text = "# deb http://x bookworm main\ndeb [signed-by=/k] http://a bookworm-security main\n\
                    deb-src http://a bookworm main\ndeb http://b cloud-bookworm main\n";
        let found: Vec<_> = lists(text, "bookworm").collect();
        assert_eq!(found, ["deb [signed-by=/k] http://a bookworm-security main"]);
    }
}
