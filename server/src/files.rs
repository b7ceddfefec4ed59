// SPDX-License-Identifier: GPL-3.0-or-later
//! Small files of the server and its admin: read up to a limit, and replaced as a whole.

use crate::catalogue::inherit_owner;
use anyhow::{Context, Result, bail};
use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, Permissions},
    io::{ErrorKind, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

/// A file's content. Errors: it is not there, it cannot be read, or it has more than `max` bytes: then it is
/// no `what`.
pub fn read(path: &Path, max: usize, what: &str) -> Result<Vec<u8>> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    up_to(file, path, max, what)
}

/// The same; `None` if it is not there.
pub fn find(path: &Path, max: usize, what: &str) -> Result<Option<Vec<u8>>> {
    match File::open(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        file => {
            up_to(file.with_context(|| format!("opening {}", path.display()))?, path, max, what).map(Some)
        }
    }
}

/// What [`find`] gives, as text.
pub fn find_text(path: &Path, max: usize, what: &str) -> Result<Option<String>> {
    let text = find(path, max, what)?.map(String::from_utf8).transpose();
    text.with_context(|| format!("{} is no text", path.display()))
}

fn up_to(file: File, path: &Path, max: usize, what: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(max as u64 + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("reading {}", path.display()))?;
    if bytes.len() > max {
        bail!("{} has more than {max} bytes: it is no {what}", path.display());
    }
    Ok(bytes)
}

/// Write a file that only its one writer replaces: readers see the old one or the new one, and so does who comes
/// after a power cut. It gets the folder's owner. Call with a lock where there may be two writers.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    let new = folder.join(name);
    let write = || -> std::io::Result<()> {
        // Nobody else reads a secret, not even for a moment, and not one that a killed run left.
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        inherit_owner(&new)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        File::open(folder)?.sync_all()
    };
    write()
        .inspect_err(|_| drop(fs::remove_file(&new)))
        .with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_or_one_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        assert_eq!(find(&path, 3, "list").unwrap(), None);
        assert_eq!(read(&path, 3, "list").unwrap_err().to_string(), format!("opening {}", path.display()));
        fs::write(dir.path().join(".a.new"), "left by a killed run").unwrap();
        replace(&path, b"abc", 0o600).unwrap();
        assert_eq!(read(&path, 3, "list").unwrap(), b"abc");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        replace(&path, b"abcd", 0o644).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        for why in [read(&path, 3, "list").unwrap_err(), find(&path, 3, "list").unwrap_err()] {
            let sentence = format!("{} has more than 3 bytes: it is no list", path.display());
            assert_eq!(why.to_string(), sentence);
        }
        fs::write(&path, [0xff]).unwrap();
        assert_eq!(
            find_text(&path, 3, "list").unwrap_err().to_string(),
            format!("{} is no text", path.display())
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }
}
