// SPDX-License-Identifier: GPL-3.0-or-later
//! What a machine that asks will boot. Decided from the entries alone: no I/O, and nothing of how it is rendered.

use super::{
    entry::{HostEntry, Hosts},
    key::{EntryKey, Mac, Name},
};
use bootspec::{HostName, ImageRef, Sha256Sum};
use std::net::IpAddr;

/// Who asks, as far as its boot loader tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asker {
    /// The address of the interface that it boots from.
    pub mac: Option<Mac>,
    /// The UUID of its firmware, lower case.
    pub uuid: Option<String>,
    /// The serial number of its firmware.
    pub serial: Option<String>,
    /// Its address.
    pub ip: Option<IpAddr>,
    /// The name that DHCP gave it.
    pub hostname: Option<String>,
}

impl Asker {
    /// The machine of an entry, as far as the entry's key tells; nobody for a group or `default`.
    pub fn of(key: &EntryKey) -> Asker {
        match key.clone() {
            EntryKey::Mac(mac) => Asker { mac: Some(mac), ..Asker::default() },
            EntryKey::Uuid(uuid) => Asker { uuid: Some(uuid), ..Asker::default() },
            EntryKey::Serial(serial) => Asker { serial: Some(serial), ..Asker::default() },
            EntryKey::Default | EntryKey::Group(_) => Asker::default(),
        }
    }
}

/// What it will boot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootChoice {
    /// The machine's own entry, where it has one.
    pub key: Option<EntryKey>,
    /// The machine's name.
    pub name: Option<Name>,
    /// The group that counted.
    pub group: Option<Name>,
    /// The image. None: nothing is set for this machine.
    pub image: Option<ImageRef>,
    /// Whether a menu comes first, in which `image` starts by itself.
    pub menu: bool,
    /// Whether `image` is for this one boot.
    pub once: bool,
    /// Kernel parameters: everybody's, then the groups', the nearest last, then the machine's with its name, for the last
    /// one counts.
    pub params: Vec<String>,
    /// Files over the image, in the order of the parameters.
    pub files: Vec<Sha256Sum>,
    /// The same of private ones.
    pub private: Vec<Sha256Sum>,
}

/// Decide. The machine's own entry goes before its group's, that before those of the groups that it is in, and these before
/// everybody's;
/// a MAC address before a UUID before a serial number.
pub fn choose(hosts: &Hosts, asker: &Asker) -> BootChoice {
    let keys = [
        asker.mac.map(EntryKey::Mac),
        asker.uuid.clone().map(EntryKey::Uuid),
        asker.serial.clone().map(EntryKey::Serial),
    ];
    let own = keys.into_iter().flatten().find_map(|k| hosts.entries.get_key_value(&k));
    let entry = own.map(|(_, e)| e);
    let name = entry.and_then(|e| e.name.clone());
    let group = group(hosts, entry, name.as_ref().map(Name::as_str), asker);
    let everybody = hosts.entries.get(&EntryKey::Default);
    let groups: Vec<&HostEntry> =
        group.map(|(name, _)| hosts.lineage(name)).unwrap_or_default().into_iter().map(|(_, e)| e).collect();

    let own_first = || entry.into_iter().chain(groups.iter().copied());
    let (image, menu) = match own_first().find_map(|e| e.image.clone()) {
        Some(image) => (Some(image), own_first().find_map(|e| e.menu).unwrap_or(false)),
        // What is for everybody is what the menu starts by itself, unless it was said that there is none.
        None => {
            let image = everybody.and_then(|e| e.image.clone());
            (image, own_first().chain(everybody).find_map(|e| e.menu).unwrap_or(true))
        }
    };
    let of = |e: Option<&HostEntry>| e.map(|e| e.params.clone()).unwrap_or_default();
    let of_groups = groups.iter().rev().flat_map(|e| e.params.clone()).collect();
    let params = [of(everybody), of_groups, hostname(name.as_ref()), of(entry)].concat();
    let layers = || everybody.into_iter().chain(groups.iter().rev().copied()).chain(entry);
    let files = layers().filter_map(|e| e.files).collect();
    let private = layers().filter_map(|e| e.private).collect();
    let once = entry.and_then(|e| e.once.clone());
    BootChoice {
        key: own.map(|(k, _)| k.clone()),
        name,
        group: group.map(|(n, _)| n.clone()),
        menu: menu && once.is_none(),
        once: once.is_some(),
        image: once.or(image),
        params,
        files,
        private,
    }
}

/// The private files of the machine with this key, and its entry. None: no machine's key was accepted that has this
/// fingerprint. By the entry alone: what a machine says of itself, its address and its name, puts it into no group here.
pub fn private_of(hosts: &Hosts, fingerprint: &Sha256Sum) -> Option<(EntryKey, Vec<Sha256Sum>)> {
    let (key, _) = hosts.entries.iter().find(|(_, e)| e.fingerprint.as_ref() == Some(fingerprint))?;
    Some((key.clone(), private_of_entry(hosts, key)))
}

/// The private files of the machine with this entry.
pub fn private_of_entry(hosts: &Hosts, key: &EntryKey) -> Vec<Sha256Sum> {
    match key.is_machine() {
        true => choose(hosts, &Asker::of(key)).private,
        false => Vec::new(),
    }
}

/// A machine's name is its host name, where it can be one.
fn hostname(name: Option<&Name>) -> Vec<String> {
    let name = name.and_then(|n| n.as_str().parse::<HostName>().ok());
    name.map(|n| format!("boottorrent.hostname={n}")).into_iter().collect()
}

/// The group of a machine: the one that it was put into, else the one with the longest prefix
/// that its name has, else the one with the smallest network that it is in.
fn group<'a>(
    hosts: &'a Hosts,
    entry: Option<&HostEntry>,
    name: Option<&str>,
    asker: &Asker,
) -> Option<(&'a Name, &'a HostEntry)> {
    let groups = || {
        hosts.entries.iter().filter_map(|(k, e)| match k {
            EntryKey::Group(name) => Some((name, e)),
            _ => None,
        })
    };
    if let Some(said) = entry.and_then(|e| e.group.as_ref()) {
        return groups().find(|(n, _)| *n == said);
    }
    let name = name.or(asker.hostname.as_deref());
    let prefix = |e: &HostEntry| {
        let fits = e.prefix.iter().filter(|p| name.is_some_and(|n| n.starts_with(p.as_str())));
        fits.map(|p| p.len()).max()
    };
    let subnet = |e: &HostEntry| {
        let Some(IpAddr::V4(ip)) = asker.ip else { return None };
        e.subnet.iter().filter(|s| s.has(ip)).map(|s| usize::from(s.prefix)).max()
    };
    let best = |by: &dyn Fn(&HostEntry) -> Option<usize>| {
        // Of equals the first one by name.
        groups().filter_map(|(n, e)| Some((by(e)?, (n, e)))).rev().max_by_key(|(len, _)| *len).map(|(_, g)| g)
    };
    best(&prefix).or_else(|| best(&subnet))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTS: &str = r#"
        [default]
        image = "lab"
        params = ["quiet", "a=0"]
        ["group:room1"]
        subnet = ["10.0.1.0/24"]
        image = "room"
        params = ["a=1"]
        ["group:desk"]
        subnet = ["10.0.1.64/28", "10.0.9.0/24"]
        menu = true
        ["group:pc"]
        prefix = ["pc-", "old-"]
        image = "pcs"
        menu = true
        ["group:pc-new"]
        prefix = ["pc-new"]
        image = "new"
        ["group:floor"]
        image = "floor"
        params = ["f=1", "a=5"]
        ["group:lost-room"]
        group = "floor"
        params = ["a=6"]
        ["group:round"]
        group = "about"
        ["group:about"]
        group = "round"
        ["52:54:00:00:00:05"]
        group = "lost-room"
        ["52:54:00:00:00:06"]
        group = "round"
        ["52:54:00:00:00:01"]
        name = "pc-1"
        image = "own"
        params = ["a=2"]
        ["52:54:00:00:00:02"]
        name = "pc-new2"
        once = "memtest"
        ["52:54:00:00:00:03"]
        group = "room1"
        menu = true
        ["52:54:00:00:00:04"]
        group = "lost"
        menu = false
        ["4c4c4544-0042-3510-8058-b4c04f565931"]
        image = "by-uuid"
        ["serial:X 1"]
        image = "by-serial"
    "#;

    /// MAC (last byte), UUID, serial, address, host name from DHCP → image, menu, once, group, parameters.
    #[test]
    fn table() {
        let hosts: Hosts = toml::from_str(HOSTS).unwrap();
        let uuid = "4c4c4544-0042-3510-8058-b4c04f565931";
        for (mac, id, serial, ip, hostname, want) in [
            (9, "", "", "10.0.2.1", "", "lab menu - quiet a=0"),
            (9, "", "", "10.0.1.1", "", "room room1 quiet a=0 a=1"),
            // The smaller network, which says nothing of an image.
            (9, "", "", "10.0.1.65", "", "lab menu desk quiet a=0"),
            (1, "", "", "10.0.1.1", "", "own menu pc quiet a=0 boottorrent.hostname=pc-1 a=2"),
            (2, "", "", "10.0.1.1", "", "memtest once pc-new quiet a=0 boottorrent.hostname=pc-new2"),
            (3, "", "", "10.9.9.9", "", "room menu room1 quiet a=0 a=1"),
            (4, "", "", "10.0.1.1", "", "lab - quiet a=0"),
            (5, "", "", "10.0.1.1", "", "floor lost-room quiet a=0 f=1 a=5 a=6"),
            (6, "", "", "10.0.1.1", "", "lab menu round quiet a=0"),
            (9, uuid, "X 1", "10.0.1.1", "", "by-uuid room1 quiet a=0 a=1"),
            (1, uuid, "X 1", "10.0.1.1", "", "own menu pc quiet a=0 boottorrent.hostname=pc-1 a=2"),
            (9, "", "X 1", "10.0.2.1", "", "by-serial - quiet a=0"),
            (9, "", "X 2", "10.0.2.1", "old-pc", "pcs menu pc quiet a=0"),
            (9, "", "", "fd00::1", "other", "lab menu - quiet a=0"),
        ] {
            let word = |w: &str| (!w.is_empty()).then(|| w.to_owned());
            let asker = Asker {
                mac: Some(Mac([0x52, 0x54, 0, 0, 0, mac])),
                uuid: word(id),
                serial: word(serial),
                ip: ip.parse().ok(),
                hostname: word(hostname),
            };
            let c = choose(&hosts, &asker);
            let mut got = vec![c.image.map_or("?".into(), |i| i.to_string())];
            got.extend(c.menu.then(|| "menu".into()));
            got.extend(c.once.then(|| "once".into()));
            got.push(c.group.map_or("-".into(), |g| g.to_string()));
            got.extend(c.params);
            assert_eq!(got.join(" "), want, "{asker:?}");
        }
    }

    #[test]
    fn private_files_are_for_the_accepted_key_and_the_groups_of_its_entry() {
        let sum = |n: u8| Sha256Sum([n; 32]);
        let text = format!(
            "[default]\nprivate=\"{}\"\n[\"group:room\"]\nprivate=\"{}\"\nprefix=[\"pc-\"]\n[\"group:net\"]\nsubnet=[\"10.0.0.0/8\"]\n\
             private=\"{}\"\n[\"52:54:00:00:00:01\"]\nname=\"pc-1\"\nprivate=\"{}\"\nfingerprint=\"{}\"\n\
             [\"serial:X 1\"]\nfingerprint=\"{}\"\n",
            sum(1),
            sum(2),
            sum(3),
            sum(4),
            sum(8),
            sum(9)
        );
        let hosts: Hosts = toml::from_str(&text).unwrap();
        let of = |n| private_of(&hosts, &sum(n)).map(|(key, sums)| (key.to_string(), sums));
        assert_eq!(of(8), Some(("52:54:00:00:00:01".into(), vec![sum(1), sum(2), sum(4)])));
        // In no group by an address that it could have said.
        assert_eq!(of(9), Some(("serial:X 1".into(), vec![sum(1)])));
        assert_eq!(of(7), None);
    }

    #[test]
    fn nothing_said_is_a_menu() {
        let choice = choose(&Hosts::default(), &Asker::default());
        assert_eq!(choice, BootChoice { menu: true, ..BootChoice::default() });
    }
}
