// SPDX-License-Identifier: GPL-3.0-or-later
//! Live ISOs, unchanged, over the swarm.

use anyhow::Result;
use boottorrent_tests::assets::live::{Live, iso};

#[test]
fn isos() -> Result<()> {
    println!("{} {}", iso(Live::LiveBoot)?.display(), iso(Live::Dracut)?.display());
    Ok(())
}
