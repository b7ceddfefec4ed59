// SPDX-License-Identifier: GPL-3.0-or-later
//! The machines, as their heartbeats tell: what `status` shows. What machines
//! say is not trusted: it is bounded, and cleaned of what would upset a terminal.

use crate::watch::totals::Totals;
use bootspec::{Heartbeat, Phase};
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
/// The longest name, and the longest sentence.
const MAX_WORD: usize = 100;
const MAX_SENTENCE: usize = 1000;
const MAX_PHASES: usize = 32;

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
}

/// Why a heartbeat was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// This machine spoke a moment ago.
    TooOften,
    /// There are too many machines.
    TooMany,
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
    heartbeat: Heartbeat,
    remote: IpAddr,
    first: Instant,
    last: Instant,
}

/// All machines.
pub struct Clients {
    machines: HashMap<String, Entry>,
    /// How many there are behind each address.
    behind: HashMap<IpAddr, usize>,
    totals: Totals,
    since: Instant,
}

impl Default for Clients {
    fn default() -> Clients {
        let (machines, behind, totals) = Default::default();
        Clients { machines, behind, totals, since: Instant::now() }
    }
}

impl Clients {
    /// Take a heartbeat.
    pub fn hear(
        &mut self,
        mut heartbeat: Heartbeat,
        remote: IpAddr,
        now: Instant,
    ) -> Result<(News, Heartbeat), Refused> {
        clean(&mut heartbeat, remote);
        let known = self.machines.get(&heartbeat.id);
        if known.is_some_and(|k| {
            now.saturating_duration_since(k.last) < MIN_INTERVAL && k.heartbeat.phase == heartbeat.phase
        }) {
            self.totals.refused += 1;
            return Err(Refused::TooOften);
        }
        let full = known.is_none() && self.machines.len() >= MAX_MACHINES;
        if full && !self.make_room(now) {
            self.totals.refused += 1;
            return Err(Refused::TooMany);
        }
        let known = self.machines.get(&heartbeat.id);
        let news = match known {
            Some(k) if k.heartbeat.phase == heartbeat.phase => News::None,
            // Strangers who come in crowds would fill the log as well.
            None if full => News::None,
            _ => News::Phase,
        };
        let watched = now.saturating_duration_since(self.since).as_secs_f64();
        self.totals.hear(known.map(|k| &k.heartbeat), &heartbeat, watched);
        let first = known.map_or(now, |k| k.first);
        let entry = Entry { heartbeat: heartbeat.clone(), remote, first, last: now };
        if let Some(before) = self.machines.insert(heartbeat.id.clone(), entry) {
            self.left(before.remote);
        }
        *self.behind.entry(remote).or_default() += 1;
        Ok((news, heartbeat))
    }

    /// One makes room for a new one: the one that has been silent longest, if it is gone, or else of
    /// those behind one address, if that is a crowd. So who makes up machines only displaces its own.
    fn make_room(&mut self, now: Instant) -> bool {
        let silent = |of: Option<IpAddr>| {
            let those = self.machines.iter().filter(|(_, e)| of.is_none_or(|a| e.remote == a));
            those.min_by_key(|(_, e)| e.last)
        };
        let gone = silent(None).filter(|(_, e)| now.saturating_duration_since(e.last) > GONE_AFTER);
        let crowd = self.behind.iter().max_by_key(|(_, n)| **n).filter(|(_, n)| **n >= CROWD);
        let leaver = gone.or_else(|| silent(Some(*crowd?.0))).map(|(id, _)| id.clone());
        match leaver.and_then(|id| self.machines.remove(&id)) {
            Some(entry) => {
                self.left(entry.remote);
                true
            }
            None => false,
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

    /// All machines, by id.
    pub fn list(&self, now: Instant) -> Vec<Client> {
        let mut all: Vec<Client> = self
            .machines
            .values()
            .map(|e| {
                let age = now.saturating_duration_since(e.last);
                Client {
                    heartbeat: e.heartbeat.clone(),
                    remote: Some(e.remote),
                    age: age.as_secs_f64(),
                    known: now.saturating_duration_since(e.first).as_secs_f64(),
                    gone: age > GONE_AFTER,
                }
            })
            .collect();
        all.sort_by(|a, b| a.heartbeat.id.cmp(&b.heartbeat.id));
        all
    }
}

impl Client {
    /// The phase for people.
    pub fn phase(&self) -> &'static str {
        match self.heartbeat.phase {
            _ if self.gone => "gone",
            Phase::Seed => "booted",
            phase => phase.as_str(),
        }
    }
}

fn clean(h: &mut Heartbeat, remote: IpAddr) {
    h.id = text(&h.id, MAX_WORD);
    if h.id.is_empty() {
        h.id = remote.to_string();
    }
    h.version = text(&h.version, MAX_WORD);
    for word in [&mut h.hostname, &mut h.address, &mut h.image] {
        *word = word.as_deref().map(|w| text(w, MAX_WORD));
    }
    h.error = h.error.as_deref().map(|e| text(e, MAX_SENTENCE));
    h.phases.truncate(MAX_PHASES);
}

/// Without control characters (and those that turn text around), and not too long.
pub fn text(s: &str, limit: usize) -> String {
    let shown = |c: &char| {
        !c.is_control()
            && !matches!(c, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    s.chars().filter(shown).take(limit).collect()
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
        assert_eq!(clients.hear(heartbeat("a", Phase::Download), FROM, at(0)).unwrap().0, News::Phase);
        assert_eq!(clients.hear(heartbeat("a", Phase::Download), FROM, at(1)).unwrap().0, News::None);
        assert_eq!(clients.hear(heartbeat("a", Phase::Download), FROM, at(1)), Err(Refused::TooOften));
        // A change is never lost, however soon it comes.
        assert_eq!(clients.hear(heartbeat("a", Phase::Seed), FROM, at(1)).unwrap().0, News::Phase);
        let list = clients.list(at(61));
        assert_eq!((list.len(), list[0].age, list[0].known, list[0].phase()), (1, 60.0, 61.0, "booted"));
        assert_eq!(clients.list(at(62))[0].phase(), "gone");
    }

    #[test]
    fn strangers_cannot_fill_it_or_write_to_the_terminal() {
        let (mut clients, start) = (Clients::default(), Instant::now());
        let (_, clean) = clients.hear(heartbeat("\x1b[2Ja\n\u{202e}b", Phase::Network), FROM, start).unwrap();
        assert_eq!(clean.id, "[2Jab");
        assert_eq!(clients.hear(heartbeat("\n", Phase::Network), FROM, start).unwrap().1.id, "10.0.0.9");
        let from = |n: usize| IpAddr::from([10, 1, (n / 200) as u8, (n % 200) as u8]);
        for n in 2..MAX_MACHINES {
            clients.hear(heartbeat(&n.to_string(), Phase::Network), from(n), start).unwrap();
        }
        assert_eq!(clients.hear(heartbeat("x", Phase::Network), FROM, start), Err(Refused::TooMany));
        let later = start + Duration::from_secs(61);
        assert!(clients.hear(heartbeat("x", Phase::Network), FROM, later).is_ok());
        assert_eq!(clients.list(later).len(), MAX_MACHINES);
        assert_eq!(clients.totals().refused, 1);
    }

    #[test]
    fn who_makes_up_machines_displaces_its_own() {
        let (mut clients, start) = (Clients::default(), Instant::now());
        let at = |ms: u64| start + Duration::from_millis(ms);
        clients.hear(heartbeat("real", Phase::Download), IpAddr::from([10, 0, 0, 1]), start).unwrap();
        for n in 0..10_000 {
            clients.hear(heartbeat(&format!("made up {n}"), Phase::Network), FROM, at(1 + n)).unwrap();
        }
        let new = clients.hear(heartbeat("new", Phase::Network), IpAddr::from([10, 0, 0, 2]), at(20_000));
        assert!(new.is_ok());
        let list = clients.list(at(20_000));
        assert_eq!(list.len(), MAX_MACHINES);
        assert!(["real", "new"].iter().all(|id| list.iter().any(|c| c.heartbeat.id == *id)));
        assert_eq!(clients.behind.values().sum::<usize>(), MAX_MACHINES);
    }

    #[test]
    fn crosses_json() {
        let client = Client {
            heartbeat: heartbeat("a", Phase::Seed),
            remote: Some(FROM),
            age: 1.5,
            known: 2.0,
            gone: false,
        };
        let json = serde_json::to_string(&client).unwrap();
        assert!(json.starts_with(r#"{"id":"a","#), "{json}");
        assert_eq!(serde_json::from_str::<Client>(&json).unwrap(), client);
    }
}
