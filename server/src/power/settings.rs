// SPDX-License-Identifier: GPL-3.0-or-later
//! power.toml: the BMCs, and how to log in there. Read anew for each request, and never told to anybody.

use super::{
    address::{Address, Protocol},
    machines::Machine,
};
use crate::{
    config::toml_sentence,
    hosts::{EntryKey, Name},
};
use anyhow::{Context, Result, anyhow, bail};
use nix::unistd::{Group, getegid, geteuid};
use serde::{Deserialize, Deserializer, de::Error};
use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{ErrorKind, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// 10 000 machines with all that can be said of each are smaller.
const MAX_FILE: u64 = 4 << 20;
/// The group of the server's user, as the package makes it.
const SERVER_GROUP: &str = "_boottorrent";
/// What IPMI 2.0 has room for.
const MAX_IPMI: usize = 20;

/// A password. It is shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// For the BMC alone.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Password, D::Error> {
        // Of another type, it would be shown in the error.
        match toml::Value::deserialize(d)? {
            toml::Value::String(text) if !text.contains(['\0', '\n', '\r']) => Ok(Password(text)),
            _ => Err(D::Error::custom("a password is one line of text in quotes")),
        }
    }
}

/// What is said of a machine, of a group or of all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Section {
    bmc: Option<Address>,
    user: Option<String>,
    password: Option<Password>,
    /// The authority that has signed the BMC's certificate (PEM).
    ca: Option<PathBuf>,
    /// Whether any certificate will do.
    insecure: Option<bool>,
    /// The cipher suite of IPMI; none: ipmitool finds one out.
    cipher: Option<u8>,
}

/// Who somebody is for a BMC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The name.
    pub user: String,
    /// The password.
    pub password: Password,
}

/// A BMC, and how to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bmc {
    /// Where it is.
    pub address: Address,
    /// Who we are there.
    pub login: Login,
    /// The authority that has signed its certificate; none: one of those that this system knows.
    pub ca: Option<PathBuf>,
    /// Whether any certificate will do.
    pub insecure: bool,
    /// The cipher suite of IPMI.
    pub cipher: Option<u8>,
}

impl Bmc {
    /// It says nothing.
    pub fn silent(&self) -> String {
        format!("its BMC {} does not answer", self.address)
    }

    /// It does not let us in.
    pub fn refused(&self) -> String {
        format!("its BMC {} refuses user '{}' or the password", self.address, self.login.user)
    }
}

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PowerSettings {
    /// Where it is.
    pub path: PathBuf,
    sections: BTreeMap<String, Section>,
}

impl PowerSettings {
    /// Read it. Without it no BMC is known. Errors: others than root and this user may read or write it, or it cannot be
    /// understood.
    pub fn load(path: &Path) -> Result<PowerSettings> {
        let file = match File::open(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                return Ok(PowerSettings { path: path.to_owned(), ..PowerSettings::default() });
            }
            file => file.with_context(|| format!("opening {}", path.display()))?,
        };
        let meta = file.metadata().with_context(|| format!("opening {}", path.display()))?;
        let ours = meta.uid() == 0 || meta.uid() == geteuid().as_raw();
        if !ours || meta.mode() & 0o027 != 0 || (meta.mode() & 0o040 != 0 && !is_servers(meta.gid())) {
            bail!(
                "{0} has passwords, and others may read or change it: chown root:_boottorrent {0} && chmod 640 {0}",
                path.display()
            );
        }
        let mut text = String::new();
        file.take(MAX_FILE + 1)
            .read_to_string(&mut text)
            .with_context(|| format!("reading {}", path.display()))?;
        if text.len() as u64 > MAX_FILE {
            bail!("{} has more than {MAX_FILE} bytes", path.display());
        }
        let sections = parse(&text).map_err(|why| anyhow!("{}: {why}", path.display()))?;
        Ok(PowerSettings { path: path.to_owned(), sections })
    }

    /// How many BMCs it has.
    pub fn len(&self) -> usize {
        self.addresses().count()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether `ipmitool` is needed.
    pub fn needs_ipmitool(&self) -> bool {
        self.addresses().any(|address| address.protocol == Protocol::Ipmi)
    }

    fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.sections.values().filter_map(|section| section.bmc.as_ref())
    }

    /// A machine's BMC; none: it has none. Errors: nothing is said of how to log in there.
    pub fn bmc(&self, machine: &Machine) -> Result<Option<Bmc>, String> {
        let mac = machine.mac.map(|mac| mac.to_string());
        let own = [Some(machine.key.to_string()), mac, machine.name.as_ref().map(Name::to_string)];
        let groups = machine.groups.iter().map(|group| EntryKey::Group(group.clone()).to_string());
        let titles = own.into_iter().flatten().chain(groups).chain(["default".to_owned()]);
        let said: Vec<&Section> = titles.filter_map(|title| self.sections.get(&title)).collect();
        let Some(address) = said.iter().find_map(|s| s.bmc.clone()) else { return Ok(None) };
        let login =
            said.iter().find_map(|s| Some(Login { user: s.user.clone()?, password: s.password.clone()? }));
        let path = self.path.display();
        let login = login.ok_or_else(|| {
            format!(
                "{path} has no user and password for its BMC {address}: give them to it, its group or default"
            )
        })?;
        let long = login.password.reveal().len() > MAX_IPMI || login.user.len() > MAX_IPMI;
        if long && address.protocol == Protocol::Ipmi {
            return Err(format!(
                "user and password for its BMC {address} in {path} have more than {MAX_IPMI} characters: IPMI has no room for them"
            ));
        }
        // Of one section: another's `insecure` does not undo a machine's own `ca`.
        let trust = said.iter().find(|s| s.ca.is_some() || s.insecure.is_some());
        Ok(Some(Bmc {
            address,
            login,
            ca: trust.and_then(|s| s.ca.clone()),
            insecure: trust.and_then(|s| s.insecure).unwrap_or(false),
            cipher: said.iter().find_map(|s| s.cipher),
        }))
    }
}

/// Whether a group is root's, this user's, or the one of the server's user.
fn is_servers(gid: u32) -> bool {
    let server = || Group::from_name(SERVER_GROUP).ok().flatten();
    gid == 0 || gid == getegid().as_raw() || server().is_some_and(|group| group.gid.as_raw() == gid)
}

fn parse(text: &str) -> Result<BTreeMap<String, Section>, String> {
    let sections: BTreeMap<String, Section> = toml::from_str(text).map_err(|e| toml_sentence(text, &e))?;
    sections.into_iter().map(|(title, section)| check(title, section)).collect()
}

/// A section, under its title as it is looked for.
fn check(title: String, section: Section) -> Result<(String, Section), String> {
    let key = match (title.parse::<EntryKey>(), title.parse::<Name>()) {
        (Ok(key), _) => Some(key),
        (Err(_), Ok(_)) => None,
        (Err(why), Err(_)) => return Err(why),
    };
    let one = key.as_ref().is_none_or(EntryKey::is_machine);
    if section.bmc.is_some() && !one {
        return Err(format!("[{title}] has a bmc: only a machine can have one"));
    }
    if section.ca.is_some() && section.insecure == Some(true) {
        return Err(format!("[{title}] has both ca and insecure: leave one of them out"));
    }
    if section.user.is_some() != section.password.is_some() {
        return Err(format!("[{title}] has one of user and password: give both"));
    }
    if section
        .user
        .as_ref()
        .is_some_and(|u| u.is_empty() || u.starts_with('-') || u.contains(char::is_control))
    {
        return Err(format!("[{title}]: user is not a valid user name"));
    }
    Ok((key.map_or(title, |key| key.to_string()), section))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(key: &str, name: &str, groups: &[&str]) -> Machine {
        Machine {
            key: key.parse().unwrap(),
            name: name.parse().ok(),
            groups: groups.iter().map(|g| g.parse().unwrap()).collect(),
            mac: key.parse().ok(),
        }
    }

    #[test]
    fn the_nearest_counts() {
        let text = "[default]\nuser = \"all\"\npassword = \"a\"\ncipher = 3\n[\"group:r\"]\nuser = \"r\"\npassword = \"b\"\n\
            [pc1]\nbmc = \"ipmi://10.0.0.1\"\n[\"52-54-00-00-00-02\"]\nbmc = \"redfish://10.0.0.2\"\nuser = \"own\"\n\
            password = \"c\"\ninsecure = true\n[pc3]\nbmc = \"ipmi://10.0.0.3\"\ncipher = 17\n";
        let settings = PowerSettings { path: "p".into(), sections: parse(text).unwrap() };
        let of = |key: &str, name: &str, groups: &[&str]| settings.bmc(&machine(key, name, groups)).unwrap();
        let shown = |bmc: Bmc| {
            let Login { user, password } = bmc.login;
            (bmc.address.host, user, password.reveal().to_owned(), bmc.insecure, bmc.cipher)
        };
        let want = |host: &str, user: &str, password: &str, insecure, cipher| {
            (host.to_owned(), user.to_owned(), password.to_owned(), insecure, Some(cipher))
        };
        let one = shown(of("52:54:00:00:00:01", "pc1", &["r"]).unwrap());
        assert_eq!(one, want("10.0.0.1", "r", "b", false, 3));
        let two = of("52:54:00:00:00:02", "", &["r"]).unwrap();
        assert_eq!(two.address.protocol, Protocol::Redfish);
        assert!(!format!("{two:?}").contains("\"c\""), "{two:?}");
        assert_eq!(shown(two), want("10.0.0.2", "own", "c", true, 3));
        // What is said of all does not undo a machine's own certificate.
        let text = "[default]\nuser = \"u\"\npassword = \"p\"\ninsecure = true\n[pc1]\nbmc = \"redfish://x\"\nca = \"c.crt\"\n";
        let settings = PowerSettings { path: "p".into(), sections: parse(text).unwrap() };
        let bmc = settings.bmc(&machine("serial:A", "pc1", &[])).unwrap().unwrap();
        assert!(!bmc.insecure && bmc.ca.is_some());
        let three = shown(of("serial:A", "pc3", &[]).unwrap());
        assert_eq!(three, want("10.0.0.3", "all", "a", false, 17));
        assert_eq!(of("52:54:00:00:00:04", "pc4", &["r"]), None);
    }

    #[test]
    fn the_example_is_good() {
        let sections = parse(include_str!("../../../docs/power.toml")).unwrap();
        assert_eq!(PowerSettings { path: "p".into(), sections }.len(), 4);
    }

    #[test]
    fn what_is_refused_is_one_sentence_without_a_password() {
        for (text, why) in [
            ("[pc1]\npassword = 4711", "line 2: a password is one line of text in quotes"),
            ("[pc1]\npassword = \"hunter2", "line 2: invalid basic string, expected `\"`"),
            ("[pc1]\npassword = hunter2", "line 2: string values must be quoted, expected literal string"),
            ("[pc1]\nuser = \"hunter2\"", "[pc1] has one of user and password: give both"),
            ("[default]\nbmc = \"ipmi://hunter2\"", "[default] has a bmc: only a machine can have one"),
            ("[\"group:r\"]\nbmc = \"ipmi://x\"", "[group:r] has a bmc: only a machine can have one"),
            (
                "[pc1]\nbmc = \"ipmi://root:hunter2@x\"",
                "line 2: 'x' is not the address of a BMC: write it as in ipmi://10.0.0.7 or redfish://10.0.0.7, without user and password",
            ),
            (
                "[pc1]\npasswd = \"hunter2\"",
                "line 2: unknown key `passwd`, expected one of `bmc`, `user`, `password`, `ca`, `insecure`, `cipher`",
            ),
            (
                "[\"a b\"]",
                "'a b' is neither a machine nor a group: write a MAC address, a UUID, serial:NUMBER, group:NAME or default",
            ),
            ("[pc1]\nuser = \"-v\"\npassword = \"x\"", "[pc1]: user is not a valid user name"),
            (
                "[pc1]\nca = \"c.crt\"\ninsecure = true",
                "[pc1] has both ca and insecure: leave one of them out",
            ),
        ] {
            assert_eq!(parse(text), Err(why.to_owned()), "{text}");
        }
        let text = format!(
            "[pc1]\nbmc = \"ipmi://x\"\nuser = \"u\"\npassword = \"{}\"\n[pc2]\nbmc = \"ipmi://y\"",
            "h".repeat(21)
        );
        let settings = PowerSettings { path: "p".into(), sections: parse(&text).unwrap() };
        for (name, why) in [
            (
                "pc1",
                "user and password for its BMC x in p have more than 20 characters: IPMI has no room for them",
            ),
            ("pc2", "p has no user and password for its BMC y: give them to it, its group or default"),
        ] {
            assert_eq!(settings.bmc(&machine("serial:A", name, &[])), Err(why.to_owned()));
        }
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        use std::{fs, os::unix::fs::PermissionsExt};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("power.toml");
        assert!(PowerSettings::load(&path).unwrap().is_empty(), "it need not be there");
        fs::write(&path, "[pc1]\nbmc = \"ipmi://x\"").unwrap();
        for (mode, good) in [(0o600, true), (0o640, true), (0o644, false), (0o660, false), (0o604, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let loaded = PowerSettings::load(&path);
            assert_eq!(loaded.is_ok(), good, "{mode:o}: {loaded:?}");
        }
        if geteuid().is_root() {
            // Of a group that is neither root's nor the server's: `users` in Debian.
            nix::unistd::chown(&path, None, Some(100.into())).unwrap();
            for (mode, good) in [(0o600, true), (0o640, false)] {
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
                assert_eq!(PowerSettings::load(&path).is_ok(), good, "{mode:o}");
            }
        }
    }
}
