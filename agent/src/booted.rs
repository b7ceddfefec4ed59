// SPDX-License-Identifier: GPL-3.0-or-later
//! A machine whose boot has ended well.

use crate::{lease::Renewal, stream::Streaming};
use bootspec::{Params, params::Then};
use std::sync::Arc;
use swarm::{Session, Torrent};

/// A machine whose root is mounted, or whose disk is written.
pub struct Booted {
    /// How it was to boot.
    pub params: Params,
    /// The image, which it seeds.
    pub torrent: Arc<Torrent>,
    /// What seeds it.
    pub session: Session,
    /// Anything but boot: there is no root.
    pub then: Then,
    /// The root is in use, and not complete yet.
    pub streaming: Option<Streaming>,
    /// Its lease, if nobody in the booted system renews it.
    pub renewal: Option<Renewal>,
}
