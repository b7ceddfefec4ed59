// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent host list`

use super::{backend::Backend, complete};
use crate::{
    api::types::HostRow,
    cli::run::print_json,
    clients::Client,
    hosts::{EntryKey, HostEntry, Hosts, Name, select},
    table::{Align, layout},
};
use anyhow::{Result, anyhow, bail};
use bootspec::ImageName;
use clap::Args;
use std::collections::BTreeSet;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  boottorrent host list
  boottorrent host list 'pc[01-30]' group:room1
  boottorrent host list --group room1 --image lab")]
pub struct List {
    /// Only these machines and groups, as in `host set`
    who: Vec<String>,
    /// Only machines and groups in this group and its subgroups
    #[arg(long, add = complete::groups())]
    group: Option<Name>,
    /// Only machines and groups set to this image, or booting it next
    #[arg(long, add = complete::bootable())]
    image: Option<ImageName>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl List {
    pub fn run(self, backend: &Backend) -> Result<()> {
        let (all, mut clients) = (backend.hosts()?, backend.clients()?);
        let mut hosts = all.clone();
        if let Some(group) =
            self.group.as_ref().filter(|g| !all.entries.contains_key(&EntryKey::Group((*g).clone())))
        {
            bail!("there is no group '{group}': `boottorrent host list 'group:*'` lists the groups");
        }
        if !self.who.is_empty() {
            let wanted: BTreeSet<EntryKey> =
                select(&all, &self.who).map_err(|e| anyhow!(e))?.into_iter().collect();
            hosts.entries.retain(|key, _| wanted.contains(key));
            clients.retain(|c| wanted.iter().any(|key| heard_as(key, c)));
        }
        if let Some(group) = &self.group {
            let within = |name: &Name| all.is_within(name, group);
            hosts.entries.retain(|key, e| match key {
                EntryKey::Group(name) => within(name),
                _ => e.group.as_ref().is_some_and(within),
            });
            clients.retain(|c| c.group.as_ref().and_then(|g| g.parse().ok()).is_some_and(|g| within(&g)));
        }
        if let Some(image) = &self.image {
            hosts.entries.retain(|_, e| e.image.iter().chain(&e.once).any(|i| i.name == *image));
            clients.clear();
        }
        if self.json {
            let rows = hosts.entries.iter().map(|(k, e)| HostRow { key: k.clone(), entry: e.clone() });
            return print_json(&rows.collect::<Vec<_>>());
        }
        let filtered = !self.who.is_empty() || self.group.is_some() || self.image.is_some();
        match filtered && hosts.entries.is_empty() && clients.is_empty() {
            true => println!("no machine and no group is like that"),
            false => print!("{}", render(&hosts, &all, &clients)),
        }
        if let Some(n) = Some(backend.waiting()?.len()).filter(|n| *n > 0) {
            println!("{} for a key to be accepted: boottorrent host accept", count_waiting(n));
        }
        Ok(())
    }
}

fn count_waiting(n: usize) -> String {
    match n {
        1 => "1 machine waits".into(),
        n => format!("{n} machines wait"),
    }
}

/// `hosts`: the entries that are shown; `all`: those that there are.
fn render(hosts: &Hosts, all: &Hosts, clients: &[Client]) -> String {
    let named = |c: &Client| all.entries.keys().any(|k| heard_as(k, c));
    let strangers: Vec<&Client> = clients.iter().filter(|c| !named(c)).collect();
    if hosts.entries.is_empty() && strangers.is_empty() {
        return "nothing is set for any machine: all get the menu, or the one image; see `boottorrent host set --help`\n"
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
    // Where nobody has any, there is nothing to see.
    let (mut head, files) = (head.to_vec(), |e: &HostEntry| match (e.files, e.private) {
        (None, None) => "-",
        (Some(_), None) => "yes",
        (None, Some(_)) => "private",
        (Some(_), Some(_)) => "yes, private",
    });
    if all.entries.values().any(|e| e.files.is_some() || e.private.is_some()) {
        head.insert(7, ("FILES", Align::Left));
        let told = hosts.entries.values().map(files).chain(std::iter::repeat("-"));
        rows.iter_mut().zip(told).for_each(|(row, told)| row.insert(7, told.into()));
    }
    layout(&head, &rows)
}

/// Whether a machine that was heard is the one of a key.
pub(super) fn heard_as(key: &EntryKey, client: &Client) -> bool {
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
            render(&hosts, &hosts, &clients),
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
