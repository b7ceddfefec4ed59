// SPDX-License-Identifier: GPL-3.0-or-later
//! A machine whose boot has ended well.

use crate::lease::Renewal;
use bootspec::{Params, params::Then};
use swarm::{Session, Torrent};

/// A machine whose root is mounted, or whose disk is written.
pub struct Booted {
    /// How it was to boot.
    pub params: Params,
    /// The image, which it seeds.
    pub torrent: Torrent,
    /// What seeds it.
    pub session: Session,
    /// Anything but boot: there is no root.
    pub then: Then,
    /// Its lease, if nobody in the booted system renews it.
    pub renewal: Option<Renewal>,
}
