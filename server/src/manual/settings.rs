// SPDX-License-Identifier: GPL-3.0-or-later
//! boottorrent.toml(5), from the comments in server.toml.

use super::page::{head, see_also};
use roff::{bold, roman};

/// The file that is installed: its comments are the page.
const EXAMPLE: &str = include_str!("../../server.toml");

/// The page.
pub fn settings() -> String {
    let mut roff = head("boottorrent.toml", "5", "settings of boottorrent, in /etc/boottorrent/server.toml");
    roff.control("SH", ["DESCRIPTION"]);
    roff.text([
        roman("The settings of "),
        bold("boottorrent"),
        roman("(1), in TOML. Every key is optional; an unknown key is refused. "),
        roman("Sizes are written as 512M or 100MB, rates as 50MB/s, times as 30s or 10m. "),
        roman("After a change: systemctl reload boottorrent-server."),
    ]);
    // Keys that stand together share the sentence above them.
    let (mut comment, mut fresh): (Vec<&str>, bool) = (Vec::new(), true);
    for line in EXAMPLE.lines() {
        if let Some(table) = line.strip_prefix('[') {
            roff.control("SH", [format!("[{}", table).as_str()]);
            comment.clear();
        } else if let Some(text) = line.strip_prefix("# ") {
            if !std::mem::replace(&mut fresh, true) {
                comment.clear();
            }
            comment.push(text);
        } else if let Some((name, value)) = line.trim_start_matches('#').split_once(" = ") {
            roff.control("TP", []);
            roff.text([bold(name), roman(format!(" = {value}"))]);
            for text in &comment {
                roff.text([roman(*text)]);
            }
            fresh = false;
        } else {
            // Only the head of the file has comments that belong to no key.
            comment.clear();
        }
    }
    roff.control("SH", ["FILES"]);
    roff.text([roman("/etc/boottorrent/server.toml")]);
    let pages = ["boottorrent(1)", "boottorrent-kernel(7)"].map(String::from);
    see_also(&mut roff, &pages);
    roff.render()
}

#[cfg(test)]
mod tests {
    /// The page shows every key of the file with a sentence.
    #[test]
    fn every_key_is_told() {
        let page = super::settings();
        let keys: Vec<_> =
            super::EXAMPLE.lines().filter_map(|l| l.strip_prefix('#')?.split_once(" = ")).collect();
        assert!(keys.len() > 5);
        for (key, _) in keys.iter().filter(|(k, _)| !k.starts_with(' ')) {
            let tag = format!(".TP\n\\fB{}\\fR = ", key.replace('-', "\\-"));
            let at = page.find(&tag).unwrap_or_else(|| panic!("{key} is not in the page:\n{page}"));
            let told = page[at..].lines().nth(2).unwrap_or_default();
            assert!(!told.is_empty() && !told.starts_with('.'), "{key}: {told}");
        }
    }
}
