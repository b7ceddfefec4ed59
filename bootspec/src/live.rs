// SPDX-License-Identifier: GPL-3.0-or-later
//! What the server tells the agent of a live ISO whose own initrd does not come with the kernel: where on the ISO it is.

use crate::manifest::Family;
use serde::{Deserialize, Serialize};

/// Where it is told, in an initrd that the server makes.
pub const LIVE: &str = "/usr/share/boottorrent/live.json";
/// Where the files are that the ISO's own initrd gets, below the paths that they have there.
pub const HOOK_DIR: &str = "/usr/share/boottorrent/hook";
/// In the ISO's own initrd: the agent's folder, and the addresses of network cards, until its scripts have mounted /run.
pub const HANDED_DIR: &str = "/boottorrent";

/// The initrd on an ISO.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveInitrd {
    /// Whose scripts are in it.
    pub family: Family,
    /// Bytes of a tmpfs that it takes when it is unpacked.
    pub unpacked: u64,
    /// Its files on the ISO, in their order.
    pub parts: Vec<IsoPart>,
}

/// A file on an ISO.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IsoPart {
    /// Its first byte on the ISO.
    pub at: u64,
    /// Its bytes.
    pub size: u64,
}
