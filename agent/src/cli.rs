// SPDX-License-Identifier: GPL-3.0-or-later
//! The program: from its arguments to one of the commands.

use crate::{
    args::{Cli, Command},
    fetch, identify,
    init::{self, Role},
    launch, orders, resume, status, story, stream, vlan,
};
use bootspec::Exit;
use clap::Parser;
use std::process::ExitCode;

/// The program: what was asked for, and its exit code.
pub fn main() -> ExitCode {
    match init::role() {
        Some(Role::Init) => init::main(),
        Some(Role::Modprobe(asked)) => {
            init::modprobe(&asked);
            return ExitCode::SUCCESS;
        }
        None => {}
    }
    let code = match Cli::parse().command {
        Command::Boot(args) if args.child => story::boot_child(&args),
        Command::Boot(args) => launch::boot(&args, &std::env::args_os().skip(1).collect::<Vec<_>>()),
        Command::Status(args) => status::run(&args),
        Command::Fetch(args) => fetch::run(&args),
        Command::Vlan(args) => vlan::run(&args),
        Command::Identify(args) => identify::run(&args),
        Command::Keep(args) => stream::keep(&args),
        Command::Resume(args) => resume::run(&args),
        Command::Change => stream::change(),
        Command::Host { words } => {
            eprintln!("{:#}", orders::host::become_program(&words));
            Exit::Root
        }
        Command::Next => orders::next::run(),
    };
    ExitCode::from(code.code())
}
