// SPDX-License-Identifier: GPL-3.0-or-later
//! Files as the agent reads and makes them: bounded, sized, and with their names on the disk.

use anyhow::Context;
use nix::fcntl::OFlag;
use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Files of keys, or certificates, that are read at most.
const MAX_FILES: usize = 100;

/// The first files in a folder whose names end so, by name.
pub fn files(dir: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
    let all = fs::read_dir(dir)?.flatten().map(|e| e.path());
    let mut files: Vec<_> = all.filter(|p| p.extension().is_some_and(|e| e == extension)).collect();
    files.sort();
    files.truncate(MAX_FILES);
    Ok(files)
}

/// A file of at most `max` bytes, and one more of a larger one; `None` if there is none.
pub fn small(path: &Path, max: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        file => file?.take(max as u64 + 1).read_to_end(&mut bytes).map(|_| Some(bytes)),
    }
}

/// A new file, sparse, of that size.
pub fn create(path: &Path, size: u64) -> anyhow::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|f| f.set_len(size).map(|()| f))
        .with_context(|| format!("creating {}", path.display()))
}

/// A file of that size, with what is in it already; a new one is sparse. Links are not followed.
pub fn open_sized(path: &Path, size: u64) -> anyhow::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(path)
        .and_then(|file| file.set_len(size).map(|()| file))
        .with_context(|| format!("creating {}", path.display()))
}

/// A file's name is on the disk as well. Not every filesystem can do that: then it comes later.
pub fn sync_folder(file: &Path) {
    let folder = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let _ = File::open(folder).and_then(|d| d.sync_all());
}
