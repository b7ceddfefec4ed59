// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent menu …`

use crate::{
    attempts::Stage,
    catalogue::{Catalogue, entries::EntriesFolder},
    config::Config,
    hosts::HostsFile,
    menu::{Chosen, Menu, Offer, Row, choose},
    menu_users::{self, UNNAMED},
    trail,
};
use anyhow::{Context, Result, bail};
use bootspec::{Architecture, ImageManifest, manifest::Kind};
use clap::Subcommand;
use std::io::{IsTerminal, stdin};

#[derive(Debug, Subcommand)]
pub enum MenuCommand {
    /// Show the boot menu as machines show it that have no settings of their own
    #[command(after_help = "\
Title, order, submenus, hidden and locked items are in [menu] of
/etc/boottorrent/server.toml; `systemctl reload boottorrent-server` applies
changes. Kernels, programs and other entries: `boottorrent entry --help`.")]
    Show,
    /// Set the password for locked items and for the boot loader's shell
    #[command(after_help = "\
As soon as there is a password, iPXE's shell and GRUB's command line ask for it,
and so do the items that `locked` in [menu] of server.toml names. Machines boot
without a password what `boottorrent host set` assigns to them. The password is
read from the terminal, or from the first line of the standard input. If
`boottorrent setup --write` was run before, run it again: what it wrote has
shells too, and it says which need another package or option to be closed.

Examples:
  boottorrent menu password
  boottorrent menu password teacher
  boottorrent menu password teacher --remove")]
    Password {
        /// The user name
        #[arg(default_value = UNNAMED, value_parser = menu_users::check_name)]
        name: String,
        /// Remove the user
        #[arg(long)]
        remove: bool,
    },
}

impl MenuCommand {
    /// Do it.
    pub fn run(self, config: &Config) -> Result<()> {
        let dir = &config.catalogue.dir;
        match self {
            MenuCommand::Show => show(config),
            MenuCommand::Password { name, remove: true } => {
                menu_users::remove(dir, &name)?;
                trail::tell(&format!("user '{name}' of the menu is removed"));
                println!("user '{name}' of the menu is removed");
                Ok(())
            }
            MenuCommand::Password { name, remove: false } => {
                let password = ask()?;
                menu_users::check_password(&password)?;
                menu_users::change(dir, |users| users.set(&name, &password))?;
                trail::tell(&format!("user '{name}' of the menu has a new password"));
                println!("user '{name}' has a password: the shell and locked items ask for it");
                Ok(())
            }
        }
    }
}

/// Typed twice, or the first line of what is not a terminal.
fn ask() -> Result<String> {
    if !stdin().is_terminal() {
        let mut line = String::new();
        stdin().read_line(&mut line).context("reading the password")?;
        return Ok(line.trim_end_matches(['\r', '\n']).to_owned());
    }
    let ask = |prompt| rpassword::prompt_password(prompt).context("asking for the password");
    let password = ask("Password for the menu: ")?;
    menu_users::check_password(&password)?;
    if ask("The same once more: ")? != password {
        bail!("the two passwords are not the same: nothing was changed");
    }
    Ok(password)
}

fn show(config: &Config) -> Result<()> {
    let dir = &config.catalogue.dir;
    let catalogue = Catalogue::at(dir);
    let manifests: Vec<ImageManifest> =
        catalogue.names()?.iter().map(|name| catalogue.manifest(name)).collect::<Result<_>>()?;
    let images: Vec<&ImageManifest> = manifests.iter().filter(|i| i.kind != Kind::Ltsp).collect();
    let (entries, broken) = EntriesFolder::at(dir).load();
    broken.iter().for_each(|why| eprintln!("{why}"));
    let hosts = HostsFile::at(dir).load()?;
    let assigned = hosts.default_image().map(|image| &image.name);
    // Who may not read them still sees what is locked.
    let users = menu_users::load(dir).unwrap_or_default();
    for machine in [Architecture::Amd64, Architecture::Arm64] {
        if !machine.is_default() {
            if !images.iter().any(|image| image.architecture == machine) {
                continue;
            }
            println!("\n{} machines:", machine.as_str());
        }
        let menu = Menu {
            machine,
            first: None,
            node: None,
            host: "this server",
            images: &images,
            entries: &entries,
            settings: &config.menu,
            users: &users,
            unlocked: false,
            once: None,
            wanted: None,
            assigned,
            default: assigned.or(config.boot.default.as_ref()),
            timeout: config.boot.timeout.as_millis(),
            append: "",
            stage: &|_| Stage::Card,
            phase_one: &|_| 0,
        };
        match choose(&menu) {
            Chosen::One(item) => println!("no menu: machines boot '{}'", item.name()),
            Chosen::Told(sentence) => println!("{sentence}"),
            Chosen::Shell => {}
            Chosen::Menu { rows, default } => print(config, &menu, &rows, default),
        }
    }
    if !users.is_empty() {
        println!("users: {}", users.names().collect::<Vec<_>>().join(", "));
    }
    Ok(())
}

fn print(config: &Config, menu: &Menu, rows: &[Row], default: Option<(usize, usize)>) {
    println!("{}", menu.title());
    let line = |indent: &str, offer: &Offer, starts: bool| {
        let lock = if offer.locked { ", asks for a password" } else { "" };
        let wait = humantime::format_duration(config.boot.timeout);
        let starts = if starts { format!(", starts after {wait}") } else { String::new() };
        println!("{indent}{} [{}{lock}{starts}]", offer.title, offer.item.name());
    };
    for (n, row) in rows.iter().enumerate() {
        let starts = |at: usize| default == Some((n, at));
        match row {
            Row::One(offer) => line("  ", offer, starts(0)),
            Row::Submenu(title, offers) => {
                println!("  {title} >");
                offers.iter().enumerate().for_each(|(at, offer)| line("    ", offer, starts(at)));
            }
        }
    }
    if config.menu.shell {
        println!("  iPXE shell{}", if menu.is_guarded() { " [asks for a password]" } else { "" });
    }
}
