// SPDX-License-Identifier: GPL-3.0-or-later
//! The machines, as their heartbeats tell: what `status` shows. What machines
//! say is not trusted: it is bounded, and cleaned of what would upset a terminal. What is said by somebody who may not
//! be the machine ([`Word::Nobodys`]) is shown, and decides and counts nothing.

pub mod totals;

use crate::{clients::totals::Totals, hosts::Hosts};
use bootspec::{
    Heartbeat, ImageManifest, InfoHash, Phase,
    heartbeat::{LOG_LINE, LOG_LINES},
    manifest::Kind,
    text::printable,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

/// Machines remembered at most.
const MAX_MACHINES: usize = 4096;
/// A machine that has been silent for so long is gone.
pub const GONE_AFTER: Duration = Duration::from_secs(60);
/// A machine may tell this often.
const MIN_INTERVAL: Duration = Duration::from_millis(100);
/// So many machines behind one address are more than those of a room behind a router.
const CROWD: usize = 256;
/// The longest name, and the longest sentence, in bytes.
const MAX_WORD: usize = 100;
const MAX_SENTENCE: usize = 500;
const MAX_PHASES: usize = 16;
/// Lines of log that are kept of a machine whose word nobody stands for.
const SHORT_LOG: usize = 5;
/// Changes of phase that may follow each other sooner than [`MIN_INTERVAL`].
const QUICK: u32 = 16;
/// Lines for the log that machines whose word nobody stands for have together, in a minute.
const LINES: u32 = 30;

/// A machine, as `GET /api/v1/clients` tells it: its last heartbeat, and what the server knows beside it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Client {
    /// What it said last.
    #[serde(flatten)]
    pub heartbeat: Heartbeat,
    /// The address from which it spoke.
    pub remote: Option<IpAddr>,
    /// Seconds since it spoke.
    pub age: f64,
    /// Seconds since it was first heard.
    pub known: f64,
    /// Whether it has been silent for too long.
    pub gone: bool,
    /// Whether it is the machine that says this: its heartbeats carry the secret of its boot, or come from its card's
    /// address on our own link.
    #[serde(default)]
    pub proven: bool,
    /// The UUID of its firmware, if its boot loader has told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// The serial number of its firmware, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// What its firmware is, likewise: `pcbios`, `efi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// The name that the admin gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The group that counts for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The image that it boots the next time, if one was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What a machine's boot loader tells when it asks what to boot.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loader {
    /// The address of the interface that it boots from: what the machine is known by.
    pub mac: String,
    /// Its address.
    pub ip: Option<IpAddr>,
    /// Its UUID.
    pub uuid: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// What its firmware is.
    pub platform: Option<String>,
    /// The name that DHCP gave it.
    pub hostname: Option<String>,
    /// The image that it was told to boot; none where it was given a menu.
    pub image: Option<String>,
}

/// Why a heartbeat was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// This machine spoke a moment ago.
    TooOften,
    /// There are too many machines.
    TooMany,
    /// The machine itself has shown who it is, and this one has not.
    NotTheMachine,
}

/// What stands behind a machine's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// The secret of a boot that was made at this time.
    Secret(u64),
    /// The link: the address is that of the machine's card.
    Link,
    /// Nothing.
    Nobodys,
}

impl Word {
    fn is_proven(self) -> bool {
        self != Word::Nobodys
    }

    /// What stands behind a machine now. A secret of an earlier boot does not become good again.
    fn after(self, before: Word) -> Word {
        match (before, self) {
            (Word::Secret(then), Word::Link) => Word::Secret(then),
            _ => self,
        }
    }

    /// Whether who has shown `self` may speak after who has shown `before`.
    fn follows(self, before: Word) -> bool {
        match (before, self) {
            (Word::Secret(then), Word::Secret(now)) => now >= then,
            (before, now) => now.is_proven() || !before.is_proven(),
        }
    }
}

/// What a heartbeat changed, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Nothing but numbers.
    None,
    /// The machine is new, or in a new phase.
    Phase,
}

struct Entry {
    /// Without its log: what is told of all machines should stay short.
    heartbeat: Heartbeat,
    log: Vec<String>,
    loader: Loader,
    remote: IpAddr,
    first: Instant,
    last: Instant,
    word: Word,
    /// Heartbeats that came sooner than they should, one after the other.
    quick: u32,
}

/// All machines.
pub struct Clients {
    machines: HashMap<String, Entry>,
    /// How many there are behind each address.
    behind: HashMap<IpAddr, usize>,
    totals: Totals,
    since: Instant,
    /// Lines that were said of machines that nobody stands for, since when.
    said: (Instant, u32),
}

impl Default for Clients {
    fn default() -> Clients {
        let ((machines, behind, totals), since) = (Default::default(), Instant::now());
        Clients { machines, behind, totals, since, said: (since, 0) }
    }
}

impl Clients {
    /// Take a heartbeat.
    pub fn hear(
        &mut self,
        mut heartbeat: Heartbeat,
        remote: IpAddr,
        word: Word,
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
        let entry =
            Entry { heartbeat: heartbeat.clone(), log, loader, remote, first, last: now, word, quick };
        self.put(heartbeat.id.clone(), entry);
        Ok((news, heartbeat))
    }

    /// Whether this may be a machine's next word; how many have come too soon, with it.
    fn may_speak(&self, heartbeat: &Heartbeat, word: Word, now: Instant) -> Result<u32, Refused> {
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
    pub fn word(&self, id: &str) -> Option<Word> {
        self.machines.get(id).map(|e| e.word)
    }

    fn put(&mut self, id: String, entry: Entry) {
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
        mut loader: Loader,
        remote: IpAddr,
        word: Word,
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
        let entry = Entry { heartbeat, log: Vec::new(), loader, remote, first, last: now, word, quick: 0 };
        self.put(entry.loader.mac.clone(), entry);
        Ok(())
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
        Some(client)
    }

    /// How many are not gone.
    pub fn present(&self, now: Instant) -> usize {
        let here = |e: &&Entry| now.saturating_duration_since(e.last) <= GONE_AFTER;
        self.machines.values().filter(here).count()
    }
}

impl Entry {
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

/// Why an image cannot be removed: LTSP names it, machines run it, or are to boot it.
pub fn in_use(image: &ImageManifest, clients: &[Client], hosts: &Hosts) -> Option<String> {
    const SHOWN: usize = 20;
    if image.kind == Kind::Ltsp {
        return Some(format!(
            "image '{0}' is of LTSP, whose menu names it: `ltsp boottorrent disable {0}` removes it",
            image.name
        ));
    }
    let list = |mut names: Vec<String>| {
        let more = names.len().saturating_sub(SHOWN);
        names.truncate(SHOWN);
        let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{}{tail}", names.join(", "))
    };
    // Anybody may say of a machine that it runs an image.
    let runs = clients.iter().filter(|c| c.proven && c.runs(image.infohash));
    let machines: Vec<String> = runs
        .map(|c| c.name.clone().or(c.heartbeat.hostname.clone()).unwrap_or_else(|| c.heartbeat.id.clone()))
        .collect();
    let assigned = hosts.users(&image.name);
    match (machines.is_empty(), assigned.is_empty()) {
        (false, _) => Some(format!(
            "image '{}' is in use by {}: shut them down first, or give --force",
            image.name,
            list(machines)
        )),
        (true, false) => Some(format!(
            "image '{}' is what {} should boot: give them another one first, or give --force",
            image.name,
            list(assigned)
        )),
        (true, true) => None,
    }
}

impl Client {
    /// The phase for people.
    pub fn phase(&self) -> &'static str {
        match self.heartbeat.phase {
            _ if self.gone => "gone",
            phase => phase.as_str(),
        }
    }

    /// Whether it boots this image or runs it.
    pub fn runs(&self, infohash: InfoHash) -> bool {
        !self.gone && self.heartbeat.phase != Phase::Failed && self.heartbeat.infohash == Some(infohash)
    }
}

fn clean(h: &mut Heartbeat, remote: IpAddr) {
    h.id = printable(&h.id, MAX_WORD);
    if h.id.is_empty() {
        h.id = remote.to_string();
    }
    h.secret = None;
    h.version = printable(&h.version, MAX_WORD);
    for word in [&mut h.hostname, &mut h.address, &mut h.image] {
        *word = word.as_deref().map(|w| printable(w, MAX_WORD));
    }
    h.error = h.error.as_deref().map(|e| printable(e, MAX_SENTENCE));
    h.phases.truncate(MAX_PHASES);
    h.phases.shrink_to_fit();
    h.log.truncate(LOG_LINES);
    for line in &mut h.log {
        *line = printable(line, LOG_LINE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9));

    fn heartbeat(id: &str, phase: Phase) -> Heartbeat {
        Heartbeat { id: id.into(), phase, ..Default::default() }
    }

    #[test]
    fn remembers_the_last_word_and_notices_silence() {
        let (mut clients, start) = (Clients::default(), Instant::now());
        let at = |s: u64| start + Duration::from_secs(s);
        assert_eq!(
            clients.hear(heartbeat("a", Phase::Download), FROM, Word::Link, at(0)).unwrap().0,
            News::Phase
        );
        assert_eq!(
            clients.hear(heartbeat("a", Phase::Download), FROM, Word::Link, at(1)).unwrap().0,
            News::None
        );
        assert_eq!(
            clients.hear(heartbeat("a", Phase::Download), FROM, Word::Link, at(1)),
            Err(Refused::TooOften)
        );
        // A change is never lost, however soon it comes.
        assert_eq!(
            clients.hear(heartbeat("a", Phase::Seed), FROM, Word::Link, at(1)).unwrap().0,
            News::Phase
        );
        let list = clients.list(at(61));
        assert_eq!((list.len(), list[0].age, list[0].known, list[0].phase()), (1, 60.0, 61.0, "booted"));
        assert_eq!(clients.list(at(62))[0].phase(), "gone");
    }

    #[test]
    fn strangers_cannot_fill_it_or_write_to_the_terminal() {
        let (mut clients, start) = (Clients::default(), Instant::now());
        let (_, clean) =
            clients.hear(heartbeat("\x1b[2Ja\n\u{202e}b", Phase::Network), FROM, Word::Link, start).unwrap();
        assert_eq!(clean.id, "[2Jab");
        assert_eq!(
            clients.hear(heartbeat("\n", Phase::Network), FROM, Word::Link, start).unwrap().1.id,
            "10.0.0.9"
        );
        let from = |n: usize| IpAddr::from([10, 1, (n / 200) as u8, (n % 200) as u8]);
        for n in 2..MAX_MACHINES {
            clients.hear(heartbeat(&n.to_string(), Phase::Network), from(n), Word::Link, start).unwrap();
        }
        assert_eq!(
            clients.hear(heartbeat("x", Phase::Network), FROM, Word::Link, start),
            Err(Refused::TooMany)
        );
        let later = start + Duration::from_secs(61);
        assert!(clients.hear(heartbeat("x", Phase::Network), FROM, Word::Link, later).is_ok());
        assert_eq!(clients.list(later).len(), MAX_MACHINES);
        assert_eq!(clients.totals().refused, 1);
    }

    #[test]
    fn the_end_of_a_log_is_bounded_and_told_alone() {
        let (mut clients, start) = (Clients::default(), Instant::now());
        let log = (0..100).map(|n| format!("{n} \x1b[2J{}", "x".repeat(1000))).collect();
        clients.hear(Heartbeat { log, ..heartbeat("a", Phase::Download) }, FROM, Word::Link, start).unwrap();
        let log = clients.log("a").unwrap();
        assert_eq!((log.len(), log[0].len()), (LOG_LINES, LOG_LINE));
        assert!(log[0].starts_with("0 [2Jxx"), "{}", log[0]);
        assert!(clients.list(start)[0].heartbeat.log.is_empty());
        assert_eq!(clients.log("b"), None);
        // It starts again: what it said is over.
        clients.asked(Loader { mac: "a".into(), ..Loader::default() }, FROM, Word::Link, start).unwrap();
        assert_eq!(clients.log("a"), Some(&[][..]));
    }

    #[test]
    fn who_makes_up_machines_displaces_its_own() {
        let (mut clients, start) = (Clients::default(), Instant::now());
        let at = |ms: u64| start + Duration::from_millis(ms);
        clients
            .hear(heartbeat("real", Phase::Download), IpAddr::from([10, 0, 0, 1]), Word::Link, start)
            .unwrap();
        for n in 0..10_000 {
            clients
                .hear(heartbeat(&format!("made up {n}"), Phase::Network), FROM, Word::Link, at(1 + n))
                .unwrap();
        }
        let new = clients.hear(
            heartbeat("new", Phase::Network),
            IpAddr::from([10, 0, 0, 2]),
            Word::Link,
            at(20_000),
        );
        assert!(new.is_ok());
        let list = clients.list(at(20_000));
        assert_eq!(list.len(), MAX_MACHINES);
        assert!(["real", "new"].iter().all(|id| list.iter().any(|c| c.heartbeat.id == *id)));
        assert_eq!(clients.behind.values().sum::<usize>(), MAX_MACHINES);
    }

    #[test]
    fn a_machine_that_asks_for_its_script_is_there() {
        let (mut clients, start) = (Clients::default(), Instant::now());
        clients.hear(heartbeat("52:54:00:00:00:01", Phase::Seed), FROM, Word::Link, start).unwrap();
        let loader = Loader {
            mac: "52:54:00:00:00:01".into(),
            serial: Some("\x1b1".into()),
            hostname: Some(String::new()),
            image: Some("lab".into()),
            ..Loader::default()
        };
        clients.asked(loader, FROM, Word::Link, start).unwrap();
        let list = clients.list(start);
        let c = &list[0];
        assert_eq!((list.len(), c.phase(), c.serial.as_deref()), (1, "loader", Some("1")));
        assert_eq!(
            (c.heartbeat.image.as_deref(), c.heartbeat.address.as_deref()),
            (Some("lab"), Some("10.0.0.9"))
        );
        clients.hear(heartbeat("52:54:00:00:00:01", Phase::Network), FROM, Word::Link, start).unwrap();
        assert_eq!(clients.list(start)[0].serial.as_deref(), Some("1"), "it is still the same machine");
    }

    #[test]
    fn nobody_speaks_for_a_machine_that_has_shown_who_it_is() {
        let (mut clients, start) = (Clients::default(), Instant::now());
        let at = |s: u64| start + Duration::from_secs(s);
        let mut hear = |phase, word, s| {
            let heard = clients.hear(heartbeat("a", phase), FROM, word, at(s)).map(|(news, _)| news);
            (heard, clients.list(at(s))[0].heartbeat.phase, clients.totals().booted)
        };
        assert_eq!(
            hear(Phase::Seed, Word::Nobodys, 0),
            (Ok(News::Phase), Phase::Seed, 0),
            "it counts nothing"
        );
        assert_eq!(hear(Phase::Download, Word::Secret(5), 1), (Ok(News::Phase), Phase::Download, 0));
        for word in [Word::Nobodys, Word::Secret(4)] {
            assert_eq!(hear(Phase::Failed, word, 2).0, Err(Refused::NotTheMachine), "{word:?}");
        }
        assert_eq!(hear(Phase::Seed, Word::Secret(5), 3), (Ok(News::Phase), Phase::Seed, 1));
        assert_eq!(hear(Phase::Download, Word::Secret(6), 4).0, Ok(News::Phase), "a later boot");
        let loader = || Loader { mac: "a".into(), ..Loader::default() };
        clients.asked(loader(), FROM, Word::Nobodys, at(5)).unwrap();
        assert_eq!(clients.list(at(5))[0].heartbeat.phase, Phase::Download, "a question changes nothing");
        clients.asked(loader(), FROM, Word::Link, at(6)).unwrap();
        assert_eq!(clients.list(at(6))[0].heartbeat.phase, Phase::Loader);
        let image = ImageManifest { infohash: bootspec::InfoHash([7; 20]), ..serde_json::from_value(serde_json::json!({
            "name": "lab", "kind": "filesystem", "infohash": "07".repeat(20), "size": 1, "piece_length": 1, "kernel": {"size": 1, "from": "x"},
            "initrd": {"size": 1, "from": "x"}, "append": "", "added": "", "source": ""
        })).unwrap() };
        let runs = |proven| Client {
            heartbeat: Heartbeat { infohash: Some(image.infohash), ..heartbeat("a", Phase::Seed) },
            proven,
            ..Client::default()
        };
        assert!(in_use(&image, &[runs(true)], &Hosts::default()).is_some());
        assert_eq!(in_use(&image, &[runs(false)], &Hosts::default()), None);
    }

    #[test]
    fn a_phase_that_changes_all_the_time_is_bounded() {
        let (mut clients, start) = (Clients::default(), Instant::now());
        let phases = [Phase::Download, Phase::Root];
        let taken =
            (0..100).filter(|n| clients.hear(heartbeat("a", phases[n % 2]), FROM, Word::Link, start).is_ok());
        assert_eq!(taken.count(), QUICK as usize + 1);
        let lines = (0..100).filter(|n| {
            let heard = clients.hear(heartbeat(&n.to_string(), Phase::Root), FROM, Word::Nobodys, start);
            heard.unwrap().0 == News::Phase
        });
        assert_eq!(lines.count(), LINES as usize);
        assert_eq!(
            (printable("aäö€", 4), printable("aäö€", 5), printable("aäö€", 8)),
            ("aä".into(), "aäö".into(), "aäö€".into())
        );
    }

    #[test]
    fn crosses_json() {
        let client = Client {
            heartbeat: heartbeat("a", Phase::Seed),
            remote: Some(FROM),
            age: 1.5,
            known: 2.0,
            ..Client::default()
        };
        let json = serde_json::to_string(&client).unwrap();
        assert!(json.starts_with(r#"{"id":"a","#), "{json}");
        assert_eq!(serde_json::from_str::<Client>(&json).unwrap(), client);
    }
}
