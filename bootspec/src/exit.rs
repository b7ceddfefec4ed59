// SPDX-License-Identifier: GPL-3.0-or-later
//! The agent's exit codes: the boot script and tests decide by them.

/// How `boottorrent-agent boot` ended. One code for each step of the boot story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The root is mounted.
    Ok = 0,
    /// A kernel parameter or argument cannot be understood.
    Params = 2,
    /// No network.
    Network = 10,
    /// The metainfo (.torrent) could not be had.
    Metainfo = 11,
    /// The image is not the one that was asked for (infohash), or nobody who may has signed it.
    Trust = 12,
    /// The image does not fit.
    Room = 13,
    /// Nobody sends the image.
    Swarm = 14,
    /// Writing or reading the payload failed here.
    Storage = 15,
    /// The payload could not become a root filesystem.
    Root = 16,
}

impl Exit {
    /// Every exit code with its meaning, for docs.
    pub const ALL: [(Exit, &'static str); 9] = [
        (Exit::Ok, "the root is mounted"),
        (Exit::Params, "a kernel parameter or argument cannot be understood"),
        (Exit::Network, "no network"),
        (Exit::Metainfo, "the metainfo (.torrent) could not be had"),
        (Exit::Trust, "the image is not the one that was asked for (infohash), or not signed by whoever may"),
        (Exit::Room, "the image does not fit into RAM, or on the disk that was named"),
        (Exit::Swarm, "nobody sends the image"),
        (Exit::Storage, "writing or reading the image failed on this machine"),
        (Exit::Root, "the image could not become the root filesystem"),
    ];

    /// The process exit code.
    pub fn code(self) -> u8 {
        self as u8
    }
}
