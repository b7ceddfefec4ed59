// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent status`

use super::run::block_on;
use crate::{
    api::{self, Api},
    clients::Client,
    config::Config,
    status,
};
use anyhow::{Context, Result, bail};
use bootspec::text;
use clap::Args;
use std::{
    io::{IsTerminal, Write, stdout},
    time::Duration,
};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  boottorrent status
  boottorrent status --watch --server 10.0.0.1
  boottorrent status 52:54:00:12:34:56
  boottorrent status --json | jq -r '.[] | select(.phase == \"failed\") | .error'")]
pub struct Status {
    /// One machine only, by its MAC address, name or host name: also what it said last
    machine: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Redraw each second until ^C
    #[arg(long, conflicts_with = "machine")]
    watch: bool,
    /// The server to ask [default: the one on this machine]
    #[arg(long, value_name = "HOST[:PORT]")]
    server: Option<String>,
}

impl Status {
    pub fn run(self, config: &Config) -> Result<()> {
        let api = match self.server.as_deref() {
            None => Api::connect(config)?,
            server => Api::remote(&api::url(server, config))?,
        };
        block_on(async {
            if let Some(machine) = &self.machine {
                return one(&api, machine, self.json).await;
            }
            loop {
                let clients = api.clients().await;
                let text = match clients {
                    // A server that is started again is waited for.
                    Err(e) if self.watch => text::clean(&format!("{e:#}\n"), &['\n']).into_owned(),
                    Ok(clients) if self.json => {
                        text::json(&serde_json::to_string(&clients).context("writing JSON")?) + "\n"
                    }
                    clients => status::render(&clients?),
                };
                let mut out = stdout();
                let clear = if self.watch && !self.json && out.is_terminal() { "\x1b[H\x1b[J" } else { "" };
                if write!(out, "{clear}{text}").and_then(|()| out.flush()).is_err() || !self.watch {
                    // Nobody reads any more, or once was enough.
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        })
    }
}

/// One machine, and the end of its log.
async fn one(api: &Api, machine: &str, json: bool) -> Result<()> {
    let named = |c: &Client| {
        [Some(&c.heartbeat.id), c.name.as_ref(), c.heartbeat.hostname.as_ref()]
            .contains(&Some(&machine.to_owned()))
    };
    let clients = api.clients().await?;
    let Some(found) = clients.iter().find(|c| named(c)) else {
        bail!("no machine '{machine}' has reported: `boottorrent status` shows those that have");
    };
    let client = api.client(&found.heartbeat.id).await?;
    let text = match json {
        true => text::json(&serde_json::to_string(&client).context("writing JSON")?) + "\n",
        false => {
            let log = client.heartbeat.log.iter().map(|line| format!("{}\n", text::clean(line, &[])));
            let boots = match client.boots.is_empty() {
                true => String::new(),
                false => format!("\n{}", status::boots(&client.boots)),
            };
            [status::render(std::slice::from_ref(&client)) + &boots, log.collect()].join("\n")
        }
    };
    // Nobody reads any more: nobody misses it.
    let _ = stdout().write_all(text.as_bytes());
    Ok(())
}
