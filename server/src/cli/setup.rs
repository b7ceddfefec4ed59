// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent setup`

use crate::config::Config;
use anyhow::Result;
use clap::Args;

#[derive(Debug, Args)]
pub struct Setup {}

impl Setup {
    pub fn run(self, _config: &Config) -> Result<()> {
        anyhow::bail!("not yet")
    }
}
