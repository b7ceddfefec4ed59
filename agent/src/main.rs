// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent-agent`: the static program in the initramfs. See `lib.rs` for the story.

use boottorrent_agent::cli::{Cli, Command};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let code = match Cli::parse().command {
        Command::Boot(args) if args.child => boottorrent_agent::boot_child(&args),
        Command::Boot(args) => boottorrent_agent::launch::boot(&args),
        Command::Status(args) => boottorrent_agent::status::run(&args),
        Command::Fetch(args) => boottorrent_agent::fetch::run(&args),
        Command::Vlan(args) => boottorrent_agent::vlan::run(&args),
    };
    ExitCode::from(code.code())
}
