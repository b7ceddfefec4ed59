// SPDX-License-Identifier: GPL-3.0-or-later
//! Disk images.

use anyhow::Result;
use boottorrent_tests::assets;

#[test]
fn made() -> Result<()> {
    println!("{}", assets::disk()?.display());
    Ok(())
}
