// SPDX-License-Identifier: GPL-3.0-or-later
//! From the calendar to orders: which machines are given one now. Decisions only; whoever asks looks at the clock.

use super::board::{Board, Placed};
use crate::{
    clients::Client,
    hosts::{Hosts, Mac, ScheduleEntry, schedule::moments::between},
};
use bootspec::{
    InfoHash, Phase,
    order::{Action, Stage},
    trust::Version,
};
use chrono::TimeZone;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// How often one machine is given the order of one time: more than once only if it has booted again meanwhile.
const TRIES: u32 = 3;
/// Seconds after which a time that is over is forgotten. A clock that is set back by less repeats nothing.
const KEPT: u64 = 48 * 3600;
/// Orders that are remembered at most.
const MOST: usize = 4 * super::MANY;

/// One time of one entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Occurrence {
    /// When.
    pub at: Version,
    /// The entry's name.
    pub name: String,
    /// What machines do: an entry that says something else is another one.
    pub what: String,
}

/// An occurrence whose time has come, or is near.
#[derive(Clone, Debug)]
pub struct Due {
    /// Which it is.
    pub occurrence: Occurrence,
    /// Until when it counts.
    pub expires: Version,
    /// What it says.
    pub entry: ScheduleEntry,
}

/// The order that a machine was given.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Given {
    id: String,
    made: Version,
    expires: Version,
    tries: u32,
}

/// What was given to whom.
#[derive(Debug, Default)]
pub struct Calendar {
    given: BTreeMap<(Occurrence, String), Given>,
    /// Machines with an order by hand that were told of in the log.
    told: BTreeSet<(Occurrence, String)>,
    changed: bool,
}

/// An order on the disk. Times are in seconds since 1970.
#[derive(Serialize, Deserialize)]
pub struct SavedGift {
    at: u64,
    name: String,
    what: String,
    machine: String,
    id: String,
    made: u64,
    expires: u64,
    tries: u32,
}

/// What decisions are made of.
pub struct Look<'a> {
    /// What is due.
    pub due: &'a [Due],
    /// The machines that an entry is for.
    pub machines: &'a dyn Fn(&[String]) -> BTreeSet<Mac>,
    /// The torrent of the image that an entry switches to, as it is now.
    pub infohash: &'a dyn Fn(&ScheduleEntry) -> Option<InfoHash>,
    /// The machines that are known.
    pub clients: &'a [Client],
    /// Their orders.
    pub board: &'a Board,
    /// Now.
    pub now: Version,
}

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// By the number of what is due: the machines that are given its order.
    pub give: BTreeMap<usize, BTreeSet<Mac>>,
    /// Machines whose order is taken back, since the calendar does not say it any more.
    pub take_back: BTreeSet<String>,
    /// Sentences for the log.
    pub notes: Vec<String>,
}

/// What is due at a moment, in order of time.
pub fn due<Tz: TimeZone>(hosts: &Hosts, zone: &Tz, now: Version) -> Vec<Due> {
    let seconds = |minutes: u32| u64::from(minutes) * 60;
    let of = |(name, entry): (&crate::hosts::Name, &ScheduleEntry)| {
        let from = Version(now.0.saturating_sub(seconds(entry.within)));
        let until = Version(now.0.saturating_add(seconds(entry.lead)));
        let what = format!("{} {} {} {}", entry.what(), entry.within, entry.wait_for_users, entry.message);
        let occurrence = |at| Occurrence { at, name: name.to_string(), what: what.clone() };
        let make = move |at: Version| Due {
            occurrence: occurrence(at),
            expires: Version(at.0 + seconds(entry.within)),
            entry: entry.clone(),
        };
        between(entry, zone, from, until).into_iter().map(make).collect::<Vec<_>>()
    };
    let mut all: Vec<Due> = hosts.schedule.iter().flat_map(of).collect();
    all.sort_by(|a, b| a.occurrence.cmp(&b.occurrence));
    all
}

/// When a machine's kernel started, by the server's clock. None: it is not up, or not there.
fn booted(client: &Client, now: Version) -> Option<Version> {
    let h = &client.heartbeat;
    let up = client.age + h.uptime + h.kernel_uptime;
    let is_up = !client.gone && client.proven && h.phase == Phase::Seed && up.is_finite() && up >= 0.0;
    is_up.then(|| Version(now.0.saturating_sub(up as u64)))
}

impl Calendar {
    /// What is to be done now.
    pub fn decide(&mut self, look: &Look<'_>) -> Decision {
        let mut decision = Decision::default();
        let mut theirs: BTreeMap<Mac, Vec<usize>> = BTreeMap::new();
        for (n, due) in look.due.iter().enumerate() {
            for mac in (look.machines)(&due.entry.who) {
                theirs.entry(mac).or_default().push(n);
            }
        }
        // Before some of them are taken back.
        let ours: HashSet<String> = self.given.values().map(|g| g.id.clone()).collect();
        self.take_back(look, &theirs, &mut decision);
        let by_id: HashMap<&str, &Client> =
            look.clients.iter().map(|c| (c.heartbeat.id.as_str(), c)).collect();
        for (mac, all) in theirs {
            let id = mac.to_string();
            let Some(client) = by_id.get(id.as_str()) else { continue };
            let Some(booted) = booted(client, look.now) else { continue };
            let machine = Machine { id: &id, client, booted };
            // The newest that has begun, until it is over for this machine; then the one that comes next.
            let begun = all.iter().rev().find(|n| look.due[**n].occurrence.at <= look.now);
            let coming = all.iter().find(|n| look.due[**n].occurrence.at > look.now);
            let begun = begun.filter(|n| !self.is_settled(look, &look.due[**n], &machine));
            if let Some(n) = begun.or(coming)
                && self.gives(look, &look.due[*n], &machine, &ours, &mut decision.notes)
            {
                decision.give.entry(*n).or_default().insert(mac);
            }
        }
        self.forget(look.now);
        decision
    }

    /// Orders that are still on their way, and that the calendar does not say any more.
    fn take_back(&mut self, look: &Look<'_>, theirs: &BTreeMap<Mac, Vec<usize>>, decision: &mut Decision) {
        let says = |occurrence: &Occurrence, machine: &str| {
            let of = machine.parse().ok().and_then(|mac: Mac| theirs.get(&mac));
            of.is_some_and(|all| all.iter().any(|n| look.due[*n].occurrence == *occurrence))
        };
        let before = self.given.len();
        self.given.retain(|(occurrence, machine), given| {
            // One whose time is over is not taken back, but forgotten in time.
            let stands = given.expires > look.now && !says(occurrence, machine);
            let placed = look.board.of(machine).filter(|p| stands && p.order.id == given.id);
            let waits = placed.filter(|p| !p.is_settled() && !p.is_going());
            if waits.is_some() {
                decision.take_back.insert(machine.clone());
            }
            waits.is_none()
        });
        self.changed |= before != self.given.len();
    }

    /// Whether a time that has begun is over for a machine.
    fn is_settled(&self, look: &Look<'_>, due: &Due, machine: &Machine<'_>) -> bool {
        if machine.needs_nothing(look, due) {
            return true;
        }
        let Some(given) = self.given.get(&(due.occurrence.clone(), machine.id.to_owned())) else {
            return false;
        };
        match look.board.of(machine.id).filter(|p| p.order.id == given.id) {
            Some(placed) => placed.is_settled() && !machine.booted_since(given),
            None => true,
        }
    }

    /// Whether a machine is given an order now.
    fn gives(
        &mut self,
        look: &Look<'_>,
        due: &Due,
        machine: &Machine<'_>,
        ours: &HashSet<String>,
        notes: &mut Vec<String>,
    ) -> bool {
        if machine.needs_nothing(look, due) {
            return false;
        }
        let key = (due.occurrence.clone(), machine.id.to_owned());
        let placed = look.board.of(machine.id);
        if let Some(given) = self.given.get(&key) {
            // Somebody took it back, or gave another one: that counts. One that was made before the boot is refused.
            let still = placed.is_some_and(|p| p.order.id == given.id);
            return still && machine.booted_since(given) && given.tries < TRIES;
        }
        let by_hand =
            |p: &&Placed| look.now < p.order.expires && !p.is_settled() && !ours.contains(&p.order.id);
        match placed.filter(by_hand) {
            None => true,
            Some(hand) => {
                let (name, at) = (&due.occurrence.name, due.occurrence.at);
                if self.told.insert(key) {
                    let what = hand.order.what();
                    notes.push(format!(
                        "calendar: '{name}' at {at} is not given to {}, which has an order by hand: {what}",
                        machine.id
                    ));
                }
                false
            }
        }
    }

    /// A machine was given an order. `before`: the id of the one that it had.
    pub fn gave(&mut self, due: &Due, order: &bootspec::order::Order, before: Option<&str>) {
        let tries = self.given.get(&(due.occurrence.clone(), order.machine.clone())).map_or(0, |g| g.tries);
        // One for later that gave way: it is given again when this one is over.
        self.given.retain(|(occurrence, machine), given| {
            *machine != order.machine
                || Some(given.id.as_str()) != before
                || occurrence.at <= due.occurrence.at
        });
        let given =
            Given { id: order.id.clone(), made: order.made, expires: order.expires, tries: tries + 1 };
        self.given.insert((due.occurrence.clone(), order.machine.clone()), given);
        self.changed = true;
    }

    fn forget(&mut self, now: Version) {
        let over = |at: &Version| at.0.saturating_add(KEPT) < now.0;
        let before = self.given.len();
        self.given.retain(|_, given| !over(&given.expires));
        while self.given.len() > MOST {
            self.given.pop_first();
        }
        self.told.retain(|(occurrence, _)| !over(&occurrence.at));
        while self.told.len() > MOST {
            self.told.pop_first();
        }
        self.changed |= before != self.given.len();
    }

    /// Whether it has nothing to remember.
    pub fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    /// As it was on the disk.
    pub fn restore(saved: Vec<SavedGift>) -> Calendar {
        let gift = |s: SavedGift| {
            let occurrence = Occurrence { at: Version(s.at), name: s.name, what: s.what };
            let (made, expires) = (Version(s.made), Version(s.expires));
            ((occurrence, s.machine), Given { id: s.id, made, expires, tries: s.tries })
        };
        let given = saved.into_iter().take(MOST).map(gift).collect();
        Calendar { given, ..Calendar::default() }
    }

    /// All of it, if it is to be written down.
    pub fn to_save(&mut self) -> Option<Vec<SavedGift>> {
        let saved = |((occurrence, machine), given): (&(Occurrence, String), &Given)| SavedGift {
            at: occurrence.at.0,
            name: occurrence.name.clone(),
            what: occurrence.what.clone(),
            machine: machine.clone(),
            id: given.id.clone(),
            made: given.made.0,
            expires: given.expires.0,
            tries: given.tries,
        };
        std::mem::take(&mut self.changed).then(|| self.given.iter().map(saved).collect())
    }
}

/// A machine that is up.
struct Machine<'a> {
    id: &'a str,
    client: &'a Client,
    booted: Version,
}

impl Machine<'_> {
    /// It runs the image, or has booted since the time at which it should have gone.
    fn needs_nothing(&self, look: &Look<'_>, due: &Due) -> bool {
        match due.entry.action {
            Action::Switch => (look.infohash)(&due.entry).is_some_and(|image| self.client.holds(image)),
            Action::Reboot | Action::Poweroff => self.booted > due.occurrence.at,
        }
    }

    fn booted_since(&self, given: &Given) -> bool {
        self.booted > given.made
    }
}

impl Placed {
    fn is_settled(&self) -> bool {
        self.is_over() || self.report.as_ref().is_some_and(|r| r.stage == Stage::Refused)
    }

    fn is_going(&self) -> bool {
        self.report.as_ref().is_some_and(|r| r.stage == Stage::Going)
    }
}

#[cfg(test)]
#[path = "calendar_tests.rs"]
mod tests;
