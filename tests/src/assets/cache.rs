// SPDX-License-Identifier: GPL-3.0-or-later
//! Things that take long to make, kept by what they were made of.

use crate::lab_dir;
use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use std::{
    fs::{self, File},
    hash::{DefaultHasher, Hasher},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// How long a thing that nothing asks for any more is kept.
const KEEP: Duration = Duration::from_secs(3 * 3600);

/// A key from the content of files and from texts.
pub fn key_of<P: AsRef<Path>>(files: &[P], texts: &[&str]) -> Result<String> {
    let mut hash = DefaultHasher::new();
    for path in files {
        let path = path.as_ref();
        hash.write(&fs::read(path).with_context(|| format!("reading {}", path.display()))?);
        hash.write_u8(0);
    }
    for text in texts {
        hash.write(text.as_bytes());
        hash.write_u8(0);
    }
    Ok(format!("{:016x}", hash.finish()))
}

/// The folder `NAME-KEY` in the cache, made by `make` if it is not there. Of
/// several processes that ask at the same time one makes it, and an
/// interrupted `make` leaves nothing that would be taken for the whole.
pub fn cached(name: &str, key: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let cache = lab_dir().join("cache");
    fs::create_dir_all(&cache).with_context(|| format!("creating {}", cache.display()))?;
    let lock = cache.join(format!("{name}.lock"));
    let lock = File::create(&lock).with_context(|| format!("opening {}", lock.display()))?;
    let _lock =
        Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, e)| e).context("locking the cache")?;

    let path = cache.join(format!("{name}-{key}"));
    if !path.is_dir() {
        let partial = cache.join(format!("{name}.partial"));
        remove(&partial)?;
        fs::create_dir(&partial).with_context(|| format!("creating {}", partial.display()))?;
        eprintln!("making {name}");
        make(&partial).with_context(|| format!("making {name}"))?;
        fs::rename(&partial, &path).with_context(|| format!("renaming to {}", path.display()))?;
    }
    // The time stamp says when it was wanted last.
    File::open(&path)?.set_modified(SystemTime::now()).context("touching the cache")?;
    forget_others(&cache, name, &path)?;
    Ok(path)
}

fn forget_others(cache: &Path, name: &str, wanted: &Path) -> Result<()> {
    for entry in fs::read_dir(cache)? {
        let entry = entry?;
        let file_name = entry.file_name();
        let ours = file_name.to_str().and_then(|n| n.strip_prefix(name)).is_some_and(|rest| {
            rest.len() == 17 && rest.starts_with('-') && rest[1..].bytes().all(|b| b.is_ascii_hexdigit())
        });
        let old = entry.metadata()?.modified()?.elapsed().is_ok_and(|age| age > KEEP);
        if ours && old && entry.path() != wanted {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}
