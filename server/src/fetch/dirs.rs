// SPDX-License-Identifier: GPL-3.0-or-later
//! The folders that a fetch works in.

use crate::{
    catalogue::Catalogue,
    config::Config,
    files::make_dirs,
    keys::{CatalogueSigner, Folder},
    owner::{self, Owner},
    sources::Folders,
};
use anyhow::{Context, Result};
use std::{os::fd::OwnedFd, path::PathBuf};

/// Where images are and what sources there are.
#[derive(Clone, Debug)]
pub struct FetchDirs {
    /// The images.
    pub catalogue: Catalogue,
    /// The sources.
    pub sources: Folders,
    /// Where parts of images are until they are whole: on the catalogue's disk.
    pub parts: PathBuf,
}

impl FetchDirs {
    /// As the settings say.
    pub fn of(config: &Config) -> FetchDirs {
        let dir = &config.catalogue.dir;
        FetchDirs {
            catalogue: Catalogue::at(dir).signed_by(CatalogueSigner::Later(Folder::of(config))),
            sources: Folders { dirs: config.catalogue.sources.clone() },
            parts: dir.join("fetch"),
        }
    }

    /// Where root fetches into another's catalogue, it does so in a folder of its own: what was verified stays what it
    /// is. As long as what comes back is held.
    pub fn for_root(&mut self) -> Result<Option<OwnedFd>> {
        make_dirs(&self.parts)?;
        let owner = Owner::of(&self.parts).with_context(|| format!("looking at {}", self.parts.display()))?;
        if !owner.is_other() {
            return Ok(None);
        }
        let (held, path) = owner::private(&self.parts, "root")?;
        self.parts = path;
        Ok(Some(held))
    }
}
