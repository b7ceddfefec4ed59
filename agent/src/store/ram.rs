// SPDX-License-Identifier: GPL-3.0-or-later
//! The payload in a tmpfs of its own.

use super::{
    SumsSource,
    payload::{Keep, Payload},
    rebuild::{self, Old},
};
use crate::{
    files::open_sized,
    mounts,
    report::Report,
    target::{SLACK, Writes},
};
use anyhow::Context;
use std::{
    fs::File,
    path::{Path, PathBuf},
};
use swarm::{Head, Metainfo, Torrent, survey};

/// Mount it, with an empty file in it.
pub(super) fn prepare(run: &Path, size: u64, metainfo: &Metainfo) -> anyhow::Result<Payload> {
    let store = run.join("store");
    mounts::detach(&store);
    mounts::tmpfs(&store, size, 0o755)?;
    let path = store.join("payload");
    file(&path, metainfo)
}

/// The same beside an image that runs, in a folder of its own.
pub fn in_ram(run: &Path, metainfo: &Metainfo) -> anyhow::Result<Payload> {
    prepare(run, metainfo.size() + SLACK, metainfo)
}

/// Copy what the image that runs has of it: two images of one school are mostly the same. What is copied is verified.
pub async fn copy_from(
    running: &Torrent,
    to: &mut Payload,
    metainfo: &Metainfo,
    sums: Option<SumsSource<'_>>,
    image: &str,
    report: &Report,
) -> anyhow::Result<()> {
    let Some((file, old)) = running.payload().filter(|_| metainfo.is_whole()) else { return Ok(()) };
    let sums = match sums {
        Some(sums) => rebuild::obtain(sums, metainfo).await,
        None => None,
    };
    let wanted = rebuild::Wanted { file: &to.file, metainfo, known: &to.known };
    let others = vec![Old { file, metainfo: old, akin: true }];
    (to.known, to.begun) = rebuild::run(wanted, others, sums, image, report).await?;
    Ok(())
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
        keep: Box::new(Ram),
    })
}

/// The file is all there is.
struct Ram;

impl Keep for Ram {
    fn finish(&mut self, _: &File, _: Option<&Head>, _: &Writes) -> anyhow::Result<Option<PathBuf>> {
        Ok(None)
    }
}
