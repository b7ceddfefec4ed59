// SPDX-License-Identifier: GPL-3.0-or-later
//! Who makes room when all places are taken. Whoever opens many connections and says nothing, from however many
//! addresses, is displaced by whoever comes; and who has many gives some of them to who has few. Pure, as everything in
//! [`super`].

use super::PeerKey;
use crate::places::host;
use std::{collections::HashMap, net::IpAddr, time::Duration};

/// No block has gone either way for so long: silent.
const SILENT: Duration = Duration::from_secs(10);

/// And this is as silent, whatever it has asked for: it does not take what it asks for.
const STUCK: Duration = Duration::from_secs(60);

/// A connection that may have to go.
#[derive(Clone, Copy, Debug)]
pub struct Seat {
    /// Which.
    pub key: PeerKey,
    /// Its other end.
    pub ip: IpAddr,
    /// How long no block has gone either way.
    pub quiet: Duration,
    /// It waits for blocks that it has asked for.
    pub waits: bool,
}

impl Seat {
    /// Whether nothing happens on it.
    pub fn is_silent(&self) -> bool {
        self.quiet >= if self.waits { STUCK } else { SILENT }
    }
}

/// Who has to go, so that somebody at `newcomer` can come. None: nobody.
pub fn displaced(seats: &[Seat], newcomer: IpAddr) -> Option<PeerKey> {
    let mut count: HashMap<IpAddr, usize> = HashMap::new();
    seats.iter().for_each(|s| *count.entry(host(s.ip)).or_default() += 1);
    let of = |s: &Seat| count[&host(s.ip)];
    let silent = seats.iter().filter(|s| s.is_silent());
    if let Some(seat) = silent.max_by_key(|s| (of(s), s.quiet)) {
        return Some(seat.key);
    }
    // Nobody is silent: who has more than twice what the newcomer will have then.
    let theirs = count.get(&host(newcomer)).copied().unwrap_or(0) + 1;
    let rich = seats.iter().filter(|s| of(s) > 2 * theirs);
    rich.max_by_key(|s| (of(s), s.quiet)).map(|s| s.key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seat(key: PeerKey, ip: &str, quiet: u64, waits: bool) -> Seat {
        Seat { key, ip: ip.parse().unwrap(), quiet: Duration::from_secs(quiet), waits }
    }

    fn who(seats: &[Seat], newcomer: &str) -> Option<PeerKey> {
        displaced(seats, newcomer.parse().unwrap())
    }

    #[test]
    fn the_silent_make_room_who_has_most_first() {
        let seats = [
            seat(1, "10.0.0.1", 100, false),
            seat(2, "10.0.0.2", 20, false),
            seat(3, "10.0.0.2", 30, false),
            seat(4, "10.0.0.3", 40, true),
        ];
        assert_eq!(who(&seats, "10.0.0.9"), Some(3), "the host with two, its most silent one");
        assert_eq!(who(&seats[3..], "10.0.0.9"), None, "it waits for what it asked for");
        assert_eq!(who(&[seat(1, "10.0.0.1", 9, false)], "10.0.0.9"), None, "it has just come");
        assert_eq!(who(&[seat(1, "10.0.0.1", 60, true)], "10.0.0.9"), Some(1), "it asks, and takes nothing");
    }

    #[test]
    fn a_network_of_64_addresses_is_one_host() {
        let mut seats: Vec<Seat> = (0..31).map(|n| seat(n, &format!("fd00::{n:x}"), 0, true)).collect();
        seats.push(seat(99, "10.0.0.1", 0, true));
        let gone = who(&seats, "10.0.0.2").expect("one of the 31");
        assert!(gone < 31);
        assert_eq!(who(&seats, "fd00::77"), None, "its own kind does not come instead");
    }

    #[test]
    fn a_room_that_works_is_left_alone() {
        let seats: Vec<Seat> = (0..32).map(|n| seat(n, &format!("10.0.0.{n}"), 1, true)).collect();
        assert_eq!(who(&seats, "10.0.1.1"), None);
    }

    proptest! {
        #[test]
        fn nobody_with_one_connection_that_works_has_to_go(hosts in proptest::collection::vec((0u8..5, 0u64..20, any::<bool>()), 0..40), new in 0u8..9) {
            let seats: Vec<Seat> = (0..).zip(&hosts).map(|(n, (h, q, w))| seat(n, &format!("10.0.0.{h}"), *q, *w)).collect();
            if let Some(key) = displaced(&seats, [10, 0, 0, new].into()) {
                let gone = seats[key as usize];
                let theirs = seats.iter().filter(|s| s.ip == gone.ip).count();
                prop_assert!(gone.is_silent() || (theirs > 2 && seats.iter().all(|s| !s.is_silent())));
            }
        }
    }
}
