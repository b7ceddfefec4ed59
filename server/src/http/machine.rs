// SPDX-License-Identifier: GPL-3.0-or-later
//! A machine's boot loader asks what to boot: decided here, rendered elsewhere.

use super::{Ends, State};
use crate::{
    clients::{Loader, text},
    hosts::{Asker, Choice, HostKey, Hosts, Mac, choose, key},
};
use bootspec::ImageName;
use serde::Deserialize;
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The query of `/boot.ipxe`. All of it is optional, and none of it is trusted.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// The address of the interface that it boots from.
    pub mac: Option<String>,
    /// What its firmware is.
    pub platform: Option<String>,
    /// The image that it wants, whatever was said.
    pub image: Option<String>,
    /// The UUID of its firmware.
    pub uuid: Option<String>,
    /// The serial number of its firmware.
    pub serial: Option<String>,
    /// Its address.
    pub ip: Option<String>,
    /// The name that DHCP gave it.
    pub hostname: Option<String>,
}

impl Asked {
    /// Who asks.
    pub fn asker(&self, ends: Ends) -> Asker {
        let ip = self.ip.as_deref().and_then(|a| a.parse::<IpAddr>().ok());
        Asker {
            mac: self.mac.as_deref().and_then(|m| m.parse().ok()),
            uuid: self.uuid.as_deref().and_then(key::uuid),
            serial: self.serial.as_deref().and_then(key::serial),
            ip: Some(ip.unwrap_or(ends.remote.ip())),
            hostname: self.hostname.as_deref().map(|h| text(h, 64)).filter(|h| !h.is_empty()),
        }
    }
}

/// What the machine boots; from now on it is in the list of machines.
/// A boot that is for one time counts as done: it is taken out of hosts.toml.
pub async fn decide(state: &Arc<State>, asked: &Asked, ends: Ends) -> Choice {
    let asker = asked.asker(ends);
    let mut choice = choose(&state.hosts(), &asker);
    if let Some(key) = choice.key.clone() {
        let now = Instant::now();
        if choice.once {
            choice = take_once(state, &key, &asker, choice, now).await;
        } else if let Some(image) = state.once.again(&key, now) {
            choice = Choice { image: Some(image), menu: false, once: true, ..choice };
        }
    }
    let wanted = asked.image.as_deref().filter(|i| !i.is_empty());
    if let Some(mac) = asker.mac {
        let loader = Loader {
            mac: mac.to_string(),
            ip: asker.ip,
            uuid: asker.uuid,
            serial: asker.serial,
            platform: asked.platform.clone(),
            hostname: asker.hostname,
            image: wanted
                .map(str::to_owned)
                .or_else(|| choice.image.as_ref().filter(|_| !choice.menu).map(|i| i.to_string())),
        };
        // Too many machines: this one boots all the same, and is not in the list.
        let _ = state.clients().asked(loader, ends.remote.ip(), Instant::now());
    }
    choice
}

fn forget_once(hosts: &mut Hosts, key: &HostKey) {
    if let Some(entry) = hosts.entries.get_mut(key) {
        entry.once = None;
    }
}

async fn take_once(state: &Arc<State>, key: &HostKey, asker: &Asker, choice: Choice, now: Instant) -> Choice {
    let (store, taken) = (state.store.clone(), key.clone());
    let written = tokio::task::spawn_blocking(move || {
        store.change(|hosts| {
            forget_once(hosts, &taken);
            Ok(())
        })
    });
    match written.await.map_err(anyhow::Error::from).and_then(|w| w) {
        Ok(hosts) => {
            state.set_hosts(hosts);
            if let Some(image) = &choice.image {
                state.once.start(key.clone(), asker.mac, image.clone(), now);
            }
            choice
        }
        Err(e) => {
            // Else it would be for every time.
            tracing::error!("{key} boots as usual, and not what it should boot once: {e:#}");
            let mut hosts = (*state.hosts()).clone();
            forget_once(&mut hosts, key);
            choose(&hosts, asker)
        }
    }
}

/// Boots that are for one time and have begun: until the agent speaks up, the boot loader
/// may ask again (a cable, a server that was started again), and gets the same.
#[derive(Default)]
pub struct Once {
    begun: Mutex<HashMap<HostKey, Begun>>,
}

struct Begun {
    mac: Option<Mac>,
    image: ImageName,
    since: Instant,
}

/// How long a boot loader may take to get kernel and initrd.
const GRACE: Duration = Duration::from_secs(300);

impl Once {
    fn start(&self, key: HostKey, mac: Option<Mac>, image: ImageName, since: Instant) {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.retain(|_, b| since.saturating_duration_since(b.since) < GRACE);
        begun.insert(key, Begun { mac, image, since });
    }

    fn again(&self, key: &HostKey, now: Instant) -> Option<ImageName> {
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.get(key).filter(|b| now.saturating_duration_since(b.since) < GRACE).map(|b| b.image.clone())
    }

    /// The agent on this machine has spoken: the next time that its boot loader asks is another boot.
    pub fn begun(&self, id: &str) {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        if !begun.is_empty() {
            let mac = id.parse::<Mac>().ok();
            begun.retain(|_, b| b.mac.is_none() || b.mac != mac);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_is_until_the_agent_speaks() {
        let (once, start) = (Once::default(), Instant::now());
        let mac: Mac = "52:54:00:00:00:01".parse().unwrap();
        let (key, image): (HostKey, ImageName) = (HostKey::Mac(mac), "lab".parse().unwrap());
        once.start(key.clone(), Some(mac), image.clone(), start);
        once.begun("52:54:00:00:00:02");
        assert_eq!(once.again(&key, start + Duration::from_secs(299)), Some(image.clone()));
        assert_eq!(once.again(&key, start + Duration::from_secs(300)), None);
        once.begun("52:54:00:00:00:01");
        assert_eq!(once.again(&key, start), None);
    }
}
