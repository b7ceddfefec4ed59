// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent status`

use crate::{
    api::{self, Api},
    config::Config,
    status,
};
use anyhow::{Context, Result};
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
  boottorrent status --json | jq -r '.[] | select(.phase == \"failed\") | .error'")]
pub struct Status {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Redraw each second until ^C
    #[arg(long)]
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
        super::block_on(async {
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
