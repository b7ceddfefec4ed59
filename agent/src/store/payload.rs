// SPDX-License-Identifier: GPL-3.0-or-later
//! A payload while it is fetched and after it: an open file, what of it is here, and what its place still needs.

use crate::{report::Report, target::Writes};
use anyhow::Context;
use bootspec::Sha256Sum;
use std::{fs::File, io, path::PathBuf};
use swarm::{Head, plan::Bits, sha256};

/// A place for a payload: an open file, and what of it is here already.
pub struct Payload {
    /// Written by the swarm, as long as the payload. It stays open for seeding.
    pub file: File,
    /// Where the file is now; after [`Payload::finish`], where it is mounted from.
    pub path: PathBuf,
    /// Where the payload's beginning goes instead, if apart.
    pub head: Option<Head>,
    /// Pieces that are here, verified.
    pub known: Bits,
    /// Blocks of other pieces that are in the file as well, not verified.
    pub begun: Vec<(u32, u32)>,
    /// The SHA-256 of all of it, if it was all there and somebody wanted to know.
    pub sum: Option<Sha256Sum>,
    pub(super) keep: Box<dyn Keep>,
}

/// Where a payload is kept: what is left to do there when all is verified, or when it is not what it should be.
pub(super) trait Keep {
    /// All pieces are verified and in `file`, its beginning in `head`, if apart. Returns where the payload is mounted
    /// from, if its file has moved.
    fn finish(
        &mut self,
        file: &File,
        head: Option<&Head>,
        writes: &Writes,
    ) -> anyhow::Result<Option<PathBuf>>;

    /// Nothing of it stays on a disk. A disk that was written does not begin to boot.
    fn discard(&self) -> anyhow::Result<()> {
        Ok(())
    }
}

impl Payload {
    /// The SHA-256 of all that is in it.
    pub async fn sum_up(&self, size: u64, image: &str, report: &Report) -> anyhow::Result<Sha256Sum> {
        if let Some(sum) = self.sum {
            return Ok(sum);
        }
        let (file, head) = (self.file.try_clone()?, self.head.as_ref().map(Head::try_clone).transpose()?);
        let (image, report) = (image.to_owned(), report.clone());
        let work = move || sha256(&file, head.as_ref(), size, |done| report.checking(done, size, &image));
        in_background(work).await.with_context(|| format!("reading {}", self.path.display()))
    }

    /// It is not what it should be.
    pub fn discard(&self) -> anyhow::Result<()> {
        self.keep.discard()
    }

    /// All pieces are verified and in the file. `writes`: a filesystem on which an overlay is kept is written on.
    pub fn finish(&mut self, writes: &Writes) -> anyhow::Result<()> {
        if let Some(path) = self.keep.finish(&self.file, self.head.as_ref(), writes)? {
            self.path = path;
        }
        Ok(())
    }
}

/// Hash what is there, on a thread of its own: it takes seconds or minutes, and heartbeats go on.
pub(super) async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let (tell, mut told) = tokio::sync::oneshot::channel();
    // Boxed, so that there is one task of one kind: each kind is kilobytes of the agent.
    let work: Box<dyn FnOnce() + Send> = Box::new(move || drop(tell.send(work())));
    tokio::task::spawn_blocking(work).await.context("hashing")?;
    Ok(told.try_recv().context("hashing")??)
}
