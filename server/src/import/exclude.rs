// SPDX-License-Identifier: GPL-3.0-or-later
//! What is left out when a root directory or a root tarball is packed: what `--exclude` names, and what no machine wants of
//! another one's past.

use super::tree::{Folder, Tree};
use anyhow::Result;
use bootspec::units::human_size;
use std::{fmt, fs, path::Path, str::FromStr};

/// What is always left out: the contents of mount points, temporary files, and apt's caches.
const ALWAYS: [&str; 7] =
    ["proc/*", "sys/*", "run/*", "tmp/*", "var/tmp/*", "var/cache/apt/archives/*.deb", "var/cache/apt/*.bin"];
/// Of these, what takes space.
const CACHES: &str = "var/cache/apt/";

/// A path in the root, without the leading slash, in which `*` stands for any characters of a name (but for the dot that a
/// hidden name begins with, as in a shell). What is below it is meant as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exclude(String);

impl FromStr for Exclude {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = text.trim_matches('/');
        let strange = |c: char| c.is_control() || r"?[]()\".contains(c);
        let bad = |why: &str| Err(format!("'{}' is not a valid path to exclude: {why}", text.escape_debug()));
        match () {
            () if path.is_empty() => bad("nothing would be left"),
            () if path.split('/').any(|name| matches!(name, "" | "." | "..")) => {
                bad("write it from the root of the image, as in var/cache/apt")
            }
            () if path.contains(strange) => bad("* is the only wildcard"),
            () => Ok(Exclude(path.to_owned())),
        }
    }
}

impl fmt::Display for Exclude {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Exclude {
    /// A file of the root, in whose path there is no `*`.
    pub fn file(path: String) -> Exclude {
        Exclude(path)
    }

    /// As mksquashfs and sqfstar read it with `-regex`: an extended regular expression (regex(7)) for each name of the path.
    pub fn for_squashfs(&self) -> String {
        let names: Vec<String> =
            self.0.split('/').map(|name| format!("^{}$", expression(name, "[^.]", "."))).collect();
        names.join("/")
    }

    /// As mkfs.erofs reads it with `--exclude-regex`: one for the whole path.
    pub fn for_erofs(&self) -> String {
        let names: Vec<String> = self.0.split('/').map(|name| expression(name, "[^/.]", "[^/]")).collect();
        format!("^{}$", names.join("/"))
    }

    /// What in a tree it means.
    fn matches(&self, tree: &dyn Tree) -> Result<Vec<String>> {
        let mut found = vec![String::new()];
        for part in self.0.split('/') {
            let mut next = Vec::new();
            for folder in found {
                let names = tree.names(&folder)?.into_iter();
                let seen = |name: &String| part.starts_with('.') || !name.starts_with('.');
                let fits = |name: &String| seen(name) && crate::sources::glob::fits(part, name);
                let path = |name: String| match folder.is_empty() {
                    true => name,
                    false => format!("{folder}/{name}"),
                };
                next.extend(names.filter(fits).map(path));
            }
            found = next;
        }
        Ok(found)
    }
}

/// A name with wildcards as an extended regular expression. `first`, `any`: one character of a name at its beginning, and
/// elsewhere.
fn expression(name: &str, first: &str, any: &str) -> String {
    let mut regex = String::new();
    for (n, c) in name.chars().enumerate() {
        match c {
            '*' if n == 0 => regex += &format!("({first}{any}*)?"),
            '*' => regex += &format!("{any}*"),
            c if c.is_ascii_alphanumeric() || "_-".contains(c) || !c.is_ascii() => regex.push(c),
            c => regex.extend(['\\', c]),
        }
    }
    regex
}

fn always() -> impl Iterator<Item = Exclude> {
    ALWAYS.iter().map(|path| Exclude((*path).to_owned()))
}

/// What is given, and what is always left out.
pub fn all(given: &[Exclude]) -> Vec<Exclude> {
    given.iter().cloned().chain(always()).collect()
}

/// Notes on what was given and means nothing, and on caches that are left out.
pub fn notes(root: &Path, given: &[Exclude]) -> Result<Vec<String>> {
    let tree = Folder(root.to_owned());
    let mut notes = Vec::new();
    for exclude in given {
        if exclude.matches(&tree)?.is_empty() {
            notes.push(format!("--exclude '{exclude}' matches nothing"));
        }
    }
    let mut bytes = 0;
    for exclude in always().filter(|e| e.0.starts_with(CACHES)) {
        let size = |path: &String| fs::symlink_metadata(root.join(path)).map_or(0, |m| m.len());
        bytes += exclude.matches(&tree)?.iter().map(size).sum::<u64>();
    }
    if bytes > 0 {
        notes.push(format!("apt's caches ({}) are left out of the payload", human_size(bytes)));
    }
    Ok(notes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Exclude, String> {
        text.parse()
    }

    #[test]
    fn paths_and_patterns() {
        assert_eq!(parsed("/var/cache/apt/").unwrap().0, "var/cache/apt");
        for (text, why) in [
            ("/", "nothing would be left"),
            ("../etc", "write it from the root of the image, as in var/cache/apt"),
            ("a//b", "write it from the root of the image, as in var/cache/apt"),
            ("a[1-9]", "* is the only wildcard"),
        ] {
            assert_eq!(parsed(text).unwrap_err(), format!("'{text}' is not a valid path to exclude: {why}"));
        }
        let exclude = parsed("home/*/.c*.x+").unwrap();
        assert_eq!(exclude.for_erofs(), r"^home/([^/.][^/]*)?/\.c[^/]*\.x\+$");
        assert_eq!(exclude.for_squashfs(), r"^home$/^([^.].*)?$/^\.c.*\.x\+$");
    }

    #[test]
    fn what_means_nothing_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let apt = dir.path().join("var/cache/apt/archives");
        fs::create_dir_all(&apt).unwrap();
        fs::write(apt.join("a.deb"), [0; 1000]).unwrap();
        let given = ["var/c*", "home/.cache"].map(|e| parsed(e).unwrap());
        assert_eq!(
            notes(dir.path(), &given).unwrap(),
            ["--exclude 'home/.cache' matches nothing", "apt's caches (1000 B) are left out of the payload"]
        );
    }
}
