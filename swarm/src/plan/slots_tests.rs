// SPDX-License-Identifier: GPL-3.0-or-later
//! [`Slots`] on a simulated clock.

use super::*;
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);

/// A host with one address.
fn host(n: u64) -> Asker {
    Asker { host: n.into(), address: n.into(), again: false }
}

/// A link, and receivers that each take no more than their own rate, all wanting without end.
struct Link {
    slots: Slots,
    /// Bytes a millisecond, of all together and of each.
    all: f64,
    each: f64,
    serving: Vec<(Ticket, f64)>,
    now: Duration,
    /// The most that were served at once.
    most: usize,
}

/// What is sent in one turn.
const TURN: f64 = 262_144.0;

impl Link {
    fn new(all: f64, each: f64, receivers: u64) -> Self {
        let mut slots = Slots::default();
        (0..receivers).for_each(|t| slots.ask(t, host(t), 0, 1));
        Self { slots, all, each, serving: Vec::new(), now: Duration::ZERO, most: 0 }
    }

    /// Bytes a millisecond that get out over so many milliseconds.
    fn run(&mut self, ms: u32) -> f64 {
        let mut total = 0.0;
        for _ in 0..ms {
            while let Some(ticket) = self.slots.admit(self.now) {
                self.serving.push((ticket, TURN));
            }
            self.most = self.most.max(self.serving.len());
            let rate = self.each.min(self.all / self.serving.len().max(1) as f64);
            let bytes = rate * self.serving.len() as f64;
            self.serving.iter_mut().for_each(|s| s.1 -= rate);
            self.now += MS;
            self.slots.sent(0, bytes as u64, self.now);
            total += bytes;
            let slots = &mut self.slots;
            self.serving.retain(|(ticket, left)| {
                if *left <= 0.0 {
                    slots.free(*ticket);
                    slots.ask(*ticket, host(*ticket), 0, 1);
                }
                *left > 0.0
            });
        }
        total / f64::from(ms)
    }
}

#[test]
fn no_more_than_the_limit_and_in_order() {
    let mut slots = Slots::default();
    (0..10).for_each(|t| slots.ask(t, host(t), 7, 1));
    let limit = u64::from(slots.limit());
    let mut out: Vec<Ticket> = std::iter::from_fn(|| slots.admit(MS)).collect();
    assert_eq!(out, (0..limit).collect::<Vec<_>>());
    assert_eq!(slots.admit(MS), None);
    for done in 0..10 - limit {
        slots.free(done);
        out.extend(slots.admit(MS));
        assert_eq!(slots.admit(MS), None);
    }
    assert_eq!(out, (0..10).collect::<Vec<_>>());
}

#[test]
fn who_leaves_the_queue_is_not_served() {
    let mut slots = Slots::default();
    (0..6).for_each(|t| slots.ask(t, host(t), t % 2, 1));
    slots.forget(0);
    slots.forget(3);
    slots.forget(99);
    let mut served = Vec::new();
    while let Some(ticket) = slots.admit(MS) {
        served.push(ticket);
        slots.free(ticket);
    }
    served.sort();
    assert_eq!(served, [1, 2, 4, 5]);
    assert_eq!((slots.waiting, slots.serving.len()), (0, 0));
}

/// Bytes that two torrents get, which both have two receivers that want without end.
fn share(weights: [u64; 2], turns: usize, slots: &mut Slots) -> [u64; 2] {
    let mut got = [0; 2];
    for class in 0..2 {
        (0..2).for_each(|i| slots.ask(class * 10 + i, host(class * 10 + i), class, weights[class as usize]));
    }
    let mut serving = VecDeque::new();
    for turn in 0..turns {
        serving.extend(std::iter::from_fn(|| slots.admit(MS)));
        let ticket = serving.pop_front().unwrap();
        let class = ticket / 10;
        got[class as usize] += 1000;
        slots.sent(class, 1000, MS * turn as u32 / 10);
        slots.free(ticket);
        slots.ask(ticket, host(ticket), class, weights[class as usize]);
    }
    got
}

#[test]
fn torrents_share_by_weight() {
    // One slot each would be half and half: the one that got less of its share is next.
    let mut slots = Slots { limit: 1, ..Slots::default() };
    let [a, b] = share([1, 3], 4000, &mut slots);
    let ratio = b as f64 / a as f64;
    assert!((2.9..3.1).contains(&ratio), "{a} {b}");
}

#[test]
fn silence_saves_nothing_up() {
    let mut slots = Slots { limit: 1, ..Slots::default() };
    // One torrent alone for a while; then another comes, and does not take all.
    slots.ask(0, host(0), 0, 1);
    for i in 0..1000 {
        assert_eq!(slots.admit(MS), Some(0));
        slots.sent(0, 1000, MS * i / 10);
        slots.free(0);
        slots.ask(0, host(0), 0, 1);
    }
    let [a, b] = share([1, 1], 400, &mut slots);
    assert!(a.abs_diff(b) <= 10_000, "{a} {b}");
}

#[test]
fn a_full_link_serves_few() {
    // 50 Mbit/s; any one receiver could take it all.
    let mut link = Link::new(6250.0, 6250.0, 64);
    let rate = link.run(60_000);
    assert!(rate > 6200.0, "{rate}");
    assert!(link.slots.limit() <= FEWEST + FEWEST / 2, "{}", link.slots.limit());
    assert!(link.most <= 8, "{}", link.most);
}

#[test]
fn slow_receivers_behind_a_fast_link_are_served_until_it_is_full() {
    // 1 Gbit/s, and 100 receivers of 10 Mbit/s: all of them fill it.
    let mut link = Link::new(125_000.0, 1250.0, 100);
    link.run(30_000);
    let rate = link.run(10_000);
    assert!(rate > 0.8 * 125_000.0, "{rate} with {} slots", link.slots.limit());
    // 20 of 100 fill 200 Mbit/s: then it does not go on to all.
    let mut link = Link::new(25_000.0, 1250.0, 100);
    link.run(30_000);
    let rate = link.run(10_000);
    assert!(rate > 0.8 * 25_000.0, "{rate} with {} slots", link.slots.limit());
    assert!(link.slots.limit() < 60, "{}", link.slots.limit());
}

#[test]
fn without_demand_the_rate_says_nothing() {
    let mut slots = Slots::default();
    for i in 0..10_000u32 {
        slots.ask(0, host(0), 0, 1);
        assert_eq!(slots.admit(MS), Some(0));
        slots.sent(0, u64::from(i) * 10, MS * i);
        slots.free(0);
    }
    assert_eq!(slots.limit(), FEWEST);
}

#[derive(Clone, Debug)]
enum Op {
    Ask(Ticket, u64),
    Forget(usize),
    Next,
    Free,
    Sent(u64, u32),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        (0u64..1000, 0u64..4).prop_map(|(t, c)| Op::Ask(t, c)),
        (0usize..50).prop_map(Op::Forget),
        Just(Op::Next),
        Just(Op::Free),
        (0u64..4, 1u32..300).prop_map(|(c, ms)| Op::Sent(c, ms)),
    ];
    proptest::collection::vec(op, 0..300)
}

/// Bytes that each of these gets in so many turns, all wanting without end.
fn shares(askers: &[Asker], turns: u32) -> Vec<u64> {
    let (mut slots, mut got, mut serving) = (Slots::default(), vec![0; askers.len()], VecDeque::new());
    for (ticket, asker) in (0..).zip(askers) {
        slots.ask(ticket, *asker, 0, 1);
    }
    for turn in 0..turns {
        serving.extend(std::iter::from_fn(|| slots.admit(MS * turn)));
        let ticket: Ticket = serving.pop_front().expect("somebody is served");
        let asker = askers[ticket as usize];
        got[ticket as usize] += if asker.again { 64 } else { 256 };
        slots.free(ticket);
        slots.ask(ticket, asker, 0, 1);
    }
    got
}

#[test]
fn a_hundred_connections_of_one_host_get_what_one_gets() {
    let mut askers = vec![host(1), host(2)];
    askers.extend((0..100).map(|_| host(3)));
    let got = shares(&askers, 3000);
    let theirs: u64 = got[2..].iter().sum();
    assert!(got[0].abs_diff(theirs) <= 256 * 3 && got[1].abs_diff(theirs) <= 256 * 3, "{got:?}");
    assert!(got[2..].iter().all(|g| g.abs_diff(theirs / 100) <= 256), "and in turn: {got:?}");
}

#[test]
fn addresses_share_what_their_host_gets() {
    // A host with 9 addresses, on one of which it has 20 connections, and another host.
    let at = |address: u128| Asker { address, ..host(7) };
    let mut askers = vec![host(1)];
    askers.extend((0..20).map(|_| at(1000)));
    askers.extend((1..9).map(|n| at(1000 + n)));
    let got = shares(&askers, 9000);
    let (first, others): (u64, u64) = (got[1..21].iter().sum(), got[21..].iter().sum());
    assert!(got[0].abs_diff(first + others) <= 256 * 3, "{got:?}");
    assert!(first.abs_diff(others / 8) <= 256 * 4, "{got:?}");
}

#[test]
fn whoever_fetches_again_and_again_goes_last_and_gets_a_little() {
    let again = |n| Asker { again: true, ..host(n) };
    let mut askers = vec![host(1)];
    askers.extend((0..100).map(|n| again(2 + n % 2)));
    let got = shares(&askers, 5000);
    let theirs: u64 = got[1..].iter().sum();
    let all = got[0] + theirs;
    assert!(theirs * 100 <= all * 5 && theirs * 100 >= all, "{theirs} of {all}");
    // Alone, it gets everything, if only after a moment.
    let mut slots = Slots::default();
    slots.ask(0, host(1), 0, 1);
    slots.ask(1, again(2), 0, 1);
    assert_eq!((slots.admit(MS), slots.admit(MS)), (Some(0), None));
    slots.free(0);
    assert_eq!((slots.admit(MS * 2), slots.admit(MS * 202)), (None, Some(1)));
}

#[test]
fn whoever_turns_out_to_fetch_again_and_again_loses_its_place() {
    let mut slots = Slots { limit: 1, ..Slots::default() };
    (0..100).for_each(|t| slots.ask(t, host(7), 0, 1));
    slots.ask(100, host(8), 0, 1);
    assert_eq!(slots.admit(MS), Some(0));
    slots.fetches_again(7);
    slots.free(0);
    assert_eq!(slots.admit(MS), Some(100));
    slots.free(100);
    assert_eq!(slots.admit(MS), None, "others may want more in a moment");
    assert_eq!((slots.fresh, slots.active[0].len(), slots.active[1][&7]), (0, 0, 99));
    assert_eq!(slots.admit(MS * 300), Some(1));
}

#[test]
fn what_is_remembered_of_hosts_is_bounded() {
    let mut slots = Slots::default();
    for n in 0..3 * REMEMBERED as u64 {
        slots.ask(n, host(n), 0, 1);
        assert_eq!(slots.admit(MS), Some(n));
        slots.free(n);
    }
    assert!(slots.turns.len() <= REMEMBERED + 2 && slots.active[0].is_empty());
}

proptest! {
    #[test]
    fn everybody_is_served_once_or_has_left(ops in ops()) {
        let mut slots = Slots::default();
        let (mut waiting, mut busy, mut now) = (Vec::<Ticket>::new(), VecDeque::<Ticket>::new(), Duration::ZERO);
        for op in ops {
            match op {
                Op::Ask(ticket, class) if !waiting.contains(&ticket) && !busy.contains(&ticket) => {
                    slots.ask(ticket, host(ticket), class, class + 1);
                    waiting.push(ticket);
                }
                Op::Ask(..) => {}
                Op::Forget(i) if !waiting.is_empty() => slots.forget(waiting.remove(i % waiting.len())),
                Op::Forget(_) => slots.forget(5000),
                Op::Next => {
                    let next = slots.admit(now);
                    prop_assert_eq!(next.is_some(), busy.len() < slots.limit() as usize && !waiting.is_empty());
                    if let Some(ticket) = next {
                        let at = waiting.iter().position(|t| *t == ticket);
                        prop_assert!(at.is_some(), "{} did not wait", ticket);
                        at.map(|at| waiting.remove(at));
                        busy.push_back(ticket);
                    }
                }
                Op::Free => slots.free(busy.pop_front().unwrap_or(7777)),
                Op::Sent(class, ms) => {
                    now += MS * ms;
                    slots.sent(class, 100_000, now);
                    prop_assert!((FEWEST..=MOST).contains(&slots.limit()));
                }
            }
            prop_assert_eq!((slots.waiting, slots.serving.len()), (waiting.len(), busy.len()));
        }
    }
}
