// SPDX-License-Identifier: GPL-3.0-or-later
use super::*;

fn at(last: u8) -> SocketAddr {
    ([10, 0, 0, last], 6981).into()
}

/// Whether an address is remembered.
fn has(known: &Known, at: SocketAddr) -> bool {
    known.lock().source_of(&at).is_some()
}

fn next(known: &Known) -> Option<SocketAddr> {
    known.next(true, &HashSet::new()).map(|n| n.0)
}

#[test]
fn the_server_first_then_each_once() {
    let known = Known::new(vec![at(1).ip()]);
    known.configured([at(2), at(1), at(3), at(3)].into_iter());
    let nobody = HashSet::new();
    assert_eq!(known.next(false, &nobody), Some((at(1), Source::Configured)));
    assert_eq!(known.next(false, &nobody), None);
    let mut rest = [next(&known).unwrap(), next(&known).unwrap()];
    rest.sort();
    assert_eq!(rest, [at(2), at(3)]);
    assert_eq!(next(&known), None);
    known.over(at(2), Call::Failed);
    assert_eq!(next(&known), None, "not at once");
}

#[test]
fn better_sources_are_called_first() {
    let known = Known::new(vec![]);
    known.gossip(at(9), [at(4)].into_iter());
    known.heard(at(3));
    known.tracked(at(2), false);
    known.configured([at(1)].into_iter());
    assert_eq!([1, 2, 3, 4].map(|_| next(&known)), [1, 2, 3, 4].map(|n| Some(at(n))));
    // Whom a tracker names as well is the tracker's.
    known.heard(at(5));
    known.tracked(at(5), false);
    assert_eq!(known.next(true, &HashSet::new()), Some((at(5), Source::Tracker)));
}

#[test]
fn one_host_has_few_addresses_and_hides_nobody() {
    let known = Known::new(vec![]);
    (10_000..10_200).for_each(|port| known.heard(([10, 0, 0, 66], port).into()));
    assert_eq!(known.len(), 4);
    known.heard(SocketAddr::from(([10, 0, 0, 2], 6981)));
    assert_eq!(known.len(), 5);
    // An attacker who forges the sender of datagrams: there is always room for one more.
    (0..=255).for_each(|n| known.heard(([10, 0, 0, n], 2000).into()));
    assert!(known.len() <= 256);
    assert!(!has(&known, at(3)));
    known.heard(at(3));
    assert!(has(&known, at(3)));
}

#[test]
fn whoever_gossips_much_is_one_teller() {
    let known = Known::new(vec![]);
    let junk = |n: u32| SocketAddr::from(([10, 0, 0, (n % 250) as u8], 2000 + n as u16));
    known.gossip(at(66), (0..2000).map(junk));
    assert_eq!(known.len(), 100);
    known.gossip(at(7), [at(8)].into_iter());
    let called: Vec<_> = std::iter::from_fn(|| next(&known)).collect();
    assert!(called.contains(&at(8)), "one of the first twenty: two tellers take turns");
    assert_eq!(called.len(), 20, "no more in a second");
}

#[test]
fn nobody_makes_us_call_where_we_have_no_business() {
    let known = Known::new(vec![]);
    let addresses = [
        ([127, 0, 0, 1], 6981),
        ([203, 0, 113, 1], 6981),
        ([10, 0, 0, 5], 22),
        ([10, 0, 0, 5], 0),
        ([0, 0, 0, 0], 6981),
        ([255, 255, 255, 255], 6981),
        ([224, 0, 0, 1], 6981),
    ];
    known.gossip(at(9), addresses.map(SocketAddr::from).into_iter());
    known.heard("[fe80::1]:6981".parse().unwrap());
    known.tracked("127.0.0.1:6981".parse().unwrap(), false);
    assert_eq!(known.len(), 0);
    known.tracked("127.0.0.1:6981".parse().unwrap(), true);
    known.heard("[fe80::1%2]:6981".parse().unwrap());
    known.gossip("[fe80::1%2]:6981".parse().unwrap(), ["[fe80::7]:6981".parse().unwrap()].into_iter());
    let scoped: SocketAddr = "[fe80::7%2]:6981".parse().unwrap();
    assert!(known.len() == 3 && has(&known, scoped), "the teller's link");
}

#[test]
fn whom_nobody_answers_for_is_forgotten_unless_a_tracker_names_him() {
    let known = Known::new(vec![at(4).ip()]);
    known.heard(at(1));
    known.heard(at(2));
    known.heard(at(4));
    known.tracked(at(3), false);
    for _ in 0..FORGOTTEN {
        [1, 3, 4].into_iter().for_each(|n| known.over(at(n), Call::Failed));
        known.over(at(2), Call::Answered);
    }
    let left = [1, 2, 3, 4].map(|n| has(&known, at(n)));
    assert_eq!(left, [false, true, true, true], "a peer without room, the tracker's, the server");
}

#[test]
fn a_full_tracker_list_gives_up_what_was_called_in_vain_first() {
    let known = Known::new(vec![]);
    let nth = |n: u16| SocketAddr::from(([10, 1, (n >> 8) as u8, n as u8], 6981));
    (0..1000).for_each(|n| known.tracked(nth(n), false));
    known.over(nth(7), Call::Failed);
    known.tracked(nth(2000), false);
    assert!(known.len() == 1000 && !has(&known, nth(7)));
}

/// A flood of datagrams costs no more than a look at some of them.
#[test]
fn datagrams_are_not_all_looked_at() {
    let known = Known::new(vec![]);
    let begun = Instant::now();
    (0..20_000u32).for_each(|n| known.heard(([10, 0, (n >> 8) as u8, n as u8], 6981).into()));
    let looked = 500.0 * (1.0 + begun.elapsed().as_secs_f64());
    let left = known.lock().rates[&Rate::Heard].0;
    assert!(left < 1.0 && looked < 20_000.0, "{looked} of 20000");
}
