// SPDX-License-Identifier: GPL-3.0-or-later
//! Who races: how each serves the payload, how a machine of each gets it, and
//! which settings that is done with.

mod aria2;
mod http;
mod libtorrent;
mod ours;
mod stage;
mod transmission;
mod udpcast;

use anyhow::{Result, bail};

pub use stage::{Contestant, Done, Machine, Stage};

/// All, in the order of the page.
pub const ALL: [&dyn Contestant; 7] = [
    &ours::DEALING,
    &ours::LIBRQBIT,
    &http::Http,
    &aria2::Aria2,
    &libtorrent::Libtorrent,
    &transmission::Transmission,
    &udpcast::Udpcast,
];

/// The contestant of an id.
pub fn named(id: &str) -> Result<&'static dyn Contestant> {
    match ALL.into_iter().find(|c| c.id() == id) {
        Some(contestant) => Ok(contestant),
        None => bail!("there is no contestant {id}: there are {}", ALL.map(|c| c.id()).join(", ")),
    }
}
