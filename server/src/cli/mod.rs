// SPDX-License-Identifier: GPL-3.0-or-later
//! The command line: what may be typed (here), and what each command does (beside).

mod added;
mod backend;
mod common;
mod complete;
mod doctor;
mod entry;
mod fetch;
mod host;
mod host_accept;
mod host_files;
mod host_io;
mod host_list;
mod host_order;
mod host_schedule;
mod image;
mod key;
mod ltsp;
mod menu;
mod power;
mod relay;
mod relay_promote;
mod run;
mod serve;
mod setup;
mod sign;
mod source;
mod status;
mod token;
mod tui;
mod values;
mod versions;

use crate::{catalogue::Catalogue, config::Config, manual, relay::here};
use anyhow::{Result, bail};
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::CompleteEnv;
use common::Common;
use std::path::PathBuf;

pub use complete::VARIABLE as COMPLETE;

/// Boot many machines from one image that they share with each other over BitTorrent.
#[derive(Debug, Parser)]
#[command(name = "boottorrent", version, max_term_width = 80, after_help = EXAMPLES)]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Option<Command>,
}

const EXAMPLES: &str = "\
From nothing to machines that boot:
  make a Debian root with a kernel and BootTorrent's hook (docs/quickstart.md)
  boottorrent image add lab.tar
  boottorrent setup           shows what dnsmasq would be told; --write does it
  boottorrent serve           or: systemctl start boottorrent-server
  boottorrent status --watch

Exit codes:
    0  done
    1  refused or failed: one sentence on stderr says why
    2  wrong usage
  130  interrupted";

#[derive(Debug, Subcommand)]
enum Command {
    /// Add, list, show and remove images
    #[command(subcommand)]
    Image(image::ImageCommand),
    /// Find problems that would stop machines from booting, and suggest fixes
    Doctor(doctor::Doctor),
    /// Add, list and remove menu entries that are not images (memory test, installer)
    #[command(subcommand)]
    Entry(entry::EntryCommand),
    /// Set which image machines and groups boot; wake machines
    #[command(subcommand)]
    Host(host::HostCommand),
    /// Create, import and show signing keys
    #[command(subcommand)]
    Key(key::KeysCommand),
    /// Show the boot menu, and set its password
    #[command(subcommand)]
    Menu(menu::MenuCommand),
    /// List, allow, remove and promote relays: servers that serve what another has
    #[command(subcommand)]
    Relay(relay::RelayCommand),
    /// Serve the images: boot scripts, boot files, tracker, seeder, status
    Serve(serve::Serve),
    /// Show, write or remove the configuration of dnsmasq and TFTP
    Setup(setup::Setup),
    /// List, add, remove and check sources for `image fetch`
    #[command(subcommand)]
    Source(source::SourceCommand),
    /// Show every machine: phase, progress, and where its data came from
    Status(status::Status),
    /// Boot LTSP's images over the swarm (see ltsp-boottorrent(8))
    #[command(hide = true)]
    Ltsp(ltsp::Ltsp),
    /// Create, list and revoke API tokens
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Open the terminal UI (the default on a terminal)
    Tui(tui::Tui),
    /// Write man pages and shell completions into a folder
    #[command(hide = true)]
    Manual {
        /// The folder
        dir: PathBuf,
    },
}

impl Cli {
    /// Answer a shell that completes a half-typed command, if that is what this process is for: then it ends here.
    pub fn complete() {
        CompleteEnv::with_factory(Cli::command).var(COMPLETE).complete();
    }

    /// Do what was asked for.
    pub fn run(self) -> Result<()> {
        if let Some(Command::Manual { dir }) = &self.command {
            return manual::write(&Cli::command(), COMPLETE, dir);
        }
        let config = self.common.config()?;
        let command = match self.command {
            Some(command) => command,
            None if tui::is_possible() => Command::Tui(tui::Tui {}),
            None => {
                // As clap does it when a command is missing.
                eprint!("{}", Cli::command().render_help());
                std::process::exit(2);
            }
        };
        if command.is_elsewhere() {
            refuse_on_relay(&config, here::listed_elsewhere)?;
        }
        if command.changes() {
            refuse_on_relay(&config, here::refusal)?;
        }
        match command {
            Command::Manual { .. } => unreachable!("above: it needs no settings"),
            Command::Image(image) => image.run(&Catalogue::at(&config.catalogue.dir), &config),
            Command::Doctor(doctor) => doctor.run(&config),
            Command::Entry(entry) => entry.run(&config),
            Command::Host(host) => host.run(&config),
            Command::Key(key) => key.run(&config),
            Command::Menu(menu) => menu.run(&config),
            Command::Relay(relay) => relay.run(&config),
            Command::Serve(serve) => serve.run(config, move || self.common.config()),
            Command::Setup(setup) => setup.run(&config),
            Command::Source(source) => source.run(&config),
            Command::Status(status) => status.run(&config),
            Command::Ltsp(ltsp) => ltsp.run(&config),
            Command::Token(token) => token.run(&config),
            Command::Tui(tui) => tui.run(config, self.common.words()),
        }
    }
}

/// A relay has what the first server has: what is changed here would be undone.
fn refuse_on_relay(config: &Config, why: fn(&str) -> String) -> Result<()> {
    match here::relay_of_config(config) {
        Some(url) => bail!("{}", why(&url)),
        None => Ok(()),
    }
}

impl Command {
    /// Whether it only lists what a relay does not know.
    fn is_elsewhere(&self) -> bool {
        match self {
            Command::Host(host::HostCommand::Switch(switch)) => switch.only_lists(),
            Command::Relay(relay) => matches!(relay, relay::RelayCommand::List { .. }),
            _ => false,
        }
    }

    /// Whether it changes what machines boot.
    fn changes(&self) -> bool {
        use host::HostCommand as Host;
        use image::ImageCommand as Image;
        match self {
            Command::Image(image) => {
                !matches!(image, Image::List { .. } | Image::Show(_) | Image::Verify(_) | Image::History(_))
            }
            Command::Entry(entry) => !matches!(entry, entry::EntryCommand::List { .. }),
            Command::Host(host) => match host {
                Host::List(_) | Host::Export(_) => false,
                Host::Schedule(schedule) => !schedule.only_lists(),
                _ => true,
            },
            Command::Menu(menu) => !matches!(menu, menu::MenuCommand::Show),
            Command::Relay(relay) => {
                !matches!(relay, relay::RelayCommand::List { .. } | relay::RelayCommand::Promote(_))
            }
            Command::Doctor(_)
            | Command::Key(_)
            | Command::Serve(_)
            | Command::Setup(_)
            | Command::Source(_)
            | Command::Status(_)
            | Command::Ltsp(_)
            | Command::Token(_)
            | Command::Tui(_)
            | Command::Manual { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clap_is_happy_and_help_fits() {
        let mut cli = Cli::command();
        cli.build();
        cli.clone().debug_assert();
        let mut all = vec![cli];
        while let Some(mut command) = all.pop() {
            all.extend(command.get_subcommands().cloned());
            // Options are wrapped; what stands behind them is as it was written.
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default()
                + "\n"
                + &command.render_long_help().to_string();
            for line in help.lines() {
                assert!(line.chars().count() <= 80, "{}: {line}", command.get_name());
            }
        }
    }
}
