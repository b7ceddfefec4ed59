// SPDX-License-Identifier: GPL-3.0-or-later
//! Writes the agent's pages into a folder (`make docs`: docs/man). The agent is too small to carry what makes
//! them, and it is built for other machines than the one that builds.

use boottorrent_agent::args::Cli;
use boottorrent_server::manual::clap_pages;
use clap::CommandFactory;
use std::{env, fs, io, path::PathBuf};

fn main() -> io::Result<()> {
    let to = PathBuf::from(env::args_os().nth(1).expect("the folder"));
    fs::create_dir_all(&to)?;
    clap_pages(&Cli::command(), "8").into_iter().try_for_each(|(name, text)| fs::write(to.join(name), text))
}
