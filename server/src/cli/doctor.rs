// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent doctor`

use crate::{
    cli::run::print_json,
    config::Config,
    doctor::{Severity, SystemPaths, examine, render},
};
use anyhow::{Result, bail};
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_help = "\
Looks at the server, its ports, images, their signatures, machines, disk, clock,
firmware files, dnsmasq, this machine's firewall, and at who else answers DHCP.
Each finding says what it means and how to fix it. As root it sees more: the
firewall's rules, and DHCP. Nothing is changed.

The exit code is 1 when something would stop a boot.

Examples:
  boottorrent doctor
  boottorrent doctor --json | jq -r '.[] | select(.state == \"bad\") | .cure'")]
pub struct Doctor {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The folder of dnsmasq's snippets
    #[arg(long, value_name = "DIR", default_value = "/etc/dnsmasq.d")]
    dnsmasq_dir: PathBuf,
    /// The folder of the iPXE loaders
    #[arg(long, value_name = "DIR", default_value = "/usr/lib/ipxe", hide = true)]
    ipxe_dir: PathBuf,
}

impl Doctor {
    pub fn run(self, config: &Config) -> Result<()> {
        let found = examine(config, &SystemPaths { dnsmasq: self.dnsmasq_dir, ipxe: self.ipxe_dir });
        match self.json {
            true => print_json(&found)?,
            false => print!("{}", render(&found)),
        }
        match found.iter().filter(|f| f.state == Severity::Bad).count() {
            0 => Ok(()),
            1 => bail!("one thing would stop a boot"),
            n => bail!("{n} things would stop a boot"),
        }
    }
}
