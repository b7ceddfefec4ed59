// SPDX-License-Identifier: GPL-3.0-or-later
//! Small files of the server and its admin: read up to a limit, and replaced as a whole. Root does this work as the
//! owner of the folder ([`crate::owner`]), so what that owner has put in its way leads nowhere.

use crate::owner::{self, Acting};
use anyhow::{Context, Result, bail};
use nix::fcntl::OFlag;
use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{ErrorKind, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::Path,
};

/// A file's content. Errors: it is not there, it cannot be read, or it has more than `max` bytes: then it is
/// no `what`.
pub fn read(path: &Path, max: usize, what: &str) -> Result<Vec<u8>> {
    let _acting = acting(path)?;
    up_to(open(path).with_context(|| opening(path))?, path, max, what)
}

/// The content of a file that the admin named, wherever it is: read with all that this process may.
pub fn read_named(path: &Path, max: usize, what: &str) -> Result<Vec<u8>> {
    let _root = owner::act_as_root();
    up_to(File::open(path).with_context(|| opening(path))?, path, max, what)
}

/// What [`read`] gives; `None` if it is not there.
pub fn find(path: &Path, max: usize, what: &str) -> Result<Option<Vec<u8>>> {
    let _acting = acting(path)?;
    match open(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        file => up_to(file.with_context(|| opening(path))?, path, max, what).map(Some),
    }
}

/// What [`find`] gives, as text.
pub fn find_text(path: &Path, max: usize, what: &str) -> Result<Option<String>> {
    let text = find(path, max, what)?.map(String::from_utf8).transpose();
    text.with_context(|| format!("{} is not text", path.display()))
}

/// Open a regular file in a folder that may be another's.
pub fn open_in_folder(path: &Path) -> Result<File> {
    let _acting = acting(path)?;
    open(path).with_context(|| opening(path))
}

fn opening(path: &Path) -> String {
    format!("opening {}", path.display())
}

/// A pipe that nobody writes to must not hold us up.
fn open(path: &Path) -> std::io::Result<File> {
    let flags = (OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(std::io::Error::new(ErrorKind::InvalidInput, "it is not a regular file")),
    }
}

fn up_to(file: File, path: &Path, max: usize, what: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(max as u64 + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("reading {}", path.display()))?;
    if bytes.len() > max {
        bail!("{} has more than {max} bytes: it is not a {what}", path.display());
    }
    Ok(bytes)
}

/// How a file is put in its place.
pub struct Put<'a> {
    /// Its permissions.
    pub mode: u32,
    /// The folder in which it is written before it is renamed; that of the file if not given.
    pub beside: Option<&'a Path>,
    /// Whether a file that is there is replaced; an error otherwise.
    pub replace: bool,
    /// Whose it is.
    pub whose: Whose<'a>,
}

/// Who owns a file that is put in its place.
#[derive(Clone, Copy, Debug)]
pub enum Whose<'a> {
    /// The owner of its folder, who also writes it.
    Folders,
    /// Whoever runs this.
    Ours,
    /// The owner of this other folder.
    LikeThat(&'a Path),
}

/// Write a file that only its one writer replaces: readers see the old one or the new one, and so does who comes
/// after a power cut. It gets the folder's owner. Call with a lock where there may be two writers.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    put(path, bytes, &Put { mode, beside: None, replace: true, whose: Whose::Folders })
}

/// What [`replace`] does, in other ways. The one place in which files are made beside others and renamed.
pub fn put(path: &Path, bytes: &[u8], how: &Put) -> Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        let _acting = match how.whose {
            Whose::Folders => Some(owner::act_for(folder)?),
            Whose::Ours | Whose::LikeThat(_) => None,
        };
        // A new file under a name that nobody can foresee, and 0600: nobody else reads a secret, not even for a
        // moment.
        let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(how.beside.unwrap_or(folder))?;
        file.write_all(bytes)?;
        if let Whose::LikeThat(other) = how.whose {
            let of = other.metadata()?;
            fchown(file.as_file(), Some(of.uid()), Some(of.gid()))?;
        }
        file.as_file().set_permissions(Permissions::from_mode(how.mode))?;
        file.as_file().sync_all()?;
        match how.replace {
            true => file.persist(path)?,
            false => file.persist_noclobber(path)?,
        };
        File::open(folder)?.sync_all()
    };
    write().with_context(|| format!("writing {}", path.display()))
}

/// What [`replace`] does with a text that everybody may read, in a folder that is made where it is not there.
pub fn replace_text(path: &Path, text: &str) -> Result<()> {
    make_dirs(path.parent().unwrap_or(Path::new("/")))?;
    replace(path, text.as_bytes(), 0o644)
}

/// Open a lock's file, which is made if it is not there.
pub fn lock_file(path: &Path) -> Result<File> {
    let _acting = acting(path)?;
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
        .open(path)
        .with_context(|| opening(path))
}

/// Make a folder and those above it, readable for the daemon whatever the umask.
pub fn make_dirs(dir: &Path) -> Result<()> {
    let _acting = acting(dir)?;
    let missing: Vec<_> = dir.ancestors().take_while(|a| !a.as_os_str().is_empty() && !a.exists()).collect();
    for dir in missing.into_iter().rev() {
        match DirBuilder::new().mode(0o755).create(dir) {
            // Another run was faster.
            Err(e) if e.kind() == ErrorKind::AlreadyExists => continue,
            made => made.with_context(|| format!("creating {}", dir.display()))?,
        }
        fs::set_permissions(dir, Permissions::from_mode(0o755))
            .with_context(|| format!("chmod {}", dir.display()))?;
    }
    Ok(())
}

/// Let nobody but its owner into a folder.
pub fn make_private(dir: &Path) -> Result<()> {
    let _acting = acting(dir)?;
    fs::set_permissions(dir, Permissions::from_mode(0o700))
        .with_context(|| format!("chmod {}", dir.display()))
}

/// Delete a file in a folder that may be another's.
pub fn remove(path: &Path) -> std::io::Result<()> {
    let _acting = owner::act_for(path)?;
    fs::remove_file(path)
}

/// Work on files as whoever owns the folder of `path`.
pub fn acting(path: &Path) -> Result<Acting> {
    owner::act_for(path).with_context(|| format!("asking whose {} is", path.display()))
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
        replace(&path, b"abc", 0o600).unwrap();
        assert_eq!(read(&path, 3, "list").unwrap(), b"abc");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        replace(&path, b"abcd", 0o644).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        for why in [read(&path, 3, "list").unwrap_err(), find(&path, 3, "list").unwrap_err()] {
            let sentence = format!("{} has more than 3 bytes: it is not a list", path.display());
            assert_eq!(why.to_string(), sentence);
        }
        fs::write(&path, [0xff]).unwrap();
        assert_eq!(
            find_text(&path, 3, "list").unwrap_err().to_string(),
            format!("{} is not text", path.display())
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }
}
