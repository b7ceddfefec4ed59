// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent host …`

use super::{
    backend::Backend,
    complete,
    host_files::{Kind, give},
};
use crate::{
    api::types::HostRow,
    cli::run::print_json,
    config::Config,
    hosts::{
        Asker, EntryKey, Field, HostChange, HostChanges, HostEntry, Hosts, Name, choose, select,
        select::is_pattern,
    },
    net::Subnet,
};
use anyhow::{Result, anyhow, bail};
use bootspec::{ImageRef, machine_key::shown, params::PREFIX, text::clean};
use clap::{Args, Subcommand};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

#[derive(Debug, Subcommand)]
pub enum HostCommand {
    /// Set which image a machine or a group boots, and how
    Set(Box<Set>),
    /// List machines and groups, including machines that booted but have no entry
    List(super::host_list::List),
    /// Remove the entries of machines or groups
    Unset {
        /// The machines or groups
        #[arg(required = true, add = complete::hosts())]
        who: Vec<String>,
    },
    /// List the files that machines or groups get over their image
    Files(super::host_files::Files),
    /// Sign the files of machines or groups with a secret key
    Sign(super::host_files::SignFiles),
    /// Accept a machine's own key, so that it gets its private files
    Accept(super::host_accept::Accept),
    /// Wake machines (wake-on-LAN)
    Wake {
        /// The machines or groups
        #[arg(required = true, add = complete::hosts())]
        who: Vec<String>,
    },
    /// Switch running machines to another image, now or at a time
    Switch(super::host_order::Switch),
    /// Reboot running machines, now or at a time
    Reboot(super::host_order::Reboot),
    /// Power running machines off, now or at a time
    Poweroff(super::host_order::Poweroff),
    /// Keep a calendar: switch machines to images at times of the week
    Schedule(super::host_schedule::Schedule),
    /// Switch machines on or off, or ask whether they are on (IPMI, Redfish)
    Power(super::power::Power),
    /// Add machines and groups from a table, /etc/ethers or dnsmasq's settings
    Import(super::host_io::Import),
    /// Write machines and groups as a table, as /etc/ethers or for dnsmasq
    Export(super::host_io::Export),
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
  default                  all machines without an entry of their own
  'pc[01-30]', 'pc-*'      several machines by their names; so do several WHO

What a machine's own entry does not say comes from its group, then from the
groups that this one is in, then from default. Kernel parameters of all of them
are given, the machine's last. Without any image there is the menu.

Examples:
  boottorrent host set default --image debian-live
  boottorrent host set group:room1 --subnet 10.0.1.0/24 --image lab
  boottorrent host set 52:54:00:12:34:56 --name pc1 --group room1
  boottorrent host set group:test --image lab@2 a new version for a few first
  boottorrent host set pc1 --param console=ttyS0
  boottorrent host set 'pc[01-30]' pc99 --group room2
  boottorrent host set group:room1 --group floor1    a group in a group
  boottorrent host set group:room1 --files room1/    files over the image
  boottorrent host set pc1 --private pc1-keys/       files for this one alone
  boottorrent host set pc1 --once exam          the next boot, and only that one
  boottorrent host set rack1-head --relay       its rack's kernels come from it
  boottorrent host set pc1 --clear image,params what its group says counts again")]
pub struct Set {
    /// The machines or groups
    #[arg(required = true, add = complete::hosts())]
    who: Vec<String>,
    /// The image to boot; NAME@2 selects a version (see `image history`)
    #[arg(long, add = complete::bootable())]
    image: Option<ImageRef>,
    /// A kernel parameter; replaces an earlier value of NAME in this entry
    #[arg(long = "param", value_name = "NAME=VALUE", allow_hyphen_values = true, add = complete::parameters())]
    params: Vec<String>,
    /// The machine's name, used as its host name if valid
    #[arg(long)]
    name: Option<Name>,
    /// The group to put the machine or group in
    #[arg(long, add = complete::groups())]
    group: Option<Name>,
    /// Boot this image once, at the next boot
    #[arg(long, value_name = "IMAGE", add = complete::bootable())]
    once: Option<ImageRef>,
    /// Show the menu first; the image starts after the timeout
    #[arg(long, overrides_with = "no_menu")]
    menu: bool,
    /// Show no menu
    #[arg(long)]
    no_menu: bool,
    /// Lay these files over the image, from a folder or a tarball; `none` takes them away
    #[arg(long, value_name = "DIR|TAR")]
    files: Option<PathBuf>,
    /// The same over HTTPS, for machines whose key was accepted (`host accept`)
    #[arg(long, value_name = "DIR|TAR")]
    private: Option<PathBuf>,
    /// Put machines whose name starts with this in the group
    #[arg(long, value_name = "WORD")]
    prefix: Vec<String>,
    /// Put machines of this subnet in the group
    #[arg(long, value_name = "ADDR/PREFIX")]
    subnet: Vec<Subnet>,
    /// Have the machine give kernels and initrds to its group, from this much RAM (256M)
    #[arg(long, value_name = "SIZE", num_args = 0..=1, require_equals = true, default_missing_value = "256M")]
    relay: Option<String>,
    /// Have it give none
    #[arg(long, conflicts_with = "relay")]
    no_relay: bool,
    /// The settings to remove
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WHAT,…")]
    clear: Vec<Field>,
    /// Print the new entry as JSON
    #[arg(long)]
    json: bool,
}

impl HostCommand {
    pub fn run(self, config: &Config) -> Result<()> {
        let backend = match &self {
            HostCommand::List(_) | HostCommand::Export(_) | HostCommand::Files(_) | HostCommand::Sign(_) => {
                Backend::open_to_read(config)?
            }
            HostCommand::Switch(switch) if switch.only_lists() => Backend::open_to_read(config)?,
            HostCommand::Schedule(schedule) if schedule.only_lists() => Backend::open_to_read(config)?,
            _ => Backend::open(config)?,
        };
        match self {
            HostCommand::Set(set) => set.run(&backend, config),
            HostCommand::Accept(accept) => accept.run(&backend),
            HostCommand::Files(files) => files.run(&backend, config),
            HostCommand::Sign(sign) => sign.run(&backend, config),
            HostCommand::List(list) => list.run(&backend),
            HostCommand::Switch(switch) => switch.run(&backend, config),
            HostCommand::Reboot(reboot) => reboot.run(&backend, config),
            HostCommand::Poweroff(poweroff) => poweroff.run(&backend, config),
            HostCommand::Schedule(schedule) => schedule.run(&backend),
            HostCommand::Import(import) => import.run(&backend),
            HostCommand::Export(export) => export.run(&backend),
            HostCommand::Unset { who } => {
                let keys = selected(&backend, &who)?;
                backend.change_hosts(&HostChanges::forget(&keys))?;
                keys.iter().for_each(|key| println!("{key}: removed"));
                Ok(())
            }
            HostCommand::Wake { who } => wake(&backend, &who),
            HostCommand::Power(power) => power.run(&backend, config),
        }
    }
}

/// Whom the words mean.
fn selected(backend: &Backend, who: &[String]) -> Result<Vec<EntryKey>> {
    select(&backend.hosts()?, who).map_err(|e| anyhow!(e))
}

fn wake(backend: &Backend, who: &[String]) -> Result<()> {
    let hosts = backend.hosts()?;
    let mut sent = BTreeSet::new();
    for word in who {
        // A machine's own name counts as well, which the server knows.
        match is_pattern(word) {
            false => sent.extend(backend.wake(word)?),
            true => {
                for key in select(&hosts, std::slice::from_ref(word)).map_err(|e| anyhow!(e))? {
                    sent.extend(backend.wake(&key.to_string())?);
                }
            }
        }
    }
    println!("sent for {}", sent.into_iter().collect::<Vec<_>>().join(", "));
    Ok(())
}

impl Set {
    fn run(mut self, backend: &Backend, config: &Config) -> Result<()> {
        let keys = selected(backend, &self.who)?;
        let relays = self.relay.is_some();
        let relay = self.relay.take().or(self.no_relay.then(|| "none".to_owned()));
        self.params.extend(relay.map(|size| format!("{PREFIX}relay={size}")));
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
            files: None,
            private: None,
            fingerprint: None,
            prefix: self.prefix,
            subnet: self.subnet,
        };
        let mut change = HostChange { set, unset: self.clear };
        let mut given = Vec::new();
        for (option, field, kind) in
            [(self.files, Field::Files, Kind::Open), (self.private, Field::Private, Kind::Private)]
        {
            match option {
                Some(from) if from == Path::new("none") => change.unset.push(field),
                option => given.extend(option.map(|from| (from, kind))),
            }
        }
        if change == HostChange::default() && given.is_empty() {
            bail!(
                "nothing is set for '{}': give --image, --param, --files, --name, --group, --once or another option",
                self.who.join(" ")
            );
        }
        if let Some(name) = change.set.name.as_ref().filter(|_| keys.len() > 1) {
            bail!("{} machines cannot all be called '{name}': give --name to one of them", keys.len());
        }
        let mut changes = HostChanges::same(&keys, &change);
        for (from, kind) in given {
            give(&from, kind, &mut changes, config)?;
        }
        let rows = backend.change_hosts(&changes)?;
        match (self.json, &rows[..]) {
            (true, [row]) => print_json(row),
            (true, rows) => print_json(&rows),
            (false, rows) => {
                rows.iter().for_each(|row| println!("{}", clean(&sentence(row), &[])));
                if relays {
                    note_groupless(&backend.hosts()?, &keys);
                }
                Ok(())
            }
        }
    }
}

/// A machine gives to those of its group: one that is in none gives to nobody. Its address may put it into one later.
fn note_groupless(hosts: &Hosts, keys: &[EntryKey]) {
    let by_address = hosts.entries.values().any(|e| !e.subnet.is_empty());
    let in_none = |key: &&EntryKey| key.is_machine() && choose(hosts, &Asker::of(key)).group.is_none();
    for key in keys.iter().filter(in_none).filter(|_| !by_address) {
        eprintln!("{key} is in no group, and no machine is sent to it: give it one with --group");
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
    parts.extend(e.files.map(|sum| format!("with files {}", &sum.to_string()[..8])));
    parts.extend(e.private.map(|sum| format!("with private files {}", &sum.to_string()[..8])));
    parts.extend(e.fingerprint.map(|sum| format!("has the key {}", shown(&sum))));
    parts.extend((!e.prefix.is_empty()).then(|| format!("names from {}", e.prefix.join(", "))));
    parts.extend((!e.subnet.is_empty()).then(|| format!("addresses in {}", subnets(e))));
    let said = if parts.is_empty() { "nothing of its own".to_owned() } else { parts.join(", ") };
    format!("{}: {said}", row.key)
}

fn subnets(e: &HostEntry) -> String {
    e.subnet.iter().map(|s| s.to_string()).collect::<Vec<_>>().join(", ")
}
