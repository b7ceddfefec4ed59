// SPDX-License-Identifier: GPL-3.0-or-later
//! Layers in the catalogue's folder: `files/SHA256` and `files/SHA256.minisig`, and the same in `private/`, which only its
//! owner can read. What is there under a sum never changes.

use crate::{
    files::{self, Put, Whose},
    hosts::EntryKey,
};
use anyhow::{Context, Result, bail, ensure};
use bootspec::{
    Sha256Sum,
    layer::{MAX_LAYER, split},
    trust::{MAX_SIGNATURE, SIGNATURE},
};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// How long a layer is kept that nobody has any more: machines that have their boot script fetch it still.
const KEEP: Duration = Duration::from_secs(3600);

/// The folder.
#[derive(Clone, Debug)]
pub struct LayersFolder {
    dir: PathBuf,
    /// The option that gives such files.
    pub option: &'static str,
}

impl LayersFolder {
    /// In this catalogue's folder.
    pub fn at(catalogue: &Path) -> Self {
        Self { dir: catalogue.join("files"), option: "--files" }
    }

    /// The private ones in this catalogue's folder.
    pub fn private(catalogue: &Path) -> Self {
        Self { dir: catalogue.join("private"), option: "--private" }
    }

    /// Whether nobody was ever given any.
    pub fn is_empty(&self) -> bool {
        fs::read_dir(&self.dir).map_or(true, |mut entries| entries.next().is_none())
    }

    /// Where a layer is.
    pub fn path(&self, sum: Sha256Sum) -> PathBuf {
        self.dir.join(sum.to_string())
    }

    /// Where its signature is.
    pub fn signature_path(&self, sum: Sha256Sum) -> PathBuf {
        self.dir.join(format!("{sum}.{SIGNATURE}"))
    }

    /// Keep a layer, and its signature if there is one.
    pub fn keep(&self, layer: &[u8], signature: Option<&[u8]>) -> Result<Sha256Sum> {
        let sum = summed(layer);
        files::make_dirs(&self.dir).context("only root and the owner of the catalogue can add files")?;
        if self.option == "--private" {
            files::make_private(&self.dir)?;
        }
        // Written again if it is there: nobody may have had it for an hour, and then it would go.
        self.put(&self.path(sum), layer)?;
        if let Some(signature) = signature {
            self.sign(sum, signature)?;
        }
        Ok(sum)
    }

    /// Put a signature beside a layer.
    pub fn sign(&self, sum: Sha256Sum, signature: &[u8]) -> Result<()> {
        self.put(&self.signature_path(sum), signature)
    }

    fn put(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let how = Put { mode: 0o600, beside: None, replace: true, whose: Whose::Folders };
        files::put(path, bytes, &how)
    }

    /// A layer, as it was kept. Errors: it is not there, or was changed.
    pub fn read(&self, sum: Sha256Sum) -> Result<Vec<u8>> {
        let path = self.path(sum);
        let layer = files::read(&path, MAX_LAYER, "files for a machine")?;
        ensure!(
            summed(&layer) == sum,
            "{} was changed: add the files again with {}",
            path.display(),
            self.option
        );
        Ok(layer)
    }

    /// The signature of a layer, if it has one.
    pub fn signature(&self, sum: Sha256Sum) -> Result<Option<Vec<u8>>> {
        files::find(&self.signature_path(sum), MAX_SIGNATURE, "signature of minisign")
    }

    /// Open a file that is served: `SHA256`, or `SHA256.minisig`. `None`: no such file can be.
    pub fn open(&self, file: &str) -> Option<Result<File>> {
        let end = format!(".{SIGNATURE}");
        let (sum, is_signature) = file.strip_suffix(&end).map_or((file, false), |sum| (sum, true));
        let sum: Sha256Sum = sum.parse().ok()?;
        let path = if is_signature { self.signature_path(sum) } else { self.path(sum) };
        Some(files::open_in_folder(&path))
    }

    /// Whether an entry may have these files. Errors: they are not here, or another's.
    pub fn check(&self, sum: Sha256Sum, key: &EntryKey) -> Result<()> {
        let again = format!("add them with `boottorrent host set {key} {} DIR`", self.option);
        let path = self.path(sum);
        if !path.try_exists().with_context(|| format!("looking for {}", path.display()))? {
            bail!("there are no files {sum} here: {again}");
        }
        let layer = self.read(sum)?;
        let (who, _) = split(&layer).map_err(anyhow::Error::msg)?;
        ensure!(who == key.to_string(), "the files {sum} are for {who}, not for {key}: {again}");
        Ok(())
    }

    /// Remove layers that no entry has, and that were not given lately.
    pub fn prune(&self, used: &BTreeSet<Sha256Sum>) -> Result<()> {
        let Ok(entries) = fs::read_dir(&self.dir) else { return Ok(()) };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let sum = name.to_str().and_then(|n| n.split('.').next()?.parse().ok());
            let Some(sum) = sum.filter(|sum| !used.contains(sum)) else { continue };
            let given =
                fs::metadata(self.path(sum)).and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            if given.elapsed().is_ok_and(|since| since > KEEP) {
                files::remove(&entry.path())
                    .with_context(|| format!("removing {}", entry.path().display()))?;
            }
        }
        Ok(())
    }
}

fn summed(bytes: &[u8]) -> Sha256Sum {
    Sha256Sum(Sha256::digest(bytes).into())
}
