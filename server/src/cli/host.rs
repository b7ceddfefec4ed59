// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent host …`

use super::backend::Backend;
use crate::{
    api::types::HostRow,
    cli::run::print_json,
    clients::Client,
    config::Config,
    hosts::{EntryKey, Field, HostChange, HostEntry, Hosts, Name},
    net::Subnet,
    table::{Align, layout},
};
use anyhow::{Result, anyhow, bail};
use bootspec::{ImageRef, text::clean};
use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub enum HostCommand {
    /// Say which image a machine or a group boots, and how
    Set(Box<Set>),
    /// List machines and groups, and the machines that have asked and were never named
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Forget what was said of a machine or a group
    Unset {
        /// The machine or group
        who: String,
    },
    /// Switch machines on over the network (wake-on-LAN)
    Wake {
        /// The machine or group
        who: String,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "\
WHO is one of:
  52:54:00:12:34:56        a machine, by the address of its network card
  4c4c4544-0042-3510-…     a machine, by its firmware's UUID
  serial:5CG1234XYZ        a machine, by its firmware's serial number
  pc1, room1               the name of a machine or group that was set before
  group:room1              a group; machines are in it by --group, by their name
                           or by their network
  default                  every machine of which nothing else was said

What a machine's own entry does not say comes from its group, then from
default. Kernel parameters of all three are given, the machine's last. Without
any image there is the menu.

Examples:
  boottorrent host set default --image debian-live
  boottorrent host set group:room1 --subnet 10.0.1.0/24 --image lab
  boottorrent host set 52:54:00:12:34:56 --name pc1 --group room1
  boottorrent host set group:test --image lab@2 a new version for a few first
  boottorrent host set pc1 --param console=ttyS0
  boottorrent host set pc1 --once exam          the next boot, and only that one
  boottorrent host set pc1 --clear image,params what its group says counts again")]
pub struct Set {
    /// The machine or group
    who: String,
    /// The image that it boots; NAME@2 is one version of it (see `image history`)
    #[arg(long)]
    image: Option<ImageRef>,
    /// One more kernel parameter; takes the place of what this entry says of NAME
    #[arg(long = "param", value_name = "NAME=VALUE", allow_hyphen_values = true)]
    params: Vec<String>,
    /// The machine's name, and its host name if it can be one
    #[arg(long)]
    name: Option<Name>,
    /// The group that the machine is in
    #[arg(long)]
    group: Option<Name>,
    /// The image of the next boot, and of no other
    #[arg(long, value_name = "IMAGE")]
    once: Option<ImageRef>,
    /// Show the menu first, in which the image starts by itself
    #[arg(long, overrides_with = "no_menu")]
    menu: bool,
    /// Show no menu
    #[arg(long)]
    no_menu: bool,
    /// Machines whose name begins so are in the group
    #[arg(long, value_name = "WORD")]
    prefix: Vec<String>,
    /// Machines of this network are in the group
    #[arg(long, value_name = "ADDR/PREFIX")]
    subnet: Vec<Subnet>,
    /// What is no longer said
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WHAT,…")]
    clear: Vec<Field>,
    /// Print what is said now as JSON
    #[arg(long)]
    json: bool,
}

impl HostCommand {
    pub fn run(self, config: &Config) -> Result<()> {
        let backend = match &self {
            HostCommand::List { .. } => Backend::open_to_read(config)?,
            _ => Backend::open(config)?,
        };
        let find = |who: &str| backend.hosts()?.find(who).map_err(|e| anyhow!(e));
        match self {
            HostCommand::Set(set) => set.run(&backend),
            HostCommand::List { json } => list(&backend, json),
            HostCommand::Unset { who } => {
                let key = find(&who)?;
                backend.unset_host(&key)?;
                println!("{key}: forgotten");
                Ok(())
            }
            HostCommand::Wake { who } => {
                println!("sent for {}", backend.wake(&who)?.join(", "));
                Ok(())
            }
        }
    }
}

impl Set {
    fn run(self, backend: &Backend) -> Result<()> {
        let key = backend.hosts()?.find(&self.who).map_err(|e| anyhow!(e))?;
        let menu = match (self.menu, self.no_menu) {
            (false, false) => None,
            (menu, _) => Some(menu),
        };
        let set = HostEntry {
            name: self.name,
            group: self.group,
            image: self.image,
            once: self.once,
            menu,
            params: self.params,
            prefix: self.prefix,
            subnet: self.subnet,
        };
        let change = HostChange { set, unset: self.clear };
        if change == HostChange::default() {
            bail!(
                "nothing is said of '{key}': give --image, --param, --name, --group, --once or another option"
            );
        }
        let row = backend.set_host(&key, &change)?;
        if self.json {
            return print_json(&row);
        }
        println!("{}", clean(&sentence(&row), &[]));
        Ok(())
    }
}

/// What is said now, in one line.
fn sentence(row: &HostRow) -> String {
    let e = &row.entry;
    let mut parts = Vec::new();
    parts.extend(e.name.as_ref().map(|n| format!("named {n}")));
    parts.extend(e.group.as_ref().map(|g| format!("in group {g}")));
    parts.extend(e.image.as_ref().map(|i| format!("boots {i}")));
    parts.extend(e.once.as_ref().map(|i| format!("boots {i} the next time")));
    parts.extend(e.menu.map(|m| if m { "with a menu" } else { "without a menu" }.to_owned()));
    parts.extend((!e.params.is_empty()).then(|| format!("with {}", e.params.join(" "))));
    parts.extend((!e.prefix.is_empty()).then(|| format!("names from {}", e.prefix.join(", "))));
    parts.extend((!e.subnet.is_empty()).then(|| format!("addresses in {}", subnets(e))));
    let said = if parts.is_empty() { "nothing of its own".to_owned() } else { parts.join(", ") };
    format!("{}: {said}", row.key)
}

fn subnets(e: &HostEntry) -> String {
    e.subnet.iter().map(|s| s.to_string()).collect::<Vec<_>>().join(", ")
}

fn list(backend: &Backend, json: bool) -> Result<()> {
    let (hosts, clients) = (backend.hosts()?, backend.clients()?);
    if json {
        let rows = hosts.entries.iter().map(|(k, e)| HostRow { key: k.clone(), entry: e.clone() });
        return print_json(&rows.collect::<Vec<_>>());
    }
    print!("{}", render(&hosts, &clients));
    Ok(())
}

fn render(hosts: &Hosts, clients: &[Client]) -> String {
    let named = |c: &Client| hosts.entries.keys().any(|k| heard_as(k, c));
    let strangers: Vec<&Client> = clients.iter().filter(|c| !named(c)).collect();
    if hosts.entries.is_empty() && strangers.is_empty() {
        return "nothing was said of any machine: all get the menu, or the one image; see `boottorrent host set --help`\n"
            .into();
    }
    let head = ["WHO", "NAME", "GROUP", "IMAGE", "NEXT BOOT", "MENU", "PARAMETERS", "MACHINES", "NOW"]
        .map(|h| (h, Align::Left));
    let dash = |w: Option<String>| w.unwrap_or_else(|| "-".into());
    let mut rows: Vec<Vec<String>> = hosts
        .entries
        .iter()
        .map(|(key, e)| {
            let heard = clients.iter().find(|c| heard_as(key, c));
            let (prefix, subnet) =
                (e.prefix.iter().map(|p| format!("{p}*")), e.subnet.iter().map(|s| s.to_string()));
            let members: Vec<String> = prefix.chain(subnet).collect();
            vec![
                key.to_string(),
                dash(e.name.as_ref().map(|n| n.to_string())),
                dash(e.group.as_ref().map(|g| g.to_string())),
                dash(e.image.as_ref().map(|i| i.to_string())),
                dash(e.once.as_ref().map(|i| i.to_string())),
                dash(e.menu.map(|m| if m { "yes" } else { "no" }.into())),
                dash((!e.params.is_empty()).then(|| e.params.join(" "))),
                dash((!members.is_empty()).then(|| members.join(" "))),
                dash(heard.map(|c| c.phase().into())),
            ]
        })
        .collect();
    rows.extend(strangers.iter().map(|c| {
        let address = c.heartbeat.address.clone().or(c.remote.map(|r| r.to_string()));
        let none = || "-".to_owned();
        let group = dash(c.group.clone());
        vec![
            c.heartbeat.id.clone(),
            none(),
            group,
            none(),
            none(),
            none(),
            none(),
            dash(address),
            c.phase().into(),
        ]
    }));
    layout(&head, &rows)
}

/// Whether a machine that was heard is the one of a key.
fn heard_as(key: &EntryKey, client: &Client) -> bool {
    match key {
        EntryKey::Mac(mac) => client.heartbeat.id == mac.to_string(),
        EntryKey::Uuid(uuid) => client.uuid.as_ref() == Some(uuid),
        EntryKey::Serial(serial) => client.serial.as_ref() == Some(serial),
        EntryKey::Default | EntryKey::Group(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bootspec::{Heartbeat, Phase};

    #[test]
    fn the_list() {
        let hosts: Hosts = toml::from_str(
            "[default]\nimage=\"lab\"\n[\"group:r\"]\nsubnet=[\"10.0.1.0/24\"]\nprefix=[\"pc-\"]\n[\"52:54:00:00:00:01\"]\nname=\"pc1\"\n\
             group=\"r\"\nonce=\"memtest\"\nmenu=false\nparams=[\"a=1\",\"quiet\"]\n",
        )
        .unwrap();
        let client = |id: &str, phase| Client {
            heartbeat: Heartbeat { id: id.into(), phase, ..Default::default() },
            remote: "10.0.1.9".parse().ok(),
            ..Default::default()
        };
        let clients = [client("52:54:00:00:00:01", Phase::Seed), client("52:54:00:00:00:02", Phase::Loader)];
        assert_eq!(
            render(&hosts, &clients),
            "\
WHO                NAME  GROUP  IMAGE  NEXT BOOT  MENU  PARAMETERS  MACHINES          NOW
default            -     -      lab    -          -     -           -                 -
group:r            -     -      -      -          -     -           pc-* 10.0.1.0/24  -
52:54:00:00:00:01  pc1   r      -      memtest    no    a=1 quiet   -                 booted
52:54:00:00:00:02  -     -      -      -          -     -           10.0.1.9          loader
"
        );
    }
}
