// SPDX-License-Identifier: GPL-3.0-or-later
//! What the admin changes in an entry, and what is refused.

use super::{
    entry::{HostEntry, Hosts, MAX_DEPTH},
    key::{EntryKey, Name},
};
use bootspec::{ImageName, ImageRef, Params, cmdline::check_append, smbios};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Parameters of one entry, and bytes of one parameter, at most.
const MAX_PARAMS: usize = 32;
const MAX_PARAM: usize = 256;
/// Entries at most.
const MAX_ENTRIES: usize = 10_000;

/// `PUT /api/v1/hosts/KEY`: what is given is set, what is in `unset` goes, all else stays.
/// A parameter takes the place of those with its name; `prefix` and `subnet` are replaced as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HostChange {
    /// What is set.
    pub set: HostEntry,
    /// What goes. First: a field can be cleared and set again.
    pub unset: Vec<Field>,
}

impl HostChange {
    /// The next boot, and only that one, is of this image.
    pub fn once(image: ImageRef) -> HostChange {
        HostChange { set: HostEntry { once: Some(image), ..HostEntry::default() }, unset: Vec::new() }
    }
}

/// A field of an [`HostEntry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Field {
    Name,
    Group,
    Image,
    Once,
    Menu,
    Params,
    Files,
    Private,
    Fingerprint,
    Prefix,
    Subnet,
}

impl Field {
    /// All of them.
    pub const ALL: [Field; 11] = [
        Field::Name,
        Field::Group,
        Field::Image,
        Field::Once,
        Field::Menu,
        Field::Params,
        Field::Files,
        Field::Private,
        Field::Fingerprint,
        Field::Prefix,
        Field::Subnet,
    ];

    fn clear(self, entry: &mut HostEntry) {
        match self {
            Field::Name => entry.name = None,
            Field::Group => entry.group = None,
            Field::Image => entry.image = None,
            Field::Once => entry.once = None,
            Field::Menu => entry.menu = None,
            Field::Params => entry.params.clear(),
            Field::Files => entry.files = None,
            Field::Private => entry.private = None,
            Field::Fingerprint => entry.fingerprint = None,
            Field::Prefix => entry.prefix.clear(),
            Field::Subnet => entry.subnet.clear(),
        }
    }

    /// Whether an entry says something of it.
    fn is_in(self, entry: &HostEntry) -> bool {
        let mut without = entry.clone();
        self.clear(&mut without);
        without != *entry
    }
}

/// What there is to boot: images and entries, each with its versions if it has any.
pub type Bootable = BTreeMap<ImageName, Vec<u32>>;

impl HostChange {
    /// The change that makes an entry as it is `now`, in the fields that this one touches.
    pub fn opposite(&self, now: &HostEntry) -> HostChange {
        let touches = |f: &Field| self.unset.contains(f) || f.is_in(&self.set);
        let (touched, others): (Vec<Field>, Vec<Field>) = Field::ALL.into_iter().partition(touches);
        let mut set = now.clone();
        others.into_iter().for_each(|field| field.clear(&mut set));
        HostChange { set, unset: touched }
    }

    /// Do it. `images`: those that there are. Errors: one sentence, and nothing was changed.
    pub fn apply(&self, hosts: &mut Hosts, key: &EntryKey, images: &Bootable) -> Result<(), String> {
        self.check(hosts, key, images)?;
        let entry = hosts.entries.entry(key.clone()).or_default();
        self.unset.iter().for_each(|field| field.clear(entry));
        let set = self.set.clone();
        entry.name = set.name.or(entry.name.take());
        entry.group = set.group.or(entry.group.take());
        entry.image = set.image.or(entry.image.take());
        entry.once = set.once.or(entry.once.take());
        entry.menu = set.menu.or(entry.menu);
        entry.files = set.files.or(entry.files);
        entry.private = set.private.or(entry.private);
        entry.fingerprint = set.fingerprint.or(entry.fingerprint);
        entry.params.retain(|p| !set.params.iter().any(|new| param_name(new) == param_name(p)));
        entry.params.extend(set.params);
        if !set.prefix.is_empty() {
            entry.prefix = set.prefix;
        }
        if !set.subnet.is_empty() {
            entry.subnet = set.subnet;
        }
        Ok(())
    }

    fn check(&self, hosts: &Hosts, key: &EntryKey, images: &Bootable) -> Result<(), String> {
        let set = &self.set;
        if !key.is_machine() && (set.name.is_some() || set.once.is_some()) {
            return Err(format!("'{key}' is not a machine: a name and a next boot are for one machine"));
        }
        if !key.is_machine() && set.fingerprint.is_some() {
            return Err(format!("'{key}' is not a machine: each machine has a key of its own"));
        }
        if let Some(sum) = &set.fingerprint {
            let other = hosts.entries.iter().find(|(k, e)| *k != key && e.fingerprint.as_ref() == Some(sum));
            if let Some((other, _)) = other {
                return Err(format!(
                    "{other} has this key already: `boottorrent host set {other} --clear fingerprint` if it is another \
                     machine now"
                ));
            }
        }
        if *key == EntryKey::Default && set.group.is_some() {
            return Err("'default' cannot be in a group: it is for machines that are in none".into());
        }
        let nobodys = match key {
            EntryKey::Serial(serial) => !smbios::is_serial(serial),
            EntryKey::Uuid(uuid) => !smbios::is_uuid(uuid),
            _ => false,
        };
        if nobodys {
            return Err(format!(
                "'{key}' is what boards without a number of their own say: name the machine by its MAC address"
            ));
        }
        let of_group = !set.prefix.is_empty() || !set.subnet.is_empty();
        if of_group && !matches!(key, EntryKey::Group(_)) {
            return Err(format!(
                "'{key}' is not a group: prefixes and subnets are for groups, as in group:room1"
            ));
        }
        if !hosts.entries.contains_key(key) && hosts.entries.len() >= MAX_ENTRIES {
            return Err(format!(
                "there are {MAX_ENTRIES} machines and groups already: put machines into a group by subnet"
            ));
        }
        set.image.iter().chain(&set.once).try_for_each(|image| check_image(image, images))?;
        if let Some(group) =
            set.group.as_ref().filter(|g| !hosts.entries.contains_key(&EntryKey::Group((*g).clone())))
        {
            return Err(format!(
                "there is no group '{group}' yet: make it with `boottorrent host set group:{group} --image NAME`"
            ));
        }
        if let (EntryKey::Group(inner), Some(group)) = (key, &set.group) {
            check_nesting(hosts, inner, group)?;
        }
        if let Some(name) = &set.name {
            let other = hosts.entries.iter().find(|(k, e)| *k != key && e.name.as_ref() == Some(name));
            if let Some((other, _)) = other {
                return Err(format!("{other} has the name '{name}' already: give another one"));
            }
        }
        if let Some(bad) = set.prefix.iter().find(|p| p.parse::<super::key::Name>().is_err()) {
            let bad = bootspec::text::printable(bad, 80);
            return Err(format!("'{bad}' is not a valid name prefix: use a-z A-Z 0-9 . _ - as in pc-"));
        }
        if set.params.len() > MAX_PARAMS || set.prefix.len() > MAX_PARAMS || set.subnet.len() > MAX_PARAMS {
            return Err(format!("'{key}' would get more than {MAX_PARAMS} values of one kind"));
        }
        set.params.iter().try_for_each(|p| check_param(p))
    }
}

/// Whether a group can be in another one.
fn check_nesting(hosts: &Hosts, inner: &Name, group: &Name) -> Result<(), String> {
    if hosts.is_within(group, inner) {
        return Err(format!(
            "group '{inner}' cannot be in group '{group}', which is the same group or in it"
        ));
    }
    match hosts.lineage(group).len() >= MAX_DEPTH {
        true => Err(format!("group '{inner}' would be in more than {MAX_DEPTH} groups")),
        false => Ok(()),
    }
}

/// Whether there is such an image, in such a version.
fn check_image(image: &ImageRef, images: &Bootable) -> Result<(), String> {
    let Some(versions) = images.get(&image.name) else {
        let names: Vec<&str> = images.keys().take(20).map(|n| n.as_str()).collect();
        let have = match names.is_empty() {
            true => "there are none".into(),
            false => format!("there are: {}", names.join(", ")),
        };
        return Err(format!("there is no image '{}': {have}", image.name));
    };
    match image.version {
        Some(version) if !versions.contains(&version) => {
            let versions: Vec<String> = versions.iter().map(u32::to_string).collect();
            let have = match versions.is_empty() {
                true => "it has no versions".into(),
                false => format!("its versions are {}", versions.join(", ")),
            };
            Err(format!("there is no version {version} of '{}': {have}", image.name))
        }
        _ => Ok(()),
    }
}

fn param_name(param: &str) -> &str {
    param.split('=').next().unwrap_or(param)
}

/// One kernel parameter, whose meaning is checked where it is ours.
fn check_param(param: &str) -> Result<(), String> {
    let shown = bootspec::text::printable(param, 80);
    if param.is_empty() || param.len() > MAX_PARAM || param.contains(char::is_whitespace) {
        return Err(format!("'{shown}' is not a valid kernel parameter: write NAME=VALUE without spaces"));
    }
    check_append(param)?;
    match Params::parse(param).1.first() {
        Some(remark) => Err(remark.to_string()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images() -> Bootable {
        [("lab", vec![1, 3]), ("exam", vec![1]), ("memtest", vec![])]
            .map(|(n, versions)| (n.parse().unwrap(), versions))
            .into()
    }

    fn change(json: &str) -> HostChange {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn sets_and_unsets() {
        let mut hosts = Hosts::default();
        let mut did = |key: &str, json: &str| {
            change(json).apply(&mut hosts, &key.parse().unwrap(), &images()).unwrap();
            toml::to_string(&hosts).unwrap()
        };
        did("group:r", r#"{"set":{"subnet":["10.0.1.7/24"],"image":"lab","menu":true}}"#);
        let text =
            did("52:54:00:00:00:01", r#"{"set":{"name":"pc1","group":"r","params":["a=1","a=2","b"]}}"#);
        assert_eq!(
            text,
            "[\"group:r\"]\nimage = \"lab\"\nmenu = true\nsubnet = [\"10.0.1.0/24\"]\n\n\
             [\"52:54:00:00:00:01\"]\nname = \"pc1\"\ngroup = \"r\"\nparams = [\"a=1\", \"a=2\", \"b\"]\n"
        );
        let text = did("52:54:00:00:00:01", r#"{"set":{"once":"exam","params":["a=3"]},"unset":["group"]}"#);
        assert!(text.ends_with("name = \"pc1\"\nonce = \"exam\"\nparams = [\"b\", \"a=3\"]\n"), "{text}");
    }

    #[test]
    fn refusals() {
        let mut hosts = Hosts::default();
        let pc1: EntryKey = "52:54:00:00:00:01".parse().unwrap();
        hosts.entries.insert(pc1.clone(), HostEntry { name: "pc1".parse().ok(), ..HostEntry::default() });
        let before = hosts.clone();
        for (key, json, why) in [
            (
                "group:r",
                r#"{"once":"lab"}"#,
                "'group:r' is not a machine: a name and a next boot are for one machine",
            ),
            (
                "default",
                r#"{"prefix":["p"]}"#,
                "'default' is not a group: prefixes and subnets are for groups, as in group:room1",
            ),
            (
                "default",
                r#"{"group":"r"}"#,
                "'default' cannot be in a group: it is for machines that are in none",
            ),
            ("default", r#"{"image":"x"}"#, "there is no image 'x': there are: exam, lab, memtest"),
            ("default", r#"{"image":"lab@2"}"#, "there is no version 2 of 'lab': its versions are 1, 3"),
            ("default", r#"{"image":"memtest@1"}"#, "there is no version 1 of 'memtest': it has no versions"),
            (
                "serial:1",
                r#"{"group":"r"}"#,
                "there is no group 'r' yet: make it with `boottorrent host set group:r --image NAME`",
            ),
            (
                "serial:1",
                r#"{"name":"pc1"}"#,
                "52:54:00:00:00:01 has the name 'pc1' already: give another one",
            ),
            (
                "group:r",
                r#"{"prefix":["-x"]}"#,
                "'-x' is not a valid name prefix: use a-z A-Z 0-9 . _ - as in pc-",
            ),
            (
                "default",
                r#"{"params":["a b"]}"#,
                "'a b' is not a valid kernel parameter: write NAME=VALUE without spaces",
            ),
            (
                "default",
                r#"{"params":["||"]}"#,
                "'||' are not valid kernel parameters: write them in one line without the words && || ; and without words that begin with #",
            ),
            (
                "default",
                r#"{"params":["boottorrent.sed=1"]}"#,
                "unknown kernel parameter boottorrent.sed: did you mean boottorrent.seed?",
            ),
        ] {
            let change = HostChange { set: serde_json::from_str(json).unwrap(), unset: Vec::new() };
            let refused = change.apply(&mut hosts, &key.parse().unwrap(), &images());
            assert_eq!(refused, Err(why.into()), "{key} {json}");
        }
        assert_eq!(hosts, before, "nothing was changed");
        assert!(hosts.find("pc1") == Ok(pc1));
        assert_eq!(
            hosts.find("pc2"),
            Err("no machine and no group is called 'pc2': write a MAC address, a UUID, serial:NUMBER, or group:pc2 for a new group".into())
        );
    }
}
