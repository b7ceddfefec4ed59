// SPDX-License-Identifier: GPL-3.0-or-later
//! The payload in a tmpfs of its own.

use super::{Keep, Payload};
use crate::root;
use anyhow::Context;
use nix::fcntl::OFlag;
use std::{
    fs::File,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};
use swarm::{Metainfo, plan::Bits, survey};

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
    let open = || -> std::io::Result<_> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(path)?;
        file.set_len(metainfo.size())?;
        let known = survey(&file, metainfo, |_| {})?;
        Ok((file, known))
    };
    let (file, known) = open().with_context(|| format!("creating {}", path.display()))?;
    Ok(plain(file, path.to_owned(), known))
}

fn plain(file: File, path: PathBuf, known: Bits) -> Payload {
    Payload { file, path, head: None, known, begun: Vec::new(), keep: Keep::Ram }
}
