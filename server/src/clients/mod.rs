// SPDX-License-Identifier: GPL-3.0-or-later
//! The machines, as their heartbeats tell: what `status` shows. What machines
//! say is not trusted: it is bounded, and cleaned of what would upset a terminal. What is said by somebody who may not
//! be the machine ([`MachineProof::Nobodys`]) is shown, and decides and counts nothing.

mod boots;
mod bounds;
mod client;
mod order;
mod saved;
pub mod totals;

pub use boots::BootRecord;
pub use bounds::GONE_AFTER;
pub use client::{BootLoaderReport, Client, MachineProof, News, Refused};
pub use order::{Counts, by_need, name, natural};
pub use saved::{MachinesFile, SavedMachines};

use bounds::{MAX_MACHINES, MAX_WORD, clean};
use saved::{SavedMachine, kept_log};

use crate::clients::totals::Totals;
use bootspec::{Heartbeat, Phase, text::printable};
use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// A machine may tell this often.
const MIN_INTERVAL: Duration = Duration::from_millis(100);
/// So many machines behind one address are more than those of a room behind a router.
const CROWD: usize = 256;
/// Lines of log that are kept of a machine whose word nobody stands for.
const SHORT_LOG: usize = 5;
/// Changes of phase that may follow each other sooner than [`MIN_INTERVAL`].
const QUICK: u32 = 16;
/// Lines for the log that machines whose word nobody stands for have together, in a minute.
const LINES: u32 = 30;

struct Heard {
    /// Without its log: what is told of all machines should stay short.
    heartbeat: Heartbeat,
    log: Vec<String>,
    loader: BootLoaderReport,
    remote: IpAddr,
    first: Instant,
    last: Instant,
    word: MachineProof,
    /// Heartbeats that came sooner than they should, one after the other.
    quick: u32,
    /// Its last boots, if it is the machine that says so.
    boots: Vec<BootRecord>,
    /// The relay through which it reports.
    relay: Option<String>,
}

/// All machines.
pub struct Clients {
    machines: HashMap<String, Heard>,
    /// How many there are behind each address.
    behind: HashMap<IpAddr, usize>,
    totals: Totals,
    since: Instant,
    /// Lines that were said of machines that nobody stands for, since when.
    said: (Instant, u32),
    /// Whether more than numbers has changed since they were written down.
    changed: bool,
}

impl Default for Clients {
    fn default() -> Clients {
        let ((machines, behind, totals), since) = (Default::default(), Instant::now());
        Clients { machines, behind, totals, since, said: (since, 0), changed: false }
    }
}

impl Clients {
    /// Take a heartbeat.
    pub fn hear(
        &mut self,
        mut heartbeat: Heartbeat,
        remote: IpAddr,
        word: MachineProof,
        now: Instant,
    ) -> Result<(News, Heartbeat), Refused> {
        clean(&mut heartbeat, remote);
        let mut log = std::mem::take(&mut heartbeat.log);
        if !word.is_proven() {
            // Anybody can make up thousands.
            log.drain(..log.len().saturating_sub(SHORT_LOG));
        }
        log.iter_mut().for_each(String::shrink_to_fit);
        let quick = self.may_speak(&heartbeat, word, now).inspect_err(|_| self.totals.refused += 1)?;
        let full = self.make_room(&heartbeat.id, now)?;
        let known = self.machines.get(&heartbeat.id);
        let news = match known {
            Some(k) if k.heartbeat.phase == heartbeat.phase => News::None,
            // Strangers who come in crowds would fill the log as well.
            None if full => News::None,
            _ if !word.is_proven() && !may_say(&mut self.said, now) => News::None,
            _ => News::Phase,
        };
        let watched = now.saturating_duration_since(self.since).as_secs_f64();
        match word.is_proven() {
            true => {
                let before = known.filter(|k| k.word.is_proven()).map(|k| &k.heartbeat);
                self.totals.hear(before, &heartbeat, watched);
            }
            false => self.totals.heartbeats += 1,
        }
        let word = known.map_or(word, |k| word.after(k.word));
        let first = known.map_or(now, |k| k.first);
        let loader = known.map(|k| k.loader.clone()).unwrap_or_default();
        let mut boots = known.map(|k| k.boots.clone()).unwrap_or_default();
        if word.is_proven() {
            boots::heard(&mut boots, &heartbeat, known.map(|k| &k.heartbeat));
        }
        self.changed |= known.is_none_or(|k| k.heartbeat.phase != heartbeat.phase || k.boots != boots);
        let relay = known.and_then(|k| k.relay.clone());
        let heard = heartbeat.clone();
        let entry =
            Heard { heartbeat: heard, log, loader, remote, first, last: now, word, quick, boots, relay };
        self.put(heartbeat.id.clone(), entry);
        Ok((news, heartbeat))
    }

    /// Whether this may be a machine's next word; how many have come too soon, with it.
    fn may_speak(&self, heartbeat: &Heartbeat, word: MachineProof, now: Instant) -> Result<u32, Refused> {
        let Some(known) = self.machines.get(&heartbeat.id) else { return Ok(0) };
        let silent = now.saturating_duration_since(known.last);
        if !word.follows(known.word) && silent <= GONE_AFTER {
            return Err(Refused::NotTheMachine);
        }
        match silent < MIN_INTERVAL {
            false => Ok(0),
            // Who may be anybody does not keep the machine itself from speaking.
            true if word.is_proven() && !known.word.is_proven() => Ok(0),
            // A change is not lost, however soon it comes; but no boot has so many.
            true if known.heartbeat.phase != heartbeat.phase && known.quick < QUICK => Ok(known.quick + 1),
            true => Err(Refused::TooOften),
        }
    }

    /// What stands behind the last word of a machine.
    pub fn word(&self, id: &str) -> Option<MachineProof> {
        self.machines.get(id).map(|e| e.word)
    }

    fn put(&mut self, id: String, entry: Heard) {
        *self.behind.entry(entry.remote).or_default() += 1;
        if let Some(before) = self.machines.insert(id, entry) {
            self.left(before.remote);
        }
    }

    fn left(&mut self, remote: IpAddr) {
        if let Some(n) = self.behind.get_mut(&remote) {
            *n -= 1;
            if *n == 0 {
                self.behind.remove(&remote);
            }
        }
    }

    /// What all of them have told, summed.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// A boot loader has asked what to boot. If that was the machine itself, what it did before is over. Otherwise
    /// nothing changes, but that a machine is listed that was not known.
    pub fn asked(
        &mut self,
        mut loader: BootLoaderReport,
        remote: IpAddr,
        word: MachineProof,
        now: Instant,
    ) -> Result<(), Refused> {
        loader.mac = printable(&loader.mac, MAX_WORD);
        let words = [
            &mut loader.uuid,
            &mut loader.serial,
            &mut loader.platform,
            &mut loader.hostname,
            &mut loader.image,
        ];
        for word in words {
            *word = word.as_deref().map(|w| printable(w, MAX_WORD)).filter(|w| !w.is_empty());
        }
        if !word.is_proven() && self.machines.contains_key(&loader.mac) {
            return Ok(());
        }
        self.make_room(&loader.mac, now)?;
        let known = self.machines.get(&loader.mac);
        let heartbeat = Heartbeat {
            id: loader.mac.clone(),
            // The machine itself may have told a name before.
            hostname: loader.hostname.clone().or_else(|| known.and_then(|k| k.heartbeat.hostname.clone())),
            address: Some(loader.ip.unwrap_or(remote).to_string()),
            image: loader.image.clone(),
            phase: Phase::Loader,
            ..Heartbeat::default()
        };
        let first = known.map_or(now, |k| k.first);
        let word = known.map_or(word, |k| word.after(k.word));
        let mut boots = known.map(|k| k.boots.clone()).unwrap_or_default();
        if word.is_proven() {
            boots::asked(&mut boots, loader.image.as_deref());
        }
        self.changed = true;
        let relay = known.and_then(|k| k.relay.clone());
        let entry = Heard {
            heartbeat,
            log: Vec::new(),
            loader,
            remote,
            first,
            last: now,
            word,
            quick: 0,
            boots,
            relay,
        };
        self.put(entry.loader.mac.clone(), entry);
        Ok(())
    }

    /// A machine that has just spoken did so through this relay; none: it spoke to this server. Who may be anybody does
    /// not say so of a machine that has shown who it is.
    pub fn through(&mut self, id: &str, relay: Option<&str>, word: MachineProof) {
        let counts =
            |e: &&mut Heard| e.relay.as_deref() != relay && (word.is_proven() || !e.word.is_proven());
        if let Some(entry) = self.machines.get_mut(id).filter(counts) {
            entry.relay = relay.map(str::to_owned);
            self.changed = true;
        }
    }

    /// Room for one more machine, and whether one had to make it: the one that has been silent longest, if
    /// it is gone, or else of those behind one address, if that is a crowd. So who makes up machines only
    /// displaces its own.
    fn make_room(&mut self, id: &str, now: Instant) -> Result<bool, Refused> {
        if self.machines.contains_key(id) || self.machines.len() < MAX_MACHINES {
            return Ok(false);
        }
        let silent = |of: Option<IpAddr>| {
            let those = self.machines.iter().filter(|(_, e)| of.is_none_or(|a| e.remote == a));
            those.min_by_key(|(_, e)| e.last)
        };
        let gone = silent(None).filter(|(_, e)| now.saturating_duration_since(e.last) > GONE_AFTER);
        let crowd = self.behind.iter().max_by_key(|(_, n)| **n).filter(|(_, n)| **n >= CROWD);
        let leaver = gone.or_else(|| silent(Some(*crowd?.0))).map(|(id, _)| id.clone());
        match leaver.and_then(|id| self.machines.remove(&id)) {
            Some(entry) => self.left(entry.remote),
            None => {
                self.totals.refused += 1;
                return Err(Refused::TooMany);
            }
        }
        Ok(true)
    }

    /// The last lines that a machine has said, as far as it is known.
    pub fn log(&self, id: &str) -> Option<&[String]> {
        self.machines.get(id).map(|e| &e.log[..])
    }

    /// All machines, by id; their logs are told one by one.
    pub fn list(&self, now: Instant) -> Vec<Client> {
        let mut all: Vec<Client> = self.machines.values().map(|e| e.shown(now)).collect();
        all.sort_by(|a, b| a.heartbeat.id.cmp(&b.heartbeat.id));
        all
    }

    /// One machine, with the end of its log.
    pub fn one(&self, id: &str, now: Instant) -> Option<Client> {
        let entry = self.machines.get(id)?;
        let mut client = entry.shown(now);
        client.heartbeat.log = entry.log.clone();
        client.boots = entry.boots.clone();
        Some(client)
    }

    /// The newest boots of all machines, with whose they are: the newest first.
    pub fn last_boots(&self, many: usize) -> Vec<(String, BootRecord)> {
        let of = |(id, heard): (&String, &Heard)| {
            heard.boots.iter().map(|boot| (id.clone(), boot.clone())).collect::<Vec<_>>()
        };
        let mut all: Vec<(String, BootRecord)> = self.machines.iter().flat_map(of).collect();
        all.sort_by(|(a, one), (b, other)| other.at.cmp(&one.at).then(a.cmp(b)));
        all.truncate(many);
        all
    }

    /// All of them, to be written down. `None`: nothing but numbers has changed since they were asked for last.
    pub fn to_save(&mut self, now: Instant) -> Option<SavedMachines> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let millis = |since| now.saturating_duration_since(since).as_millis() as u64;
        let machine = |e: &Heard| SavedMachine {
            heartbeat: Heartbeat { log: kept_log(e.heartbeat.phase, &e.log), ..e.heartbeat.clone() },
            loader: e.loader.clone(),
            remote: e.remote,
            known: millis(e.first),
            silent: millis(e.last),
            word: e.word,
            boots: e.boots.clone(),
            relay: e.relay.clone(),
        };
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
        let machines = self.machines.values().map(machine).collect();
        Some(SavedMachines { at, machines, ..SavedMachines::default() })
    }

    /// The machines that a server knew before this one. While nobody listened, no machine has become silent.
    pub fn restore(&mut self, saved: SavedMachines, now: Instant) {
        let away = saved.since();
        for machine in saved.machines {
            let more = if machine.is_gone() { away } else { Duration::ZERO };
            // A computer that was switched on a moment ago has no instant that is so long ago.
            let ago = |ms| (Duration::from_millis(ms) + more).min(Duration::from_secs(10 * 365 * 86400));
            let back =
                |ms| now.checked_sub(ago(ms)).or_else(|| now.checked_sub(GONE_AFTER * 2)).unwrap_or(now);
            let SavedMachine { mut heartbeat, loader, remote, known, silent, word, boots, relay } = machine;
            let log = std::mem::take(&mut heartbeat.log);
            let (first, last) = (back(known), back(silent));
            let entry = Heard { heartbeat, log, loader, remote, first, last, word, quick: 0, boots, relay };
            self.put(entry.heartbeat.id.clone(), entry);
        }
    }

    /// Something has changed that should be written down once more.
    pub fn mark_changed(&mut self) {
        self.changed = true;
    }

    /// Those that have booted and give to others (`boottorrent.relay=`), if their word is proven and they were not silent for
    /// so long: who they are, their port, and from where they spoke.
    pub fn giving(&self, now: Instant, silence: Duration) -> impl Iterator<Item = (String, u16, IpAddr)> {
        let gives = move |(id, e): (&String, &Heard)| {
            let booted = matches!(e.heartbeat.phase, Phase::Seed | Phase::Streaming);
            let here = booted && e.word.is_proven() && now.saturating_duration_since(e.last) < silence;
            let port = e.heartbeat.relay_port.filter(|port| here && *port != 0)?;
            Some((id.clone(), port, e.remote))
        };
        self.machines.iter().filter_map(gives)
    }

    /// How many are not gone.
    pub fn present(&self, now: Instant) -> usize {
        let here = |e: &&Heard| now.saturating_duration_since(e.last) <= GONE_AFTER;
        self.machines.values().filter(here).count()
    }
}

impl Heard {
    fn shown(&self, now: Instant) -> Client {
        let age = now.saturating_duration_since(self.last);
        Client {
            heartbeat: self.heartbeat.clone(),
            remote: Some(self.remote),
            age: age.as_secs_f64(),
            known: now.saturating_duration_since(self.first).as_secs_f64(),
            gone: age > GONE_AFTER,
            proven: self.word.is_proven(),
            uuid: self.loader.uuid.clone(),
            serial: self.loader.serial.clone(),
            platform: self.loader.platform.clone(),
            relay: self.relay.clone(),
            ..Client::default()
        }
    }
}

/// Whether one more line may be said of those that nobody stands for.
fn may_say(said: &mut (Instant, u32), now: Instant) -> bool {
    if now.saturating_duration_since(said.0) >= Duration::from_secs(60) {
        *said = (now, 0);
    }
    said.1 += 1;
    said.1 <= LINES
}

#[cfg(test)]
mod tests;
