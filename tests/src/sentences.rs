// SPDX-License-Identifier: GPL-3.0-or-later
//! Whether the sentences that docs/troubleshooting.md explains are still what the programs say.

#[cfg(test)]
mod tests {
    use crate::{Cmd, workspace};
    use std::fs;

    /// Parts of sentences that the code puts together: the part, and of what.
    const COMPOSED: [(&str, &str); 19] = [
        ("put the certificate of its authority into /etc/boottorrent/ca", "a constant for the folder"),
        ("s own into /etc/boottorrent/ca", "a constant for the folder"),
        ("only what key", "one key or several"),
        ("and only what key", "one key or several"),
        ("are not signed by key", "one key or several"),
        ("not by key", "one key or several"),
        ("carries a filesystem", "what is found"),
        ("powering off failed", "the deed"),
        ("see /run/boottorrent/agent", "a constant for the folder"),
        ("it has none of /sbin/init", "the list of programs"),
        ("that needs a backing file", "what is missing"),
        ("the program bsdtar is not installed", "the program"),
        ("run apt install libarchive-tools", "its package"),
        ("is a cpio archive", "what a file is"),
        ("is a squashfs compressed with lzma", "file system and compressor"),
        ("fetch/root is not ours alone", "the folder"),
        ("starts on machines with a", "the firmware"),
        ("has no-dhcp-interface", "the setting"),
        ("a heartbeat has at most", "what was sent"),
    ];
    /// What the system says.
    const OF_THE_SYSTEM: [&str; 2] = ["Permission denied", "Not Found"];

    /// The code as one line, without what only its language needs.
    fn code() -> String {
        let folders = ["agent", "bootspec", "swarm", "server", "initramfs-hooks", "ltsp", "debian"];
        let list = Cmd::new("git").arg("-C").arg(workspace()).arg("ls-files").args(folders).run().unwrap();
        let mut all = String::new();
        for name in list.lines().filter(|n| !n.contains("/tests/")) {
            // Pictures and keys are no text.
            let Ok(text) = fs::read_to_string(workspace().join(name)) else { continue };
            // A string's line goes on in the next.
            for line in text.lines() {
                match line.trim_start().strip_suffix('\\') {
                    Some(begun) => all.push_str(begun),
                    None => {
                        all.push_str(line.trim());
                        all.push(' ');
                    }
                }
            }
        }
        all.replace("\\\"", "\"").replace('`', "").split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// What stands in backquotes in the first column of the tables of sentences.
    fn quoted(page: &str) -> Vec<String> {
        let (mut all, mut of_sentences) = (Vec::new(), false);
        for line in page.lines() {
            let Some(row) = line.strip_prefix('|') else {
                of_sentences = false;
                continue;
            };
            let first = row.replace("\\|", "\u{0}");
            let first = first.split('|').next().unwrap_or_default().replace('\u{0}', "|");
            match first.trim() {
                "sentence" => of_sentences = true,
                cell if of_sentences => all.extend(cell.split('`').skip(1).step_by(2).map(str::to_owned)),
                _ => {}
            }
        }
        all
    }

    /// A sentence without its values: words in capitals, numbers, and what stands between signs.
    fn parts(sentence: &str) -> Vec<String> {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let mut text = String::new();
        let mut word = String::new();
        for c in sentence.chars().chain(['\n']) {
            if is_word(c) {
                word.push(c);
                continue;
            }
            let is_value = word.starts_with(|c: char| c.is_ascii_uppercase())
                && word.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
            text += if is_value { "\n" } else { &word };
            word.clear();
            text.push(if "…'\"|(){}:;,.=".contains(c) { '\n' } else { c });
        }
        let cut = |c: char| c == '\n' || c.is_ascii_digit();
        let parts = text.split(cut).map(|p| p.trim_matches([' ', '-', '/']).to_owned());
        parts.filter(|p| p.len() >= 8 && p.contains(' ')).collect()
    }

    #[test]
    fn what_troubleshooting_quotes_is_said() {
        let page = fs::read_to_string(workspace().join("docs/troubleshooting.md")).unwrap();
        let (code, quoted) = (code(), quoted(&page));
        assert!(quoted.len() > 300, "the tables have another form: only {} sentences", quoted.len());
        let excused = |part: &str| OF_THE_SYSTEM.contains(&part) || COMPOSED.iter().any(|(p, _)| *p == part);
        let mut stale = String::new();
        for sentence in &quoted {
            let missing: Vec<String> =
                parts(sentence).into_iter().filter(|p| !excused(p) && !code.contains(p.as_str())).collect();
            if !missing.is_empty() {
                stale += &format!("{sentence}\n    is not said: {missing:?}\n");
            }
        }
        assert!(
            stale.is_empty(),
            "docs/troubleshooting.md explains sentences that no program says:\n{stale}"
        );
        for (part, _) in COMPOSED {
            assert!(quoted.iter().any(|q| parts(q).iter().any(|p| p == part)), "{part} needs no excuse");
        }
    }

    #[test]
    fn values_are_not_parts() {
        assert_eq!(
            parts("the server HOST has no image 'NAME': see the list, after 20 s"),
            ["the server", "has no image", "see the list"]
        );
    }
}
