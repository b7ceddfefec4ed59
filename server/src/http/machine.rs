// SPDX-License-Identifier: GPL-3.0-or-later
//! A machine's boot loader asks what to boot: decided here, rendered elsewhere.

use super::ends::Ends;
use crate::{
    clients::{BootLoaderReport, MachineProof},
    hosts::{Asker, BootChoice, EntryKey, HostChange, Mac, choose, key},
    neighbours::LinkVerdict,
    relay::told::{OnceDone, Said, Word},
    state::ServerState,
    ticket::Ticket,
    wake,
};
use anyhow::{Context, anyhow};
use bootspec::{Architecture, ImageRef, params::BootSecret, smbios, text::printable};
use serde::Deserialize;
use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// The query of `/boot.ipxe`. All of it is optional, and none of it is trusted.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct BootQuery {
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
    /// The card that it boots from: iPXE's `busid`.
    pub card: Option<String>,
    /// What it is: iPXE's `buildarch`, GRUB's `grub_cpu`.
    pub arch: Option<String>,
    /// `none`: it has asked the relays, or comes from one.
    pub relay: Option<String>,
}

impl BootQuery {
    /// The image or entry that it asks for by name.
    pub fn wanted(&self) -> Option<&str> {
        self.image.as_deref().filter(|name| !name.is_empty())
    }

    /// What it is.
    pub fn architecture(&self) -> Architecture {
        Architecture::of_boot_loader(self.arch.as_deref())
    }

    /// Who asks.
    pub fn asker(&self, ends: Ends) -> Asker {
        let ip = self.ip.as_deref().and_then(|a| a.parse::<IpAddr>().ok());
        Asker {
            mac: self.mac.as_deref().and_then(|m| m.parse().ok()),
            uuid: self.uuid.as_deref().and_then(key::uuid).filter(|u| smbios::is_uuid(u)),
            serial: self.serial.as_deref().and_then(key::serial).filter(|s| smbios::is_serial(s)),
            ip: Some(ip.unwrap_or(ends.remote.ip())),
            hostname: self.hostname.as_deref().map(|h| printable(h, 64)).filter(|h| !h.is_empty()),
        }
    }
}

/// What a machine is told.
pub struct Decided {
    /// What it boots.
    pub choice: BootChoice,
    /// The secret of this boot. None: nobody could say that this is the machine, or it did not say which it is.
    pub secret: Option<BootSecret>,
}

/// What the machine boots. To ask changes nothing that counts: a boot that is for one time counts as done when the agent
/// speaks with the secret ([`spoke`]). A machine that is not known yet is in the list from now on.
pub fn decide(state: &ServerState, asked: &BootQuery, ends: Ends) -> Decided {
    let asker = asked.asker(ends);
    let choice = choose(&state.hosts(), &asker);
    let Some(mac) = asker.mac else { return Decided { choice, secret: None } };
    let word = match state.neighbours.ask(ends.remote.ip(), ends.local.ip(), mac) {
        LinkVerdict::Agrees => MachineProof::Link,
        LinkVerdict::Elsewhere => MachineProof::Nobodys,
        // Somebody else asks in its name.
        LinkVerdict::Denies => return Decided { choice, secret: None },
    };
    let once = choice.image.as_ref().filter(|_| choice.once);
    let secret = Some(state.tickets.issue(mac, once));
    let loader = BootLoaderReport {
        mac: mac.to_string(),
        ip: asker.ip,
        uuid: asker.uuid,
        serial: asker.serial,
        platform: asked.platform.clone(),
        hostname: asker.hostname,
        image: asked
            .wanted()
            .map(str::to_owned)
            .or_else(|| choice.image.as_ref().filter(|_| !choice.menu).map(|i| i.to_string())),
    };
    if let Some(here) = &state.here {
        let said = Said::Loader(Box::new(loader.clone()));
        here.heard(Word { remote: ends.remote.ip(), proof: word, said });
    }
    let mut clients = state.clients();
    let id = loader.mac.clone();
    // Too many machines: this one boots all the same, and is not in the list.
    if clients.asked(loader, ends.remote.ip(), word, Instant::now()).is_ok() {
        clients.through(&id, None, word);
    }
    drop(clients);
    Decided { choice, secret }
}

/// By what a machine is known that says `id` from `remote`: the address of its card, or else its own address. `None`: it
/// is neither, and could be read as another kind of name somewhere.
pub fn id(id: &str, remote: IpAddr) -> Option<String> {
    // Cards of InfiniBand have longer addresses.
    let pairs = |id: &str| id.split(':').all(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()));
    match id {
        "" => Some(remote.to_string()),
        id if id.parse::<IpAddr>().is_ok() => Some(remote.to_string()),
        id => match id.parse::<Mac>() {
            Ok(mac) => Some(mac.to_string()),
            Err(_) => {
                (17..60).contains(&id.len()).then_some(id).filter(|i| pairs(i)).map(str::to_ascii_lowercase)
            }
        },
    }
}

/// What stands behind a heartbeat, and what its secret says.
pub fn word(
    state: &ServerState,
    id: &str,
    secret: Option<&str>,
    ends: Ends,
) -> (MachineProof, Option<Ticket>) {
    let Ok(mac) = id.parse::<Mac>() else { return (MachineProof::Nobodys, None) };
    if let Some(ticket) = secret.and_then(|s| state.tickets.read(mac, s)) {
        return (MachineProof::Secret(ticket.at), Some(ticket));
    }
    let word = match state.neighbours.ask(ends.remote.ip(), ends.local.ip(), mac) {
        LinkVerdict::Agrees => MachineProof::Link,
        LinkVerdict::Elsewhere | LinkVerdict::Denies => MachineProof::Nobodys,
    };
    (word, None)
}

/// How old the secret of a boot may be when its agent speaks for the first time.
const LOADING: Duration = Duration::from_secs(3600);

/// The agent has spoken for the first time in a boot that may have been for one time: then that is done.
pub async fn spoke(state: &Arc<ServerState>, id: &str, ticket: Ticket) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Else a server that was started again would take a machine that runs for one that boots.
    if now.saturating_sub(Duration::from_millis(ticket.at)) > LOADING {
        return;
    }
    let Some(client) = state.clients().one(id, Instant::now()) else { return };
    let choice = choose(&state.hosts(), &wake::asker(&client));
    let is_it = choice.once && choice.image.as_ref().is_some_and(|image| ticket.is_once(image));
    let Some(key) = choice.key.filter(|_| is_it) else { return };
    let (store, taken) = (state.store.clone(), key.clone());
    let told = state.here.clone().zip(choice.image);
    let written = tokio::task::spawn_blocking(move || {
        if let Some((here, image)) = told {
            here.once(OnceDone { key: taken.clone(), image })?;
        }
        store.change(|hosts| {
            if let Some(entry) = hosts.entries.get_mut(&taken) {
                entry.once = None;
            }
            Ok(())
        })
    });
    match written.await.map_err(anyhow::Error::from).and_then(|w| w) {
        Ok(hosts) => state.set_hosts(hosts),
        Err(e) => tracing::error!(
            "{key} has booted what it should boot once, and that cannot be written down: {e:#}"
        ),
    }
}

/// The machine boots this image the next time, and only then.
pub async fn boots_once(state: &Arc<ServerState>, id: &str, image: ImageRef) -> anyhow::Result<()> {
    let client = state.clients().one(id, Instant::now()).context("the machine is not known")?;
    let mac: Mac = id.parse().map_err(|why| anyhow!("{why}"))?;
    let key = choose(&state.hosts(), &wake::asker(&client)).key.unwrap_or(EntryKey::Mac(mac));
    let (disk, change) = (state.disk(), HostChange::once(image));
    state.set_hosts(tokio::task::spawn_blocking(move || disk.set_host(&key, &change)).await??);
    Ok(())
}

/// A machine does not boot this image once after all, if nobody has set another one meanwhile.
pub async fn boots_no_more(state: &Arc<ServerState>, id: &str, image: &ImageRef) -> anyhow::Result<()> {
    let client = state.clients().one(id, Instant::now()).context("the machine is not known")?;
    let mac: Mac = id.parse().map_err(|why| anyhow!("{why}"))?;
    let key = choose(&state.hosts(), &wake::asker(&client)).key.unwrap_or(EntryKey::Mac(mac));
    let (store, image) = (state.store.clone(), image.clone());
    let written = tokio::task::spawn_blocking(move || {
        store.change(|hosts| {
            if let Some(entry) = hosts.entries.get_mut(&key).filter(|e| e.once.as_ref() == Some(&image)) {
                entry.once = None;
            }
            Ok(())
        })
    });
    state.set_hosts(written.await??);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_machine_says_of_itself_is_no_other_kind_of_name() {
        let remote: IpAddr = "10.0.0.9".parse().unwrap();
        let is = |text: &str| id(text, remote);
        assert_eq!(is("52-54-00-00-00-0A").as_deref(), Some("52:54:00:00:00:0a"));
        assert_eq!((is("").as_deref(), is("10.0.0.1").as_deref()), (Some("10.0.0.9"), Some("10.0.0.9")));
        let long = ["80"; 20].join(":");
        assert_eq!(is(&long), Some(long));
        for other in [
            "default",
            "group:lab",
            "serial:1",
            "4c4c4544-0042-3510-8052-b4c04f564433",
            "pc-07",
            "52:54",
            "a:b",
        ] {
            assert_eq!(is(other), None, "{other}");
        }
        for text in ["", "::1", "52:54:00:00:00:01"] {
            let key = is(text).unwrap().parse::<EntryKey>();
            assert!(key.is_err() || key.unwrap().is_machine(), "{text}");
        }
    }
}
