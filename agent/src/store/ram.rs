// SPDX-License-Identifier: GPL-3.0-or-later
//! The payload in a tmpfs of its own.

use super::{Keep, Payload, open_sized};
use crate::root;
use anyhow::Context;
use std::{fs::File, path::Path};
use swarm::{Metainfo, survey};

/// Mount it, with an empty file in it.
pub(super) fn prepare(run: &Path, size: u64, metainfo: &Metainfo) -> anyhow::Result<Payload> {
    let store = run.join("store");
    root::detach(&store);
    root::tmpfs(&store, size, 0o755)?;
    let path = store.join("payload");
    file(&path, metainfo)
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

/// A file that nothing more becomes of. What an interrupted run left in it is used.
pub fn file(path: &Path, metainfo: &Metainfo) -> anyhow::Result<Payload> {
    let file = open_sized(path, metainfo.size())?;
    let known = survey(&file, metainfo, |_| {}).with_context(|| format!("reading {}", path.display()))?;
    Ok(Payload {
        file,
        path: path.to_owned(),
        head: None,
        known,
        begun: Vec::new(),
        sum: None,
        keep: Keep::Ram,
    })
}
