// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent tui`, and `boottorrent` alone on a terminal.

use super::run::block_on;
use crate::{config::Config, tui};
use anyhow::{Result, bail};
use clap::Args;
use std::{
    ffi::OsString,
    io::{IsTerminal, stdin, stdout},
};

#[derive(Debug, Args)]
#[command(after_help = "\
Keys are shown at the bottom; ? shows all of them. NO_COLOR=1 and terminals
without colours are respected; with a locale other than UTF-8, only ASCII is
written.

Example:
  ssh -t server boottorrent tui")]
pub struct Tui {}

impl Tui {
    pub fn run(self, config: Config, common: Vec<OsString>) -> Result<()> {
        if !is_possible() {
            bail!(
                "the terminal UI needs a terminal: scripts can use the commands with --json (boottorrent --help)"
            );
        }
        block_on(tui::run(config, common))
    }
}

/// Whether somebody sits in front.
pub fn is_possible() -> bool {
    let term = std::env::var("TERM").unwrap_or_default();
    stdin().is_terminal() && stdout().is_terminal() && !term.is_empty() && term != "dumb"
}
