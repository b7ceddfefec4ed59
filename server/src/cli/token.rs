// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent token …`

use crate::{config::Config, token};
use anyhow::Result;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it, once; one that was made before is no longer valid
    #[command(after_help = "\
The token stands for root's word to this server: whoever has it says which
image machines boot. Only its hash is kept. It is sent as a header:
  curl -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' \\
       -X PUT -d '{\"set\":{\"image\":\"lab\"}}' \\
       https://SERVER:6982/api/v1/hosts/default")]
    New,
    /// Take the token back: the server's port only answers questions again
    Remove,
}

impl TokenCommand {
    pub fn run(self, config: &Config) -> Result<()> {
        let dir = &config.catalogue.dir;
        match self {
            TokenCommand::New => println!("{}", token::generate(dir)?),
            TokenCommand::Remove => {
                token::remove(dir)?;
                println!("there is no token any more: this server's port only answers questions");
            }
        }
        Ok(())
    }
}
