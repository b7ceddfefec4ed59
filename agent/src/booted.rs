// SPDX-License-Identifier: GPL-3.0-or-later
//! A machine whose boot has ended well.

use crate::{args::BootArgs, lease::Renewal, net::Net, reach::Reach, stream::Streaming};
use bootspec::{Params, params::Then, trust::Keys};
use std::sync::{Arc, Mutex, PoisonError};
use swarm::{Session, Torrent};

/// A machine whose root is mounted, or whose disk is written.
pub struct Booted {
    /// How it was to boot.
    pub params: Params,
    /// The image, which it seeds.
    pub seeded: Seeded,
    /// What seeds it.
    pub session: Session,
    /// Anything but boot: there is no root.
    pub then: Then,
    /// The root is in use, and not complete yet.
    pub streaming: Option<Streaming>,
    /// Its lease, if nobody in the booted system renews it.
    pub renewal: Option<Renewal>,
    /// What it takes to obey orders. None: this agent has taken the place of one that died.
    pub obeys: Option<Obeys>,
}

/// The image that a machine seeds: another one after it was switched.
#[derive(Clone)]
pub struct Seeded(Arc<Mutex<Arc<Torrent>>>);

impl Seeded {
    /// This one.
    pub fn new(torrent: Arc<Torrent>) -> Self {
        Self(Arc::new(Mutex::new(torrent)))
    }

    /// The one now.
    pub fn get(&self) -> Arc<Torrent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on it is this one. The one before.
    pub fn set(&self, torrent: Arc<Torrent>) -> Arc<Torrent> {
        std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), torrent)
    }
}

/// What it takes to obey the server's orders later on, when the initramfs is gone.
pub struct Obeys {
    /// Paths.
    pub args: BootArgs,
    /// How the machine was to boot.
    pub params: Params,
    /// The kernel command line.
    pub line: String,
    /// Whose signature orders and images need; none: nobody's.
    pub keys: Option<Keys>,
    /// Who the machine is.
    pub net: Net,
    /// Where things are.
    pub reach: Reach,
    /// For HTTP.
    pub client: reqwest::Client,
    /// In which everything is seeded.
    pub session: Session,
    /// Whether its root is one that we have mounted: another one can take its place.
    pub soft: bool,
}
