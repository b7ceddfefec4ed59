// SPDX-License-Identifier: GPL-3.0-or-later
//! The payload straight onto a disk that was named.

use super::Payload;
use crate::{cli::BootArgs, fail::Failure, report::Report};
use bootspec::{DeviceName, Exit};
use swarm::Metainfo;

/// Find the disk, refuse what must not be overwritten, open it.
pub(super) async fn prepare(
    _disk: &DeviceName,
    _metainfo: &Metainfo,
    _args: &BootArgs,
    _report: &Report,
) -> Result<Payload, Failure> {
    Err(Failure::new(Exit::Params, "boottorrent.target=device: cannot be written yet"))
}
