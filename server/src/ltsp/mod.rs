// SPDX-License-Identifier: GPL-3.0-or-later
//! Beside LTSP: what its drop-ins (`ltsp/` of the source) and `ltsp boottorrent` do.
//!
//! ```text
//! /srv/ltsp/images/NAME.img        LTSP's image; published under its name
//! /srv/tftp/ltsp/ltsp.ipxe         LTSP's menu; two lines of ours ask for the next one
//! /srv/tftp/ltsp/boottorrent.ipxe  which images go over the swarm, with their infohashes
//! /srv/tftp/ltsp/ltsp.img          LTSP's additional initrd; the agent is in it
//! CATALOGUE/ltsp.toml              what the admin wants of each image
//! ```

pub mod initrd;
pub mod menu;
pub mod publish;
pub mod report;
pub mod wishes;

use crate::{catalogue::Catalogue, keys::CatalogueSigner};
use anyhow::Result;
use std::path::PathBuf;
use wishes::Wishes;

/// LTSP on this machine.
pub struct Site {
    /// Our catalogue.
    pub catalogue: Catalogue,
    /// Its folder, where [`Wishes`] are.
    pub state: PathBuf,
    /// LTSP's BASE_DIR.
    pub base: PathBuf,
    /// LTSP's TFTP_DIR.
    pub tftp: PathBuf,
}

impl Site {
    /// The same, and what is published from now on is signed by this hand.
    pub fn signed_by(self, hand: CatalogueSigner) -> Site {
        Site { catalogue: self.catalogue.signed_by(hand), ..self }
    }

    /// What the admin wants.
    pub fn wishes(&self) -> Result<Wishes> {
        Wishes::read(&self.state)
    }

    /// LTSP's menu.
    pub fn menu(&self) -> PathBuf {
        self.tftp.join("ltsp/ltsp.ipxe")
    }

    /// Our part of it.
    pub fn pins(&self) -> PathBuf {
        self.tftp.join("ltsp").join(menu::PINS)
    }
}
