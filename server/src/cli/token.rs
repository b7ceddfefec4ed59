// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent token …`

use crate::{
    cli::run::print_json,
    config::Config,
    table::{Align, layout},
    token::{self, KnownToken, UNNAMED},
    trail,
};
use anyhow::Result;
use bootspec::{text::count, units::parse_time};
use clap::Subcommand;
use serde_json::json;
use std::time::{Duration, SystemTime};

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Create a token and print it once; replaces an earlier token of this name
    #[command(after_help = "\
The token stands for root's word to this server: whoever has it says which
image machines boot, unless it is --read-only. Only its hash is kept. The log
shows its name with every change. It is sent as a header:
  curl -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' \\
       -X PUT -d '{\"set\":{\"image\":\"lab\"}}' \\
       https://SERVER:6982/api/v1/hosts/default

Examples:
  boottorrent token new
  boottorrent token new ansible --expires 90d
  boottorrent token new dashboard --read-only")]
    New {
        /// The name
        #[arg(default_value = UNNAMED, value_parser = token::check_name)]
        name: String,
        /// Allow reading only (also what `machines = "token"` protects)
        #[arg(long)]
        read_only: bool,
        /// How long the token is valid, e.g. 12h or 90d [default: until removed]
        #[arg(long, value_name = "TIME", value_parser = parse_time)]
        expires: Option<Duration>,
    },
    /// List the tokens (only hashes are stored)
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Revoke a token; without tokens, nothing can be changed over TCP
    Remove {
        /// The name
        #[arg(default_value = UNNAMED, value_parser = token::check_name)]
        name: String,
    },
}

impl TokenCommand {
    pub fn run(self, config: &Config) -> Result<()> {
        let dir = &config.catalogue.dir;
        match self {
            TokenCommand::New { name, read_only, expires } => {
                let token = token::generate(dir, &name, read_only, expires)?;
                trail::tell(&format!("token '{name}' is made"));
                println!("{token}");
            }
            TokenCommand::List { json } => return list(config, json),
            TokenCommand::Remove { name } => {
                let left = token::remove(dir, &name)?;
                trail::tell(&format!("token '{name}' is removed"));
                match left {
                    0 => println!("there is no token any more: this server's port only answers questions"),
                    left => println!("token '{name}' is removed, {} left", count(left, "token")),
                }
            }
        }
        Ok(())
    }
}

fn list(config: &Config, as_json: bool) -> Result<()> {
    let (tokens, now) = (token::load(&config.catalogue.dir)?, SystemTime::now());
    if as_json {
        let row = |(name, t): (&String, &KnownToken)| json!({"name": name, "read_only": t.read_only, "expires": t.expires, "expired": t.is_expired(now)});
        return print_json(&tokens.iter().map(row).collect::<Vec<_>>());
    }
    if tokens.is_empty() {
        println!("there are no tokens: see `boottorrent token new --help`");
        return Ok(());
    }
    let row = |(name, t): (&String, &KnownToken)| {
        let may = if t.read_only { "read" } else { "change" };
        let until = t.expires.clone().unwrap_or_else(|| "-".into());
        let until = if t.is_expired(now) { format!("{until} (expired)") } else { until };
        vec![name.clone(), may.into(), until]
    };
    let head = ["NAME", "MAY", "UNTIL"].map(|name| (name, Align::Left));
    print!("{}", layout(&head, &tokens.iter().map(row).collect::<Vec<_>>()));
    Ok(())
}
