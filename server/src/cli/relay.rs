// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent relay …`

use crate::{
    api::Api,
    cli::run::{block_on, print_json},
    config::Config,
    hosts::Name,
    net::Subnet,
    relay::{RelaysFile, present::RelayRow},
    table::{Align, layout},
    token, trail,
};
use anyhow::Result;
use bootspec::{text::clean, units::human_time};
use clap::Subcommand;
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub enum RelayCommand {
    /// List the relays: where they are, what they have, how many machines they serve
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Allow a relay and print its token once; replaces an earlier one of this name
    #[command(after_help = "\
A relay is a server that serves what this one has, to the machines near it:
with three buildings, each relay fetches an image once. It is as trusted as
this server: see docs/security.md. Its token is good for nothing else.

On the relay, put the token into /etc/boottorrent/relay.token, and into its
server.toml:
  [upstream]
  url = \"https://THIS-SERVER:6982\"
  ca = \"/etc/boottorrent/ca/site.crt\"

Machines of --subnet and --group are sent to it; without either, those of the
relay's own subnet. When it does not answer, they boot from this server.

Examples:
  boottorrent relay add east
  boottorrent relay add east --subnet 10.0.1.0/24 --subnet 10.0.2.0/24
  boottorrent relay add rack7 --group rack7")]
    Add {
        /// The name
        #[arg(value_parser = token::check_name)]
        name: String,
        /// Send it the machines of this subnet (repeatable)
        #[arg(long, value_name = "NET")]
        subnet: Vec<Subnet>,
        /// Send it the machines of this group (repeatable)
        #[arg(long, value_name = "NAME")]
        group: Vec<Name>,
    },
    /// Make this relay the first server
    Promote(super::relay_promote::Promote),
    /// Revoke a relay's token; its machines boot from this server
    Remove {
        /// The name
        name: String,
    },
}

impl RelayCommand {
    pub fn run(self, config: &Config) -> Result<()> {
        let file = RelaysFile::at(&config.catalogue.dir);
        match self {
            RelayCommand::List { json } => list(config, &file, json),
            RelayCommand::Add { name, subnet, group } => {
                let token = file.add(&name, subnet, group)?;
                trail::tell(&format!("relay '{name}' is allowed"));
                println!("{token}");
                Ok(())
            }
            RelayCommand::Promote(promote) => promote.run(config),
            RelayCommand::Remove { name } => {
                file.remove(&name)?;
                trail::tell(&format!("relay '{name}' is removed"));
                println!("relay '{name}' is removed: what it has, it goes on serving until it is stopped");
                Ok(())
            }
        }
    }
}

/// The running server knows how they are; without one, the file has who they are.
fn list(config: &Config, file: &RelaysFile, json: bool) -> Result<()> {
    let rows = match Api::local(&config.serve.socket) {
        Ok(Some(api)) => block_on(api.get::<Vec<RelayRow>>("/api/v1/relays"))?,
        _ => {
            let row = |(name, relay): (String, crate::relay::KnownRelay)| RelayRow {
                name,
                subnet: relay.subnet,
                group: relay.group,
                ..RelayRow::default()
            };
            file.load()?.into_iter().map(row).collect()
        }
    };
    if json {
        return print_json(&rows);
    }
    if rows.is_empty() {
        println!("there are no relays: see `boottorrent relay add --help`");
        return Ok(());
    }
    print!("{}", render(&rows));
    Ok(())
}

fn render(rows: &[RelayRow]) -> String {
    let row = |r: &RelayRow| {
        let whom = r.subnet.iter().map(ToString::to_string);
        let whom: Vec<String> = whom.chain(r.group.iter().map(|g| format!("group {g}"))).collect();
        let heard =
            r.age.map(|a| format!("{} ago", human_time(Duration::try_from_secs_f64(a).unwrap_or_default())));
        let images = if r.missing > 0 {
            format!("{} of {}", r.images, r.images + r.missing)
        } else {
            r.images.to_string()
        };
        vec![
            r.name.clone(),
            if r.up { "up" } else { "silent" }.into(),
            r.address.clone().unwrap_or_else(|| "-".into()),
            if whom.is_empty() { "-".into() } else { whom.join(", ") },
            images,
            r.machines.to_string(),
            heard.unwrap_or_else(|| "never".into()),
            r.trouble.clone().unwrap_or_default(),
        ]
    };
    let head = [
        ("RELAY", Align::Left),
        ("STATE", Align::Left),
        ("ADDRESS", Align::Left),
        ("FOR", Align::Left),
        ("IMAGES", Align::Right),
        ("MACHINES", Align::Right),
        ("HEARD", Align::Right),
        ("", Align::Left),
    ];
    let rows: Vec<_> = rows.iter().map(row).collect();
    clean(&layout(&head, &rows), &['\n']).into_owned()
}
