// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent`: everything is in the library.

use bootspec::text::clean;
use boottorrent_server::{cli::Cli, interrupt};
use clap::Parser;
use std::{
    io::{Write, stderr},
    process::ExitCode,
};

fn main() -> ExitCode {
    Cli::complete();
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // What servers and programs said may be in it.
            let why = format!("{e:#}");
            // Nobody may be there any more to read it.
            let _ = writeln!(stderr(), "boottorrent: {}", clean(&why, &['\n']));
            ExitCode::from(if interrupt::wanted() { interrupt::EXIT } else { 1 })
        }
    }
}
