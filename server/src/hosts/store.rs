// SPDX-License-Identifier: GPL-3.0-or-later
//! `hosts.toml` in the catalogue's folder: written by one at a time, read whole, edited by hand if somebody likes to.

use super::entry::Hosts;
use crate::{catalogue::ImageChange, config::toml_sentence, files};
use anyhow::{Context, Result, anyhow};
use bootspec::ImageName;
use nix::fcntl::{Flock, FlockArg};
use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// 10 000 entries with all that they may say are smaller.
const MAX_FILE: usize = 16 << 20;
const HEAD: &str = "# Machines and groups, as `boottorrent host` writes them. A running server reads what is changed here by hand too.\n\n";

/// The file.
#[derive(Clone, Debug)]
pub struct HostsFile {
    path: PathBuf,
}

/// Tells one version of the file from another.
pub type HostsVersion = Option<(u64, u64, i64, i64)>;

impl HostsFile {
    /// The file in the catalogue's folder `root`, whether it is there or not.
    pub fn at(root: &Path) -> HostsFile {
        HostsFile { path: root.join("hosts.toml") }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What tells whether it has changed.
    pub fn version(&self) -> HostsVersion {
        let m = fs::metadata(&self.path).ok()?;
        Some((m.ino(), m.len(), m.mtime(), m.mtime_nsec()))
    }

    /// Read it. Without it nothing is set for anybody.
    pub fn load(&self) -> Result<Hosts> {
        let Some(text) = files::find_text(&self.path, MAX_FILE, "list of machines")? else {
            return Ok(Hosts::default());
        };
        toml::from_str(&text).map_err(|e| anyhow!("{}: {}", self.path.display(), toml_sentence(&text, &e)))
    }

    /// Change it: others see the old one or the new one, and one at a time changes it.
    /// An error of `change` leaves it as it was.
    pub fn change(&self, change: impl FnOnce(&mut Hosts) -> Result<(), String>) -> Result<Hosts> {
        let root = self.path.parent().context("hosts.toml is in no folder")?;
        files::make_dirs(root)?;
        let _lock = self.lock(root)?;
        let before = self.load()?;
        let mut hosts = before.clone();
        change(&mut hosts).map_err(|why| anyhow!(why))?;
        if hosts == before {
            return Ok(hosts);
        }
        let text = format!("{HEAD}{}", toml::to_string(&hosts).context("writing the machines as TOML")?);
        files::replace(&self.path, text.as_bytes(), 0o644)?;
        Ok(hosts)
    }

    /// An image has another name, or is the default now.
    pub fn image_changed(&self, old: &ImageName, change: &ImageChange) -> Result<Hosts> {
        // Nothing is set for any machine: then there is nothing to change.
        if self.version().is_none() && change.default.is_none() {
            return Ok(Hosts::default());
        }
        self.change(|hosts| {
            hosts.image_changed(old, change);
            Ok(())
        })
    }

    fn lock(&self, root: &Path) -> Result<Flock<File>> {
        let path = root.join(".hosts.lock");
        Flock::lock(files::lock_file(&path)?, FlockArg::LockExclusive)
            .map_err(|(_, e)| anyhow!(e).context(format!("locking {}", path.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::{EntryKey, HostEntry};

    #[test]
    fn concurrent_writers_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = HostsFile::at(&dir.path().join("cat"));
        assert_eq!((store.load().unwrap(), store.version()), (Hosts::default(), None));
        std::thread::scope(|scope| {
            for n in 0..8 {
                let store = &store;
                scope.spawn(move || {
                    for m in 0..5 {
                        let key = EntryKey::Serial(format!("{n}-{m}"));
                        let add = |h: &mut Hosts| {
                            h.entries.insert(key, HostEntry::default());
                            Ok(())
                        };
                        store.change(add).unwrap();
                    }
                });
            }
        });
        assert_eq!(store.load().unwrap().entries.len(), 40);
        let version = store.version();
        assert_eq!(store.change(|_| Err("no".into())).unwrap_err().to_string(), "no");
        assert_eq!(store.version(), version, "untouched");
    }

    #[test]
    fn a_damaged_file_is_one_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let store = HostsFile::at(dir.path());
        let path = dir.path().join("hosts.toml");
        for (text, why) in [
            (
                "[default]\nimage = \"a b\"",
                "line 2: 'a b' is not a valid image name: use 1 to 64 of a-z A-Z 0-9 . _ - and start with a letter or digit",
            ),
            (
                "[default]\nimages = \"x\"",
                "line 2: unknown key `images`, expected one of `name`, `group`, `image`, `once`, `menu`, `params`, `files`, `private`, `fingerprint`, `prefix`, `subnet`",
            ),
            (
                "\n[pc1]\nimage = \"x\"",
                "line 2: 'pc1' is neither a machine nor a group: write a MAC address, a UUID, serial:NUMBER, group:NAME or default",
            ),
            ("[default", "line 1: unclosed table, expected `]`"),
        ] {
            fs::write(&path, text).unwrap();
            assert_eq!(store.load().unwrap_err().to_string(), format!("{}: {why}", path.display()));
        }
    }
}
