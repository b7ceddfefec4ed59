// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent setup`

use super::added::page;
use crate::{
    config::Config,
    net::Subnet,
    setup::{
        plan::{SetupOptions, parse_range},
        prepare::{SetupPaths, prepare},
        write::{Removed, remove, write},
    },
};
use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use std::{net::Ipv4Addr, path::PathBuf};

#[derive(Debug, Args)]
#[command(after_help = "\
Without --write nothing is changed: it shows what would be written.

  proxy          another DHCP server gives the addresses and stays as it is
  authoritative  this dnsmasq is the network's only DHCP server

Examples:
  boottorrent setup
  boottorrent setup --interface eth1 --write
  boottorrent setup --interface vlan20 --interface vlan30 --write
  boottorrent setup --interface eth1 --mode authoritative \\
      --range 10.0.0.100,10.0.0.200 --write
  boottorrent setup --remove")]
pub struct Setup {
    /// An interface to serve; may be repeated [default: the only one]
    #[arg(long, value_name = "IF")]
    interface: Vec<String>,
    /// The subnet to serve [default: the interface's]
    #[arg(long, value_name = "ADDR/PREFIX")]
    subnet: Option<Subnet>,
    /// Which DHCP server assigns addresses
    #[arg(long, value_enum, default_value_t, value_name = "MODE")]
    mode: Mode,
    /// The addresses to assign in authoritative mode; one range per interface
    #[arg(long, value_name = "FROM,TO", value_parser = parse_range)]
    range: Vec<(Ipv4Addr, Ipv4Addr)>,
    /// The DNS servers to announce in authoritative mode
    #[arg(long, value_name = "ADDR,…", value_delimiter = ',')]
    dns: Vec<Ipv4Addr>,
    /// The router to announce in authoritative mode [default: this machine]
    #[arg(long, value_name = "ADDR")]
    router: Option<Ipv4Addr>,
    /// The TFTP folder [default: dnsmasq's, or /srv/tftp]
    #[arg(long, value_name = "DIR")]
    tftp_root: Option<PathBuf>,
    /// The folder of dnsmasq's snippets
    #[arg(long, value_name = "DIR", default_value = "/etc/dnsmasq.d")]
    dnsmasq_dir: PathBuf,
    /// Use shim and GRUB instead of iPXE on UEFI machines (required for Secure Boot)
    #[arg(long)]
    secure_boot: bool,
    /// The folder below which Debian's packages install their loaders
    #[arg(long, value_name = "DIR", default_value = "/usr/lib", hide = true)]
    lib_dir: PathBuf,
    /// Write the files
    #[arg(long, conflicts_with = "remove")]
    write: bool,
    /// Remove the files that setup wrote
    #[arg(long)]
    remove: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Mode {
    #[default]
    Proxy,
    Authoritative,
}

/// What makes dnsmasq read its files again: SIGHUP does not.
const RESTART: &str = "now run: systemctl restart dnsmasq";

impl Setup {
    pub fn run(self, config: &Config) -> Result<()> {
        let state = &config.catalogue.dir;
        if self.remove {
            let removed = remove(state)?;
            if removed.is_empty() {
                bail!("there is nothing to remove: `boottorrent setup --write` has written nothing here");
            }
            for one in removed {
                match one {
                    Removed::Gone(path) => println!("deleted {}", path.display()),
                    Removed::Changed(path) => println!("left {}: it was changed since", path.display()),
                }
            }
            println!("{RESTART}");
            return Ok(());
        }
        let options = SetupOptions {
            interfaces: self.interface,
            subnet: self.subnet,
            authoritative: self.mode == Mode::Authoritative,
            ranges: self.range,
            dns: self.dns,
            router: self.router,
            tftp_root: self.tftp_root,
            secure_boot: self.secure_boot,
        };
        let paths = SetupPaths { dnsmasq: self.dnsmasq_dir, lib: self.lib_dir };
        let prepared = prepare(&options, config, paths)?;
        print!("{}", prepared.plan.shown());
        prepared.check()?;
        match self.write {
            true => {
                write(&prepared.plan, state)?;
                println!("written, and checked with `dnsmasq --test`\n{RESTART}");
                println!("then watch machines: `boottorrent`, or {}", page(config));
            }
            false => println!("checked with `dnsmasq --test`; nothing is written yet: add --write"),
        }
        Ok(())
    }
}
