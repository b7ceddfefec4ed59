// SPDX-License-Identifier: GPL-3.0-or-later
//! A folder of this server, to find the file in it that becomes an image.

use super::model::PickItem;
use anyhow::{Context, Result, bail};
use bootspec::units::human_size;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The item that stands for the folder itself, and the one for the folder above.
pub const HERE: &str = "./";
/// See [`HERE`].
pub const ABOVE: &str = "../";
/// Rows of one folder, at most.
const MOST: usize = 10_000;

/// What there is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A folder, whole, and what is in it: folders first, their names with a `/` at the end.
    Folder(PathBuf, Vec<PickItem>),
    /// A file.
    File(PathBuf),
}

/// Look. An empty path is the folder that we are in.
pub fn look(path: &Path) -> Result<Found> {
    let asked = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let whole = asked.canonicalize().with_context(|| format!("looking for {}", asked.display()))?;
    if whole.is_file() {
        return Ok(Found::File(whole));
    }
    if !whole.is_dir() {
        bail!(
            "{} is neither a file nor a folder: choose an image, a tarball or a root folder",
            whole.display()
        );
    }
    let (mut folders, mut files) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(&whole).with_context(|| format!("reading {}", whole.display()))?.take(MOST) {
        let entry = entry.with_context(|| format!("reading {}", whole.display()))?;
        // A name that is no UTF-8 cannot be shown, and so not be chosen.
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') {
            continue;
        }
        // Links count as what they lead to; those that lead nowhere are nothing.
        match fs::metadata(entry.path()) {
            Ok(meta) if meta.is_dir() => {
                folders.push(PickItem { key: format!("{name}/"), note: String::new() })
            }
            Ok(meta) if meta.is_file() => files.push(PickItem { key: name, note: human_size(meta.len()) }),
            _ => {}
        }
    }
    folders.sort_by(|a, b| a.key.cmp(&b.key));
    files.sort_by(|a, b| a.key.cmp(&b.key));
    let mut all = Vec::new();
    if is_root(&whole) {
        all.push(PickItem { key: HERE.into(), note: "this folder: a root filesystem".into() });
    }
    if whole.parent().is_some() {
        all.push(PickItem { key: ABOVE.into(), note: String::new() });
    }
    all.extend(folders);
    all.extend(files);
    Ok(Found::Folder(whole, all))
}

/// Whether a folder looks like the root of a system.
fn is_root(folder: &Path) -> bool {
    ["usr", "etc"].iter().all(|name| folder.join(name).is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_first_and_roots_are_offered() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().canonicalize().unwrap();
        for folder in ["root/usr", "root/etc", "b", ".hidden"] {
            fs::create_dir_all(at.join(folder)).unwrap();
        }
        fs::write(at.join("a.iso"), [0; 2048]).unwrap();
        std::os::unix::fs::symlink("nowhere", at.join("dangling")).unwrap();
        let keys = |path: &Path| match look(path).unwrap() {
            Found::Folder(_, items) => items.into_iter().map(|i| i.key).collect::<Vec<_>>(),
            Found::File(path) => panic!("{path:?} is a file"),
        };
        assert_eq!(keys(&at), ["../", "b/", "root/", "a.iso"]);
        assert_eq!(keys(&at.join("root")), ["./", "../", "etc/", "usr/"]);
        assert_eq!(look(&at.join("a.iso")).unwrap(), Found::File(at.join("a.iso")));
        let why = format!("{:#}", look(&at.join("none")).unwrap_err());
        assert!(why.contains("none"), "{why}");
        assert!(look(Path::new("/dev/null")).is_err());
    }
}
