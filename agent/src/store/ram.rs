// SPDX-License-Identifier: GPL-3.0-or-later
//! The payload in a tmpfs of its own.

use super::{Keep, Payload};
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
    let file = create(&path, metainfo.size())?;
    // Of an empty file, the pieces that are all zeros.
    let known = survey(&file, metainfo, |_| {}).context("looking at the empty file")?;
    Ok(Payload { file, path, head: None, known, keep: Keep::Ram })
}

/// A new file, sparse, as long as the payload.
pub fn create(path: &Path, size: u64) -> anyhow::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|f| f.set_len(size).map(|()| f))
        .with_context(|| format!("creating {}", path.display()))
}
