// SPDX-License-Identifier: GPL-3.0-or-later
//! Where the payload is kept: made ready before the download, finished after it.

pub mod cache;
mod cache_payload;
mod caches;
mod device;
mod flush;
mod mounted;
mod order;
mod payload;
mod ram;
mod rebuild;
mod remnants;
pub mod state;

pub use caches::{Caches, Spare};
pub use order::{Online, Order, SumsSource};
pub use payload::Payload;
pub use ram::{copy_from, file, in_ram};

use crate::{
    device::PATIENCE,
    fail::{Failure, Step},
    report::Report,
    second,
    target::{self, Memory, Writes},
};
use anyhow::anyhow;
use bootspec::{Exit, Target};
use std::fs;

/// A payload that can be fetched, and what was decided.
pub struct Ready {
    /// Where the image is kept.
    pub target: Target,
    /// Where what the booted system writes goes.
    pub writes: Writes,
    /// The image.
    pub payload: Payload,
}

/// Take the first target that has room. Why another one has not is said.
pub async fn prepare(order: &Order<'_>, caches: &mut Caches<'_>, report: &Report) -> Result<Ready, Failure> {
    let memory = fs::read_to_string(&order.args.meminfo)
        .map_err(|e| anyhow!(e))
        .and_then(|t| Memory::parse(&t))
        .step(Exit::Room)?
        .without(second::space());
    let mut targets = order.params.target.iter().peekable();
    // That the image cannot be had is what decides whether an old version boots.
    let mut cannot_be_had = None;
    loop {
        let target = targets.next().expect("there is at least one target");
        let failure = match one(target, order, caches, memory, report).await {
            Ok(ready) => return Ok(ready),
            Err(failure) => failure,
        };
        match targets.peek() {
            Some(next) => report.warn(&format!("{:#}; taking the next target, {next}", failure.error)),
            None => return Err(cannot_be_had.unwrap_or(failure)),
        }
        if failure.exit == Exit::Swarm {
            cannot_be_had = Some(failure);
        }
    }
}

async fn one(
    target: &Target,
    order: &Order<'_>,
    caches: &mut Caches<'_>,
    memory: Memory,
    report: &Report,
) -> Result<Ready, Failure> {
    let Order { args, params, metainfo, image, signed, .. } = *order;
    let plan = target::choose(target, image, metainfo.size(), &params.overlay, memory).step(Exit::Room)?;
    let payload = match target {
        Target::Ram | Target::Stream => {
            ram::prepare(&args.run_dir, plan.tmpfs, metainfo).step(Exit::Storage)?
        }
        Target::Cache(name) => {
            let cache = caches.open(name, PATIENCE).await.step(Exit::Storage)?;
            cache.prepare(metainfo, image, signed, order.online(), report).await?
        }
        Target::Device(disk) => device::prepare(disk, order, report).await?,
    };
    Ok(Ready { target: target.clone(), writes: plan.writes, payload })
}
