// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent setup`

use crate::{
    config::Config,
    net::{Subnet, interfaces},
    setup::{
        plan::{Content, Here, SetupOptions, SetupPlan, plan},
        survey::{MAIN, Survey},
        write::{Removed, check, remove, write},
    },
};
use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

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
    /// An interface to serve; may be given several times [default: the only one there is]
    #[arg(long, value_name = "IF")]
    interface: Vec<String>,
    /// The network to serve [default: the interface's]
    #[arg(long, value_name = "ADDR/PREFIX")]
    subnet: Option<Subnet>,
    /// Who gives machines their addresses
    #[arg(long, value_enum, default_value_t, value_name = "MODE")]
    mode: Mode,
    /// The addresses to give in authoritative mode; one range for each interface
    #[arg(long, value_name = "FROM,TO", value_parser = range)]
    range: Vec<(Ipv4Addr, Ipv4Addr)>,
    /// The name servers that machines are told, in authoritative mode
    #[arg(long, value_name = "ADDR,…", value_delimiter = ',')]
    dns: Vec<Ipv4Addr>,
    /// The router that machines are told, in authoritative mode [default: this machine]
    #[arg(long, value_name = "ADDR")]
    router: Option<Ipv4Addr>,
    /// The folder that TFTP serves [default: what dnsmasq has, or /srv/tftp]
    #[arg(long, value_name = "DIR")]
    tftp_root: Option<PathBuf>,
    /// Where dnsmasq's snippets are
    #[arg(long, value_name = "DIR", default_value = "/etc/dnsmasq.d")]
    dnsmasq_dir: PathBuf,
    /// Give UEFI machines shim and GRUB, which Secure Boot lets in, instead of iPXE
    #[arg(long)]
    secure_boot: bool,
    /// Below which Debian's packages have their loaders
    #[arg(long, value_name = "DIR", default_value = "/usr/lib", hide = true)]
    lib_dir: PathBuf,
    /// Write it
    #[arg(long, conflicts_with = "remove")]
    write: bool,
    /// Delete what was written, and nothing else
    #[arg(long)]
    remove: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Mode {
    #[default]
    Proxy,
    Authoritative,
}

fn range(text: &str) -> Result<(Ipv4Addr, Ipv4Addr), String> {
    let bad = || format!("'{text}' is no range: write FROM,TO, as in 10.0.0.100,10.0.0.200");
    let (from, to) = text.split_once(',').ok_or_else(bad)?;
    Ok((from.parse().map_err(|_| bad())?, to.parse().map_err(|_| bad())?))
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
        let wishes = SetupOptions {
            interfaces: self.interface,
            subnet: self.subnet,
            authoritative: self.mode == Mode::Authoritative,
            ranges: self.range,
            dns: self.dns,
            router: self.router,
            tftp_root: self.tftp_root,
            secure_boot: self.secure_boot || config.boot.secure_boot,
        };
        let survey = Survey::read(&self.dnsmasq_dir)?;
        let here = Here {
            dnsmasq_dir: &self.dnsmasq_dir,
            lib: &self.lib_dir,
            state,
            port: config.serve.listen.port(),
        };
        let mut plan = plan(&wishes, &survey, &interfaces()?, here)?;
        plan.notes.extend(replaced(&self.dnsmasq_dir.join(MAIN), &plan));
        print!("{}", shown(&plan));
        check(&plan, &self.dnsmasq_dir, &survey.files)?;
        match self.write {
            true => {
                write(&plan, state)?;
                println!("written, and checked with `dnsmasq --test`\n{RESTART}");
            }
            false => println!("checked with `dnsmasq --test`; nothing is written yet: add --write"),
        }
        Ok(())
    }
}

/// What an earlier `--write` serves and this one would not.
fn replaced(main: &Path, plan: &SetupPlan) -> Option<String> {
    let ranges = |text: &str| -> Vec<String> {
        let value = |l: &str| l.strip_prefix("dhcp-range=").map(str::to_owned);
        text.lines().filter_map(value).collect()
    };
    let now = plan.items.iter().find_map(|i| match &i.content {
        Content::Text(text) if i.path == main => Some(ranges(text)),
        _ => None,
    })?;
    let mut before = ranges(&fs::read_to_string(main).ok()?);
    before.retain(|r| !now.contains(r));
    (!before.is_empty()).then(|| {
        format!(
            "this replaces what an earlier setup serves (dhcp-range={}): to keep it, name all interfaces, each with --interface",
            before.join(" and ")
        )
    })
}

fn shown(plan: &SetupPlan) -> String {
    let mut out = String::new();
    for item in &plan.items {
        let path = item.path.display();
        match &item.content {
            Content::Text(text) => out.push_str(&format!("==> {path} <==\n{text}\n")),
            Content::Copy(from) => out.push_str(&format!("==> {path} <== a copy of {}\n\n", from.display())),
            Content::Link(to) => out.push_str(&format!("==> {path} <== a link to {}\n\n", to.display())),
            Content::Folder => out.push_str(&format!("==> {path} <== a folder of boottorrent serve\n\n")),
        }
    }
    plan.notes.iter().for_each(|n| out.push_str(&format!("note: {n}\n")));
    out
}
