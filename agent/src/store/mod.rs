// SPDX-License-Identifier: GPL-3.0-or-later
//! Where the payload is kept: made ready before the download, finished after it.

mod device;
mod ram;

pub use ram::create;

use crate::{
    cli::BootArgs,
    fail::{Failure, Step},
    report::Report,
    target::{self, Memory, Place, Plan},
};
use anyhow::anyhow;
use bootspec::{Exit, Params, Target};
use std::{
    fs::{self, File},
    path::PathBuf,
};
use swarm::{Head, Metainfo, plan::Bits};

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
    keep: Keep,
}

/// What is left to do when all is verified.
enum Keep {
    /// A tmpfs: nothing.
    Ram,
    /// A disk: its beginning, which makes it one that boots.
    Device(device::Writing),
}

impl Payload {
    /// All pieces are verified and in the file.
    pub fn finish(&mut self) -> anyhow::Result<()> {
        match &mut self.keep {
            Keep::Ram => Ok(()),
            Keep::Device(writing) => writing.finish(&self.file, self.head.as_ref()),
        }
    }
}

/// What a payload is made ready for.
pub struct Order<'a> {
    /// Paths.
    pub args: &'a BootArgs,
    /// Targets and overlay.
    pub params: &'a Params,
    /// What will be fetched.
    pub metainfo: &'a Metainfo,
    /// What it is called.
    pub image: &'a str,
}

/// Take the first target that has room. Why another one has not is said.
pub async fn prepare(order: &Order<'_>, report: &Report) -> Result<(Plan, Payload), Failure> {
    let memory = fs::read_to_string(&order.args.meminfo)
        .map_err(|e| anyhow!(e))
        .and_then(|t| Memory::parse(&t))
        .step(Exit::Room)?;
    let mut targets = order.params.target.iter().peekable();
    loop {
        let target = targets.next().expect("there is at least one target");
        match one(target, order, memory, report).await {
            Ok(ready) => return Ok(ready),
            Err(failure) => match targets.peek() {
                Some(next) => report.warn(&format!("{:#}; taking the next target, {next}", failure.error)),
                None => return Err(failure),
            },
        }
    }
}

async fn one(
    target: &Target,
    order: &Order<'_>,
    memory: Memory,
    report: &Report,
) -> Result<(Plan, Payload), Failure> {
    let Order { args, params, metainfo, image } = *order;
    let plan = target::choose(target, image, metainfo.size(), &params.overlay, memory).step(Exit::Room)?;
    let payload = match &plan.place {
        Place::Ram(size) => ram::prepare(&args.run_dir, *size, metainfo).step(Exit::Storage)?,
        Place::Cache(_) => {
            return Err(Failure::new(Exit::Params, "boottorrent.target can only be ram so far"));
        }
        Place::Device(disk) => device::prepare(disk, image, metainfo, args, report).await?,
    };
    Ok((plan, payload))
}
