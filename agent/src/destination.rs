// SPDX-License-Identifier: GPL-3.0-or-later
//! Where `fetch --to` puts the image: into the file that was named, or into a
//! folder under the torrent's own name. That name comes from the network.

use anyhow::{bail, ensure};
use std::path::{Path, PathBuf};

/// Bytes of a name at most: filesystems take 255, and `.part` is added meanwhile.
const MAX_NAME: usize = 200;

/// The file to write. `name`: what the torrent calls it.
pub fn file(to: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let folder = to.as_os_str().as_encoded_bytes().ends_with(b"/");
    if folder && !to.is_dir() {
        bail!("there is no folder {}: create it first, or omit the trailing /", to.display());
    }
    let file = if to.is_dir() { to.join(file_name(name)) } else { to.to_owned() };
    ensure!(!file.is_dir(), "{} is a folder: name a file in it with --to", file.display());
    Ok(file)
}

/// A torrent's name as one harmless path component: letters, digits and a few
/// signs, no leading dot or dash, not too long.
fn file_name(name: &str) -> String {
    let harmless = |c: char| if c.is_alphanumeric() || "._-+ ".contains(c) { c } else { '_' };
    let clean: String = name.chars().map(harmless).collect();
    let clean = clean.trim_start_matches(['.', '-', ' ']);
    let end = (0..=MAX_NAME.min(clean.len())).rev().find(|i| clean.is_char_boundary(*i)).unwrap_or(0);
    match clean[..end].trim_end() {
        "" => "image".into(),
        name => name.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_the_network_stay_in_the_folder() {
        for (name, file) in [
            ("debian-13.squashfs", "debian-13.squashfs"),
            ("Größe 1+2", "Größe 1+2"),
            ("../../etc/passwd", "_.._etc_passwd"),
            ("/etc/passwd", "_etc_passwd"),
            ("..", "image"),
            (".profile", "profile"),
            ("-rf", "rf"),
            ("a\0b\nc\u{202e}d", "a_b_c_d"),
            ("", "image"),
        ] {
            assert_eq!(file_name(name), file, "{name:?}");
        }
        let long = file_name(&"ä".repeat(500));
        assert_eq!(long.len(), MAX_NAME);
    }

    #[test]
    fn a_file_a_folder_or_a_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let at = |s: &str| PathBuf::from(format!("{}{s}", dir.path().display()));
        std::fs::create_dir(at("/lab")).unwrap();
        assert_eq!(file(&at("/x.img"), "lab").unwrap(), at("/x.img"));
        assert_eq!(file(&at(""), "other").unwrap(), at("/other"));
        assert_eq!(file(&at("/lab/"), "lab").unwrap(), at("/lab/lab"));
        let no_folder = file(&at("/no/"), "lab").unwrap_err().to_string();
        assert!(no_folder.ends_with("/no/: create it first, or omit the trailing /"), "{no_folder}");
        let taken = file(dir.path(), "lab").unwrap_err().to_string();
        assert!(taken.ends_with("/lab is a folder: name a file in it with --to"), "{taken}");
    }
}
