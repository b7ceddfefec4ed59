// SPDX-License-Identifier: GPL-3.0-or-later
//! The machines that words stand for: those with an entry, and those that have reported.

use crate::{
    clients::Client,
    hosts::{Asker, EntryKey, Hosts, Mac, Name, choose, select, select::is_pattern},
    wake,
};
use std::collections::{BTreeMap, BTreeSet};

/// Machines of one request.
const MANY: usize = 1000;

/// A machine that can be switched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Its own entry's key; its MAC address where it has none.
    pub key: EntryKey,
    /// Its name.
    pub name: Option<Name>,
    /// Its group, and the groups that this one is in, the nearest first.
    pub groups: Vec<Name>,
    /// The card that it boots from.
    pub mac: Option<Mac>,
}

/// Whom words mean, each once. Errors: one of them means nobody.
pub fn machines(words: &[String], hosts: &Hosts, clients: &[Client]) -> Result<Vec<Machine>, String> {
    if words.is_empty() {
        return Err("name a machine or a group".into());
    }
    let known = known(hosts, clients);
    let (mut seen, mut all) = (BTreeSet::new(), Vec::new());
    for word in words {
        for key in keys(word, hosts, clients)? {
            let found = of(&key, hosts, &known)?;
            all.extend(found.into_iter().filter(|machine| seen.insert(machine.key.clone())));
        }
    }
    match all.len() > MANY {
        true => Err(format!("{} are {} machines: name at most {MANY} at once", words.join(" "), all.len())),
        false => Ok(all),
    }
}

fn keys(word: &str, hosts: &Hosts, clients: &[Client]) -> Result<Vec<EntryKey>, String> {
    if is_pattern(word) {
        return select(hosts, &[word.to_owned()]);
    }
    hosts.find(word).map(|key| vec![key]).or_else(|why| {
        // A machine's own name counts as well as ours for it.
        let named = clients.iter().find(|c| c.heartbeat.hostname.as_deref() == Some(word));
        let mac = named.and_then(|c| c.heartbeat.id.parse().ok()).ok_or(why)?;
        Ok(vec![EntryKey::Mac(mac)])
    })
}

fn of(key: &EntryKey, hosts: &Hosts, known: &BTreeMap<EntryKey, Machine>) -> Result<Vec<Machine>, String> {
    match key {
        EntryKey::Default => {
            Err("'default' is neither a machine nor a group: name those that you mean".into())
        }
        EntryKey::Group(group) => {
            let of: Vec<Machine> =
                known.values().filter(|machine| machine.groups.contains(group)).cloned().collect();
            match of.is_empty() {
                true => Err(format!("no machine of group '{group}' is known: see `boottorrent host list`")),
                false => Ok(of),
            }
        }
        EntryKey::Mac(mac) => {
            let by_mac = known.values().find(|machine| machine.mac == Some(*mac)).cloned();
            Ok(vec![by_mac.unwrap_or_else(|| by_key(key, hosts))])
        }
        key => Ok(vec![known.get(key).cloned().unwrap_or_else(|| by_key(key, hosts))]),
    }
}

fn known(hosts: &Hosts, clients: &[Client]) -> BTreeMap<EntryKey, Machine> {
    let entries = hosts.entries.keys().filter(|key| key.is_machine());
    let mut known: BTreeMap<EntryKey, Machine> =
        entries.map(|key| (key.clone(), by_key(key, hosts))).collect();
    // They tell their address, by which they may be in a group.
    for client in clients {
        let asker = wake::asker(client);
        let choice = choose(hosts, &asker);
        let Some(key) = choice.key.clone().or(asker.mac.map(EntryKey::Mac)) else { continue };
        known.insert(key.clone(), machine(key, &asker, hosts));
    }
    known
}

/// A machine of which nothing but its key is known.
fn by_key(key: &EntryKey, hosts: &Hosts) -> Machine {
    machine(key.clone(), &Asker::of(key), hosts)
}

fn machine(key: EntryKey, asker: &Asker, hosts: &Hosts) -> Machine {
    let choice = choose(hosts, asker);
    let lineage =
        choice.group.map(|group| hosts.lineage(&group).into_iter().map(|(name, _)| name.clone()).collect());
    Machine { key, name: choice.name, groups: lineage.unwrap_or_default(), mac: asker.mac }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bootspec::Heartbeat;

    #[test]
    fn words_and_machines() {
        let hosts: Hosts = toml::from_str(
            "[\"group:floor\"]\n[\"group:r\"]\nsubnet=[\"10.0.1.0/24\"]\ngroup=\"floor\"\n[\"group:empty\"]\n\
             [\"52:54:00:00:00:01\"]\nname=\"pc1\"\ngroup=\"r\"\n[\"serial:A\"]\nname=\"pc2\"\n[\"serial:B\"]\n",
        )
        .unwrap();
        let client = |id: &str, address: &str, serial: Option<&str>, hostname: &str| Client {
            heartbeat: Heartbeat {
                id: id.into(),
                address: Some(address.into()),
                hostname: Some(hostname.into()),
                ..Default::default()
            },
            serial: serial.map(str::to_owned),
            ..Default::default()
        };
        let clients = [
            client("52:54:00:00:00:02", "10.0.2.2", Some("A"), "x"),
            client("52:54:00:00:00:03", "10.0.1.3", None, "guest"),
        ];
        // Key, last byte of the MAC address, innermost group.
        let said = |words: &[&str]| -> Result<Vec<String>, String> {
            let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
            let shown = |m: &Machine| {
                let mac = m.mac.map_or("-".to_owned(), |m| m.0[5].to_string());
                let group = m.groups.first().map_or("-".to_owned(), ToString::to_string);
                format!("{} {mac} {group}", m.name.as_ref().map_or(m.key.to_string(), ToString::to_string))
            };
            Ok(machines(&words, &hosts, &clients)?.iter().map(shown).collect())
        };
        let guest = "52:54:00:00:00:03 3 r";
        for (words, want) in [
            (&["pc1"][..], &["pc1 1 r"][..]),
            (&["group:r", "pc1"], &["pc1 1 r", guest]),
            (&["floor"], &["pc1 1 r", guest]),
            (&["guest"], &[guest]),
            (&["52:54:00:00:00:02"], &["pc2 2 -"]),
            (&["52:54:00:00:00:99"], &["52:54:00:00:00:99 153 -"]),
            (&["pc[1-2]"], &["pc1 1 r", "pc2 2 -"]),
            (&["serial:B"], &["serial:B - -"]),
        ] {
            assert_eq!(said(words).unwrap(), want, "{words:?}");
        }
        for (words, why) in [
            (&[][..], "name a machine or a group"),
            (&["default"], "'default' is neither a machine nor a group: name those that you mean"),
            (&["pc1", "empty"], "no machine of group 'empty' is known: see `boottorrent host list`"),
        ] {
            assert_eq!(said(words), Err(why.into()));
        }
        assert!(said(&["nobody"]).unwrap_err().starts_with("no machine and no group is called 'nobody'"));
    }
}
