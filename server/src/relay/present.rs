// SPDX-License-Identifier: GPL-3.0-or-later
//! Which relays are there, and to which of them a machine is sent.

use super::known::KnownRelays;
use crate::{
    hosts::{Mac, Name},
    net::Subnet,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// A relay reports each second. One that has been silent for so long gets no machines.
pub const AWAY: Duration = Duration::from_secs(10);
/// Relays that a machine tries before the first server.
const TRIES: usize = 2;

/// What a relay has last said of itself.
#[derive(Clone, Debug)]
pub struct Presence {
    /// When.
    pub at: Instant,
    /// Where it listens for HTTP.
    pub http: SocketAddr,
    /// The networks that it is in.
    pub subnets: Vec<Subnet>,
    /// How many images it has, and how many it lacks.
    pub images: usize,
    /// See `images`.
    pub missing: usize,
    /// What keeps it from having all.
    pub trouble: Option<String>,
}

/// A relay in a line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RelayRow {
    /// Its name.
    pub name: String,
    /// Whether it reports.
    pub up: bool,
    /// Seconds since it has reported; none: not since this server started.
    pub age: Option<f64>,
    /// Where it listens.
    pub address: Option<String>,
    /// The subnets that it is for.
    pub subnet: Vec<Subnet>,
    /// The groups that it is for.
    pub group: Vec<Name>,
    /// How many images it has, and how many it lacks.
    pub images: usize,
    /// See `images`.
    pub missing: usize,
    /// How many machines report through it.
    pub machines: usize,
    /// What is wrong.
    pub trouble: Option<String>,
}

/// Who looks for a relay.
#[derive(Clone, Copy, Debug)]
pub struct Seeker<'a> {
    /// Its address.
    pub ip: IpAddr,
    /// Its card's.
    pub mac: Option<Mac>,
    /// The groups that it is in.
    pub groups: &'a [&'a Name],
}

/// Those that have reported.
#[derive(Debug, Default)]
pub struct Present(Mutex<BTreeMap<String, Presence>>);

impl Present {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Presence>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One has reported.
    pub fn hear(&self, name: &str, presence: Presence) {
        self.all().insert(name.to_owned(), presence);
    }

    /// Whether none has ever reported.
    pub fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    /// All that may be, with what they have said. `machines`: how many report through one.
    pub fn rows(&self, known: &KnownRelays, machines: impl Fn(&str) -> usize, now: Instant) -> Vec<RelayRow> {
        let all = self.all();
        let row = |(name, relay): (&String, &super::KnownRelay)| {
            let said = all.get(name);
            let age = said.map(|p| now.saturating_duration_since(p.at));
            RelayRow {
                name: name.clone(),
                up: age.is_some_and(|age| age < AWAY),
                age: age.map(|age| age.as_secs_f64()),
                address: said.map(|p| p.http.to_string()),
                subnet: if relay.subnet.is_empty() && relay.group.is_empty() {
                    said.map(near).unwrap_or_default()
                } else {
                    relay.subnet.clone()
                },
                group: relay.group.clone(),
                images: said.map_or(0, |p| p.images),
                missing: said.map_or(0, |p| p.missing),
                machines: machines(name),
                trouble: said.and_then(|p| p.trouble.clone()),
            }
        };
        known.iter().map(row).collect()
    }

    /// Where those that report listen for HTTP.
    pub fn there(&self, now: Instant) -> Vec<String> {
        let up = |p: &&Presence| now.saturating_duration_since(p.at) < AWAY;
        self.all().values().filter(up).map(|p| p.http.to_string()).collect()
    }

    /// The relays that a machine should ask, the first first. Those of its group go before those of its subnet; where there
    /// are several, each gets its share of machines.
    pub fn for_machine(
        &self,
        known: &KnownRelays,
        seeker: Seeker<'_>,
        now: Instant,
    ) -> Vec<(String, SocketAddr)> {
        let all = self.all();
        let up = |name: &String| all.get(name).filter(|p| now.saturating_duration_since(p.at) < AWAY);
        let there: Vec<_> = known.iter().filter_map(|(n, r)| Some((n, r, up(n)?))).collect();
        let in_subnet = |subnets: &[Subnet]| match seeker.ip.to_canonical() {
            IpAddr::V4(ip) => subnets.iter().any(|s| s.has(ip)),
            IpAddr::V6(_) => false,
        };
        let of_group = there.iter().filter(|(_, r, _)| r.group.iter().any(|g| seeker.groups.contains(&g)));
        let of_subnet = there.iter().filter(|(_, r, p)| match r.subnet.is_empty() && r.group.is_empty() {
            true => in_subnet(&near(p)),
            false => in_subnet(&r.subnet),
        });
        let share = seeker.mac.map_or(0, Mac::share);
        let mut found: Vec<(String, SocketAddr)> = Vec::new();
        let (of_group, of_subnet): (Vec<_>, Vec<_>) = (of_group.collect(), of_subnet.collect());
        for mut these in [of_group, of_subnet] {
            if !these.is_empty() {
                let by = share % these.len();
                these.rotate_left(by);
            }
            for (name, _, p) in these {
                if !found.iter().any(|(n, _)| n == *name) {
                    found.push(((*name).clone(), p.http));
                }
            }
        }
        found.truncate(TRIES);
        found
    }
}

/// A building's network has no more than this many bits for its machines. A relay that says otherwise needs `--subnet`.
const WIDEST: u8 = 20;

/// The network that a relay has reported from, as it says: it is not taken for others.
fn near(presence: &Presence) -> Vec<Subnet> {
    let IpAddr::V4(own) = presence.http.ip().to_canonical() else { return Vec::new() };
    presence.subnets.iter().copied().filter(|s| s.prefix >= WIDEST && s.has(own)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::KnownRelay;
    use bootspec::Sha256Sum;

    #[test]
    fn by_group_then_by_subnet_and_only_who_is_there() {
        let now = Instant::now();
        let known = |subnet: &[&str], group: &[&str]| KnownRelay {
            sha256: Sha256Sum([0; 32]),
            subnet: subnet.iter().map(|s| s.parse().unwrap()).collect(),
            group: group.iter().map(|g| g.parse().unwrap()).collect(),
        };
        let relays: KnownRelays = [
            ("a", known(&["10.0.1.0/24"], &[])),
            ("b", known(&[], &["lab"])),
            ("c", known(&[], &[])),
            ("d", known(&["10.0.1.0/24"], &[])),
        ]
        .map(|(n, k)| (n.to_owned(), k))
        .into();
        let present = Present::default();
        let here = |name: &str, address: &str, subnets: &[&str], at: Instant| {
            let subnets = subnets.iter().map(|s| s.parse().unwrap()).collect();
            let http = address.parse().unwrap();
            present.hear(name, Presence { at, http, subnets, images: 1, missing: 0, trouble: None });
        };
        here("a", "10.0.9.1:6980", &[], now);
        here("b", "10.0.9.2:6980", &[], now);
        // It says that it is in a network from which it does not come.
        here("c", "10.0.3.1:6980", &["10.0.3.0/24", "10.0.4.0/24", "10.0.0.0/8"], now);
        let lab: Name = "lab".parse().unwrap();
        let ask = |ip: &str, groups: &[&Name], last: u8, now: Instant| {
            let mac = Some(Mac([0, 0, 0, 0, 0, last]));
            let found = present.for_machine(&relays, Seeker { ip: ip.parse().unwrap(), mac, groups }, now);
            found.into_iter().map(|(n, _)| n).collect::<Vec<_>>()
        };
        assert_eq!(present.there(now), ["10.0.9.1:6980", "10.0.9.2:6980", "10.0.3.1:6980"]);
        assert!(present.there(now + AWAY).is_empty());
        assert_eq!(ask("10.0.1.9", &[], 0, now), ["a"]);
        assert_eq!(ask("10.0.1.9", &[&lab], 0, now), ["b", "a"]);
        assert_eq!(ask("10.0.3.9", &[], 0, now), ["c"]);
        assert!(ask("10.9.9.9", &[], 0, now).is_empty(), "a network that is the whole site");
        assert!(ask("10.0.4.9", &[], 0, now).is_empty() && ask("fd00::1", &[], 0, now).is_empty());
        assert!(ask("10.0.1.9", &[], 0, now + AWAY).is_empty());
        here("d", "10.0.9.4:6980", &[], now);
        assert_eq!(ask("10.0.1.9", &[], 0, now), ["a", "d"]);
        assert_eq!(ask("10.0.1.9", &[], 1, now), ["d", "a"], "the second is for the other's machines too");
    }
}
