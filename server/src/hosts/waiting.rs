// SPDX-License-Identifier: GPL-3.0-or-later
//! Machines that ask for their private files with a key that nobody has accepted. Whoever is on the network can be in this
//! list, under any name: it is bounded, for each address and in all, and only says what the admin compares.

use super::key::Mac;
use bootspec::Sha256Sum;
use serde::{Deserialize, Serialize};
use std::{
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Keys in all, those of one address, and those that say to be of one machine.
const MANY: usize = 1000;
const OF_ADDRESS: usize = 64;
const OF_MACHINE: usize = 4;
/// Who has not asked for so long has given up: agents ask every few seconds.
const GONE: Duration = Duration::from_secs(60);

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingKey {
    /// Which machine it says it is.
    pub mac: String,
    /// The SHA-256 of its key.
    pub fingerprint: Sha256Sum,
    /// Where it asks from.
    pub address: IpAddr,
    /// Seconds since it asked first.
    pub seconds: u64,
}

struct Waiting {
    mac: Mac,
    fingerprint: Sha256Sum,
    address: IpAddr,
    first: Instant,
    last: Instant,
}

/// All of them.
#[derive(Default)]
pub struct WaitingKeys(Mutex<Vec<Waiting>>);

impl WaitingKeys {
    /// Somebody asks.
    pub fn ask(&self, mac: Mac, fingerprint: Sha256Sum, address: IpAddr, now: Instant) -> Asked {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|w| now.duration_since(w.last) < GONE);
        if let Some(known) = all.iter_mut().find(|w| w.mac == mac && w.fingerprint == fingerprint) {
            (known.last, known.address) = (now, address);
            return Asked::Again;
        }
        let count = |same: &dyn Fn(&Waiting) -> bool| all.iter().filter(|w| same(w)).count();
        let full = all.len() >= MANY
            || count(&|w| w.address == address) >= OF_ADDRESS
            || count(&|w| w.mac == mac) >= OF_MACHINE;
        if full {
            return Asked::Full;
        }
        all.push(Waiting { mac, fingerprint, address, first: now, last: now });
        Asked::First
    }

    /// Those that wait now, the longest first.
    pub fn list(&self, now: Instant) -> Vec<WaitingKey> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let row = |w: &Waiting| WaitingKey {
            mac: w.mac.to_string(),
            fingerprint: w.fingerprint,
            address: w.address,
            seconds: now.duration_since(w.first).as_secs(),
        };
        all.iter().filter(|w| now.duration_since(w.last) < GONE).map(row).collect()
    }
}

/// What became of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It is in the list now.
    First,
    /// It was there.
    Again,
    /// There is no room for it.
    Full,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_fill_only_their_part() {
        let (keys, now) = (WaitingKeys::default(), Instant::now());
        let mac = |n: u16| Mac([0x52, 0x54, 0, 0, (n >> 8) as u8, n as u8]);
        let sum = |n: u16| Sha256Sum(std::array::from_fn(|i| [(n >> 8) as u8, n as u8][i % 2]));
        let ip = |n: u16| IpAddr::from([10, 0, (n >> 8) as u8, n as u8]);
        assert_eq!(keys.ask(mac(1), sum(1), ip(1), now), Asked::First);
        assert_eq!(keys.ask(mac(1), sum(1), ip(1), now), Asked::Again);
        // One address: its own part. One machine's name: four keys.
        for n in 2..200 {
            assert_eq!(keys.ask(mac(n), sum(n), ip(9), now) == Asked::First, n < 66, "{n}");
        }
        for n in 300..310 {
            assert_eq!(keys.ask(mac(1), sum(n), ip(n), now) == Asked::First, n < 303, "{n}");
        }
        for n in 1000..3000 {
            keys.ask(mac(n), sum(n), ip(n), now);
        }
        assert_eq!(keys.list(now).len(), MANY);
        // Nobody asks for a minute: there is room again.
        let later = now + GONE;
        assert_eq!(keys.ask(mac(5000), sum(5000), ip(5000), later), Asked::First);
        assert_eq!(keys.list(later).len(), 1);
    }
}
