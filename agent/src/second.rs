// SPDX-License-Identifier: GPL-3.0-or-later
//! What the server has told of a live ISO's own initrd, which this machine takes out of the ISO.

use anyhow::Context;
use bootspec::live::{LIVE, LiveInitrd};
use std::fs;

/// All of it; nothing of an image that is not a live ISO, or whose initrd was sent.
pub fn told() -> anyhow::Result<Option<LiveInitrd>> {
    match fs::read(LIVE) {
        Ok(text) => serde_json::from_slice(&text).with_context(|| format!("reading {LIVE}")).map(Some),
        Err(_) => Ok(None),
    }
}

/// RAM that is needed for it beside the ISO.
pub fn space() -> u64 {
    told().ok().flatten().map_or(0, |live| live.unpacked)
}
