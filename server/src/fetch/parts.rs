// SPDX-License-Identifier: GPL-3.0-or-later
//! Parts of images that are not whole yet: what they are called, who works on them, and when they go.

use super::{part::beside, plan::FetchPlan};
use crate::files;
use anyhow::{Result, anyhow};
use bootspec::ImageName;
use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// What a part is called: the image's name, and where it comes from.
pub fn key(plan: &FetchPlan) -> String {
    let from: String = plan.from.iter().map(|f| format!("{f:?}\n")).collect();
    let hash: String = Sha256::digest(from).iter().take(8).map(|b| format!("{b:02x}")).collect();
    format!("{}-{hash}", plan.name)
}

/// A fetch that goes on. Dropped, nothing is left of it but what can be gone on with.
pub struct Held {
    _lock: Flock<File>,
    path: PathBuf,
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        // Only an empty one goes.
        let _ = fs::remove_dir(self.path.with_extension(""));
    }
}

/// One at a time fetches the same.
pub fn hold(parts: &Path, key: &str, name: &ImageName) -> Result<Held> {
    clean(parts);
    let path = parts.join(format!("{key}.lock"));
    let lock = Flock::lock(files::lock_file(&path)?, FlockArg::LockExclusiveNonblock).map_err(|_| {
        anyhow!("'{name}' is being fetched from there already: see `boottorrent image fetch --list`")
    })?;
    Ok(Held { _lock: lock, path })
}

/// What was begun a month ago is of a version that is gone. Parts of torrents are in folders, whose time is that of the last
/// file in them.
fn clean(parts: &Path) {
    const OLD: Duration = Duration::from_secs(30 * 24 * 3600);
    let newest = |path: &Path| -> Option<SystemTime> {
        let own = path.symlink_metadata().and_then(|m| m.modified()).ok()?;
        let inside = fs::read_dir(path).into_iter().flatten();
        let times = inside.filter_map(|e| e.ok()?.metadata().ok()?.modified().ok());
        times.chain([own]).max()
    };
    for path in fs::read_dir(parts).into_iter().flatten().filter_map(|e| Some(e.ok()?.path())) {
        let old = newest(&path).is_some_and(|t| t.elapsed().is_ok_and(|age| age > OLD));
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let of = name.strip_suffix(".part").unwrap_or(&name);
        let key = is_key(&name);
        // One at a time fetches the same, and holds its lock.
        if !old || held(&parts.join(format!("{of}.lock"))) {
            continue;
        }
        if path.extension().is_some_and(|e| e == "part") {
            let _ = fs::remove_file(beside(&path));
            let _ = fs::remove_file(path);
        } else if key && path.is_dir() {
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// Whether a name is one that [`key`] makes.
fn is_key(name: &str) -> bool {
    name.rsplit_once('-')
        .is_some_and(|(_, sum)| sum.len() == 16 && sum.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Whether somebody holds this lock.
fn held(lock: &Path) -> bool {
    File::open(lock).is_ok_and(|file| Flock::lock(file, FlockArg::LockExclusiveNonblock).is_err())
}

/// Nothing is left of a part.
pub fn forget(parts: &Path, key: &str) {
    let part = parts.join(format!("{key}.part"));
    // What is not there need not go.
    let _ = fs::remove_file(beside(&part));
    let _ = fs::remove_file(part);
    let _ = fs::remove_dir_all(parts.join(key));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::FileTimes;

    #[test]
    fn what_is_old_goes() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let age = |path: &Path, days: u64| {
            let time = SystemTime::now() - Duration::from_secs(days * 24 * 3600);
            File::open(path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
        };
        for (name, days) in [
            ("old-0123456789abcdef", 40),
            ("new-0123456789abcdef", 1),
            ("held-1.2-0123456789abcdef", 40),
            ("mine", 40),
        ] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("x.iso"), "").unwrap();
            age(&at(name).join("x.iso"), days);
            age(&at(name), days);
            fs::write(at(&format!("{name}.part")), "").unwrap();
            age(&at(&format!("{name}.part")), days);
        }
        let lock = File::create(at("held-1.2-0123456789abcdef.lock")).unwrap();
        let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, e)| e).unwrap();
        clean(dir.path());
        let left = |name: &str| (at(name).exists(), at(&format!("{name}.part")).exists());
        assert_eq!(left("old-0123456789abcdef"), (false, false));
        assert_eq!(
            (left("new-0123456789abcdef"), left("held-1.2-0123456789abcdef")),
            ((true, true), (true, true))
        );
        assert_eq!(left("mine"), (true, false), "a folder of somebody else's");
    }
}
