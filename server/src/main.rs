// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent`: everything is in the library.

use bootspec::text::clean;
use boottorrent_server::{cli::Cli, interrupt};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // What servers and programs said may be in it.
            eprintln!("boottorrent: {}", clean(&format!("{e:#}"), &['\n']));
            ExitCode::from(if interrupt::wanted() { interrupt::EXIT } else { 1 })
        }
    }
}
