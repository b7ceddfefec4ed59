// SPDX-License-Identifier: GPL-3.0-or-later
//! The folder with the keys, and what is in it.

use crate::{config, files};
use anyhow::{Context, Result, bail};
use bootspec::trust::{KeyId, Keys, MAX_KEY};
use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// The folder with the keys.
#[derive(Clone, Debug)]
pub struct Folder {
    /// Where it is.
    pub dir: PathBuf,
    /// The secret key that signs, if the settings name one.
    pub secret: Option<PathBuf>,
}

/// A public key.
#[derive(Clone, Debug)]
pub struct Public {
    /// Its file.
    pub path: PathBuf,
    /// Which it is.
    pub id: KeyId,
    /// The file's content.
    pub text: Vec<u8>,
}

impl Folder {
    /// As the settings say.
    pub fn of(config: &config::Config) -> Folder {
        Folder { dir: config.keys.dir.clone(), secret: config.keys.secret.clone() }
    }

    /// The public keys. What is none is an error: it would be missing where it is needed.
    pub fn public(&self) -> Result<Vec<Public>> {
        let public = |path: PathBuf| {
            let text = read(&path)?;
            match Keys::default().add(&text) {
                Ok(id) => Ok(Public { path, id, text }),
                Err(why) => bail!("{}: {why}: remove it, or copy it again", path.display()),
            }
        };
        files_in(&self.dir, "pub")?.into_iter().map(public).collect()
    }

    /// The public keys, to verify with.
    pub fn keys(&self) -> Result<Keys> {
        let mut keys = Keys::default();
        for public in self.public()? {
            keys.add(&public.text).map_err(anyhow::Error::msg)?;
        }
        Ok(keys)
    }

    /// The certificates of authorities whose servers machines believe over HTTPS, and their files: `ca/*.crt` beside
    /// this folder.
    pub fn authorities(&self) -> Result<Vec<(PathBuf, Vec<u8>)>> {
        let read =
            |path: PathBuf| Ok((path.clone(), files::read_named(&path, MAX_CERTIFICATES, "certificate")?));
        files_in(&self.dir.with_file_name("ca"), "crt")?.into_iter().map(read).collect()
    }

    /// The secret keys' files.
    pub fn secrets(&self) -> Result<Vec<PathBuf>> {
        files_in(&self.dir, "key")
    }

    /// The secret key that signs: the one that the settings name, else boottorrent.key, else the only one.
    pub fn chosen(&self) -> Result<Option<PathBuf>> {
        if self.secret.is_some() {
            return Ok(self.secret.clone());
        }
        let all = self.secrets()?;
        if let Some(usual) = all.iter().find(|p| p.file_stem().is_some_and(|n| n == NAME)) {
            return Ok(Some(usual.clone()));
        }
        match all.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(one.clone())),
            [first, ..] => bail!(
                "there are {} secret keys in {}: say which one signs, with secret = \"{}\" in [keys] of server.toml, for one",
                all.len(),
                self.dir.display(),
                first.display()
            ),
        }
    }

    /// Secret keys that others than their owner may read.
    pub fn open_to_others(&self) -> Vec<PathBuf> {
        let open = |p: &PathBuf| fs::metadata(p).is_ok_and(|m| m.permissions().mode() & 0o077 != 0);
        self.secrets().unwrap_or_default().into_iter().filter(open).collect()
    }
}

/// What a key is called if nobody says.
pub const NAME: &str = "boottorrent";

/// A file may have all authorities of a distribution.
const MAX_CERTIFICATES: usize = 1 << 20;

/// The files in a folder whose names end so, by name. No folder: none.
fn files_in(dir: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("reading {}", dir.display()))?,
    };
    let all = entries.filter_map(|e| Some(e.ok()?.path()));
    let mut all: Vec<PathBuf> = all.filter(|p| p.extension().is_some_and(|e| e == extension)).collect();
    all.sort();
    Ok(all)
}

/// A key's file.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    files::read_named(path, MAX_KEY, "key")
}
