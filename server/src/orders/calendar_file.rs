// SPDX-License-Identifier: GPL-3.0-or-later
//! What the calendar has given to whom, on the disk: a server that starts again gives nothing twice.

use super::calendar::{Calendar, SavedGift};
use crate::files;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// The file's name, in the catalogue's folder.
const FILE: &str = "calendar.json";
/// Bytes of it at most.
const MAX: usize = 32 << 20;

/// The file.
#[derive(Clone, Debug)]
pub struct CalendarFile {
    path: PathBuf,
}

impl CalendarFile {
    /// In the catalogue's folder, whether it is there or not.
    pub fn at(catalogue: &Path) -> CalendarFile {
        CalendarFile { path: catalogue.join(FILE) }
    }

    /// Read it. Without it nothing was given.
    pub fn load(&self) -> Result<Calendar> {
        let Some(bytes) = files::find(&self.path, MAX, "memory of the calendar")? else {
            return Ok(Calendar::default());
        };
        let reading = || format!("reading {} (it can be deleted)", self.path.display());
        Ok(Calendar::restore(serde_json::from_slice(&bytes).with_context(reading)?))
    }

    /// Write it.
    pub fn save(&self, given: &[SavedGift]) -> Result<()> {
        files::replace(&self.path, &serde_json::to_vec(given).context("writing JSON")?, 0o600)
    }
}
