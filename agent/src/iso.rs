// SPDX-License-Identifier: GPL-3.0-or-later
//! A live system: nothing of it is mounted here. An ISO becomes a loop device, and the scripts of its own
//! initrd find it there, as they would find it on a USB stick; or they are told a file's path.

use crate::{
    mounts::{self, Loop},
    root,
};
use anyhow::{Context, bail};
use bootspec::manifest::{Content, Kind};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

/// In the agent's folder: the path of the device or file, for our lines of shell in the ISO's initrd.
pub const MEDIUM: &str = "medium";

/// Attach the payload, read-only, and write down where.
pub fn attach(payload: &Path, run: &Path) -> anyhow::Result<PathBuf> {
    if root::content(payload)? != Some(Content::Iso) {
        bail!("boottorrent.kind=iso is set, but the image is not an ISO: remove the parameter");
    }
    // Not taken away with its last user: between us and the ISO's scripts it has none.
    let device = mounts::attach(payload, Loop::Kept)?.path().context("finding the loop device's path")?;
    note(&device, run)?;
    Ok(device)
}

/// Give the payload a name that says what it is, as who downloads live systems expects of a file, and write it down.
pub fn name(payload: &Path, kind: Kind, run: &Path) -> anyhow::Result<PathBuf> {
    let file = run.join(if kind == Kind::Iso { "image.iso" } else { "image.img" });
    symlink(payload, &file).with_context(|| format!("linking {}", file.display()))?;
    note(&file, run)?;
    Ok(file)
}

fn note(path: &Path, run: &Path) -> anyhow::Result<()> {
    let medium = run.join(MEDIUM);
    fs::write(&medium, format!("{}\n", path.display()))
        .with_context(|| format!("writing {}", medium.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_iso_is_not_attached() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("payload");
        fs::write(&file, "hsqs").unwrap();
        let e = attach(&file, dir.path()).unwrap_err().to_string();
        assert_eq!(e, "boottorrent.kind=iso is set, but the image is not an ISO: remove the parameter");
        assert!(!dir.path().join(MEDIUM).exists());
    }
}
