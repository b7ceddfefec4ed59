// SPDX-License-Identifier: GPL-3.0-or-later
//! `relays.toml` in the catalogue's folder: who may be a relay of this server, and for whom. A relay's token is not one of
//! those with which things are changed: it is good for what relays ask and tell, and for nothing else.

use crate::{files, hosts::Name, net::Subnet, token};
use anyhow::{Context, Result, anyhow, bail};
use bootspec::Sha256Sum;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};
use subtle::ConstantTimeEq;

/// Relays at most, and bytes of the file.
const MANY: usize = 500;
const MAX_FILE: usize = 1 << 20;
/// Subnets and groups of one, at most.
const EACH: usize = 64;

/// One relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownRelay {
    /// The SHA-256 of its token.
    pub sha256: Sha256Sum,
    /// Machines with such an address are sent to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subnet: Vec<Subnet>,
    /// And those in these groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub group: Vec<Name>,
}

/// All relays, by name.
pub type KnownRelays = BTreeMap<String, KnownRelay>;

/// The file.
#[derive(Clone, Debug)]
pub struct RelaysFile {
    dir: PathBuf,
}

impl RelaysFile {
    /// Of the server with this catalogue.
    pub fn at(catalogue: &Path) -> Self {
        Self { dir: catalogue.to_owned() }
    }

    fn path(&self) -> PathBuf {
        self.dir.join("relays.toml")
    }

    /// The relays that there may be.
    pub fn load(&self) -> Result<KnownRelays> {
        let path = self.path();
        let text = files::find_text(&path, MAX_FILE, "list of relays")?.unwrap_or_default();
        toml::from_str(&text).map_err(|e| anyhow!("{}: {}", path.display(), e.message()))
    }

    /// Add a relay, or give one of this name another token. The token, which nobody is told again.
    pub fn add(&self, name: &str, subnet: Vec<Subnet>, group: Vec<Name>) -> Result<String> {
        if subnet.len().max(group.len()) > EACH {
            bail!("relay '{name}' would get more than {EACH} subnets or groups");
        }
        let (text, sha256) = token::make()?;
        self.change(|relays| {
            if relays.len() >= MANY && !relays.contains_key(name) {
                bail!("there are {MANY} relays already: remove one with `boottorrent relay remove NAME`");
            }
            relays.insert(name.to_owned(), KnownRelay { sha256, subnet, group });
            Ok(())
        })?;
        Ok(text)
    }

    /// Remove a relay: its token is no longer valid. Errors: there is none of this name.
    pub fn remove(&self, name: &str) -> Result<()> {
        self.change(|relays| match relays.remove(name) {
            Some(_) => Ok(()),
            None if relays.is_empty() => bail!("there are no relays: see `boottorrent relay add --help`"),
            None => {
                let names: Vec<&str> = relays.keys().map(String::as_str).collect();
                bail!("there is no relay '{name}': there are {}", names.join(", "))
            }
        })
    }

    fn change(&self, change: impl FnOnce(&mut KnownRelays) -> Result<()>) -> Result<()> {
        files::make_dirs(&self.dir)?;
        let lock = self.dir.join(".relays.lock");
        let _lock = Flock::lock(files::lock_file(&lock)?, FlockArg::LockExclusive)
            .map_err(|(_, e)| anyhow!(e).context(format!("locking {}", lock.display())))?;
        let mut relays = self.load()?;
        change(&mut relays)?;
        let text = toml::to_string(&relays).context("writing the relays as TOML")?;
        files::replace(&self.path(), text.as_bytes(), 0o600)
    }

    /// Which relay a request comes from, by its `Authorization` header. The file is read each time: a relay that was
    /// removed is none at once.
    pub fn judge(&self, authorization: Option<&str>) -> Option<String> {
        let given = token::given(authorization)?;
        let relays = self.load().ok()?;
        // All of them are looked at: how long it takes says nothing.
        let is = |(name, relay): (&String, &KnownRelay)| {
            bool::from(relay.sha256.0.ct_eq(&given.0)).then(|| name.clone())
        };
        relays.iter().map(is).fold(None, |found, this| this.or(found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_token_is_a_relays_until_it_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let file = RelaysFile::at(dir.path());
        let bearer = |token: &str| format!("Bearer {token}");
        assert_eq!(file.judge(Some(&bearer(&"0".repeat(64)))), None);
        let east = file.add("east", vec!["10.0.1.0/24".parse().unwrap()], Vec::new()).unwrap();
        let west = file.add("west", Vec::new(), Vec::new()).unwrap();
        assert_eq!(file.judge(Some(&bearer(&east))).as_deref(), Some("east"));
        assert_eq!(file.judge(Some(&bearer(&west))).as_deref(), Some("west"));
        let text = std::fs::read_to_string(file.path()).unwrap();
        assert!(!text.contains(&east) && !text.contains(&west), "{text}");
        assert_eq!(std::fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
        let hash = file.load().unwrap()["east"].sha256.to_string();
        for wrong in [None, Some(east.clone()), Some(bearer(&hash)), Some(bearer(""))] {
            assert_eq!(file.judge(wrong.as_deref()), None, "{wrong:?}");
        }
        let again = file.add("east", Vec::new(), Vec::new()).unwrap();
        assert_eq!(file.judge(Some(&bearer(&east))), None, "another token has taken its place");
        file.remove("east").unwrap();
        assert_eq!(file.judge(Some(&bearer(&again))), None);
        assert_eq!(file.remove("east").unwrap_err().to_string(), "there is no relay 'east': there are west");
    }
}
