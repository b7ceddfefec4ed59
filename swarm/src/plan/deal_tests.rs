// SPDX-License-Identifier: GPL-3.0-or-later
//! [`Deal`] on a simulated clock.

use super::{super::budget::LEAST_OUT, *};
use proptest::prelude::*;
use std::collections::{BTreeSet, VecDeque};

const MS: Duration = Duration::from_millis(1);

/// A machine at an address of its own.
fn join(deal: &mut Deal, key: PeerKey, now: Duration) {
    deal.join(key, at(key), now);
}

fn at(key: PeerKey) -> IpAddr {
    std::net::Ipv4Addr::from(0x0a00_0000 + key as u32).into()
}

/// `n` machines, numbered from 0.
fn deal(pieces: u32, n: u64) -> Deal {
    let mut deal = Deal::new(pieces, 1);
    (0..n).for_each(|m| join(&mut deal, m, Duration::ZERO));
    deal
}

fn sorted(pieces: impl IntoIterator<Item = u32>) -> Vec<u32> {
    let mut all: Vec<u32> = pieces.into_iter().collect();
    all.sort();
    all
}

#[test]
fn each_piece_goes_to_one_machine_first() {
    let mut deal = deal(100, 5);
    let (mut shown, mut now) = (Vec::new(), Duration::ZERO);
    while shown.len() < 100 {
        for machine in 0..5 {
            for piece in deal.show(machine, now) {
                assert!(deal.shown(machine, piece));
                assert!((0..5).all(|m| m == machine || !deal.shown(m, piece)));
                shown.push(piece);
                deal.has(machine, piece, now);
            }
            if shown.len() == 100 {
                break;
            }
        }
        now += MS * 20;
    }
    assert_eq!(sorted(shown), (0..100).collect::<Vec<_>>());
}

#[test]
fn a_few_ahead_and_more_to_the_fast() {
    let mut deal = deal(10_000, 2);
    let mut open = deal.show(0, Duration::ZERO);
    assert_eq!(open.len() as u32, AHEAD);
    assert_eq!(deal.show(0, Duration::ZERO), [0; 0]);
    // Machine 0 fetches 100 pieces a second, machine 1 none.
    deal.show(1, Duration::ZERO);
    let mut most = 0;
    for i in 1..200 {
        let now = MS * 10 * i;
        open.extend(deal.show(0, now));
        most = most.max(open.len());
        if let Some(piece) = open.pop() {
            deal.has(0, piece, now);
        }
    }
    let run = (100.0 * RUN.as_secs_f64()) as usize;
    assert!((run / 2..=run * 3 / 2).contains(&most), "{most} ahead");
    assert!(deal.machines[&1].open == AHEAD);
}

#[test]
fn what_is_sent_has_arrived() {
    let mut deal = deal(4, 1);
    let piece = deal.show(0, Duration::ZERO)[0];
    deal.sent(0, piece, 16, 48, MS);
    deal.sent(0, piece, 16, 48, MS);
    assert!(deal.pending.contains_key(&piece));
    deal.sent(0, piece, 16, 48, MS);
    assert!(!deal.pending.contains_key(&piece) && deal.machines[&0].sent.is_empty());
    assert_eq!(deal.holders[piece as usize], 1);
}

#[test]
fn what_a_machine_takes_away_is_dealt_again_at_once() {
    let mut deal = deal(8, 2);
    let lost = deal.show(0, Duration::ZERO);
    deal.has(0, lost[0], MS);
    deal.leave(0);
    // Both are next: the one that was pending, and the one that only it had.
    let next = deal.show(1, MS);
    assert_eq!(sorted(next), sorted(lost));
}

#[test]
fn a_stalled_machines_pieces_go_to_another_when_they_are_late() {
    let mut deal = deal(AHEAD, 2);
    let stalled = deal.show(0, Duration::ZERO);
    assert_eq!(stalled.len() as u32, AHEAD);
    let late = NEVER_LATE * LATE;
    assert_eq!(deal.show(1, late), [0; 0], "not yet");
    assert_eq!(sorted(deal.show(1, late + MS)), sorted(stalled));
    // And a machine that was told is told nothing twice.
    assert_eq!(deal.show(0, late * 9), [0; 0]);
}

#[test]
fn when_all_are_out_the_rarest_is_shown() {
    let mut deal = deal(3 * AHEAD, 4);
    for machine in 0..3 {
        for piece in deal.show(machine, Duration::ZERO) {
            deal.has(machine, piece, MS);
        }
    }
    // All are out once; what machine 0 was shown is still only there.
    let rare: Vec<u32> = deal.machines[&0].has.iter().collect();
    for piece in (0..3 * AHEAD).filter(|p| !rare.contains(p)) {
        deal.has(1, piece, MS);
        deal.has(2, piece, MS);
    }
    assert_eq!(sorted(deal.show(3, MS * 2)), sorted(rare));
}

#[test]
fn what_is_on_its_way_to_somebody_is_not_sent_again_meanwhile() {
    let mut deal = deal(AHEAD + 1, 2);
    let first = deal.show(0, Duration::ZERO);
    let second = deal.show(1, Duration::ZERO);
    deal.has(1, second[0], MS);
    assert_eq!(deal.show(1, MS * 2), [0; 0], "{first:?} come from machine 0");
    first.iter().for_each(|p| deal.has(0, *p, MS * 3));
    assert_eq!(deal.show(1, MS * 4).len() as u32, AHEAD);
}

/// Machines that hear nothing of each other fetch what they are shown, one piece each millisecond.
fn fetch_alone(mut deal: Deal, n: u64, steps: u32) -> Deal {
    let mut open: Vec<VecDeque<u32>> = vec![VecDeque::new(); n as usize];
    for ms in 0..steps {
        for machine in 0..n {
            let queue = &mut open[machine as usize];
            queue.extend(deal.show(machine, MS * ms));
            if let Some(piece) = queue.pop_front() {
                deal.has(machine, piece, MS * ms);
            }
        }
    }
    deal
}

/// Machine 0 has had everything at 100 pieces a second. Machine 1 comes, and gets so many a second from 0.
/// Pieces that the server has sent it when it has everything, and how many seconds that took.
fn neighbour_gives(rate: u32) -> (u32, f64) {
    const PIECES: u32 = 2000;
    let mut deal = deal(PIECES, 1);
    let (mut now, mut open) = (Duration::ZERO, VecDeque::new());
    while !complete(&deal, 0) {
        open.extend(deal.show(0, now));
        open.pop_front().into_iter().for_each(|p| deal.has(0, p, now));
        now += MS * 10;
    }
    join(&mut deal, 1, now);
    let (began, mut served, mut turn) = (now, 0, 0);
    open.clear();
    while !complete(&deal, 1) {
        open.extend(deal.show(1, now));
        // Its link takes 100 a second.
        turn += rate;
        let other = (0..PIECES).find(|p| !deal.machines[&1].has.has(*p) && !open.contains(p));
        if let (true, Some(piece)) = (turn >= 100, other) {
            turn -= 100;
            deal.has(1, piece, now);
        } else if let Some(piece) = open.pop_front() {
            served += 1;
            deal.has(1, piece, now);
        }
        now += MS * 10;
        assert!(now < began + Duration::from_secs(3600), "it never gets everything");
    }
    (served, (now - began).as_secs_f64())
}

#[test]
fn what_a_neighbour_gives_the_server_does_not() {
    let (served, seconds) = neighbour_gives(100);
    assert!(served <= 2000 / 50 && seconds < 21.0, "{served} in {seconds} s");
}

#[test]
fn what_a_neighbour_cannot_give_the_server_does() {
    let (served, seconds) = neighbour_gives(50);
    assert!((900..1100).contains(&served) && seconds < 22.0, "{served} in {seconds} s");
}

#[test]
fn whoever_claims_everything_and_gives_nothing_starves_nobody() {
    let (served, seconds) = neighbour_gives(0);
    assert!(served == 2000 && seconds < 22.0, "{served} in {seconds} s");
}

#[test]
fn a_bitfield_says_nothing_about_a_pace() {
    let mut deal = deal(100, 1);
    (0..100).for_each(|p| deal.had(0, p, MS));
    join(&mut deal, 1, MS);
    assert_eq!(deal.machines[&1].pace.known(), None);
    assert_eq!(deal.show(1, MS).len() as u32, AHEAD, "and it is served");
}

fn complete(deal: &Deal, machine: PeerKey) -> bool {
    deal.machines.get(&machine).is_some_and(|m| m.has.is_full())
}

#[test]
fn machines_that_cannot_reach_each_other_get_everything() {
    for n in [1, 2, 5] {
        let deal = fetch_alone(deal(64, n), n, 64 * 4);
        assert!((0..n).all(|m| complete(&deal, m)), "{n} machines");
        assert!(deal.holders.iter().all(|h| u64::from(*h) == n));
        assert!(deal.pending.is_empty() && deal.machines.values().all(|m| m.open == 0));
    }
}

#[test]
fn who_is_unknown_is_shown_nothing() {
    let mut deal = deal(4, 1);
    deal.leave(0);
    deal.leave(0);
    deal.has(0, 1, MS);
    deal.sent(0, 1, 16, 16, MS);
    assert_eq!(deal.show(0, MS), [0; 0]);
    assert!(!deal.shown(0, 1) && !complete(&deal, 0));
    assert_eq!(deal.holders, [0; 4]);
}

#[derive(Clone, Debug)]
enum Op {
    Join(PeerKey),
    Leave(PeerKey),
    /// It fetches one that it was shown.
    Fetch(PeerKey),
    /// It has one from elsewhere.
    Has(PeerKey, u32),
    Show(PeerKey),
    Wait(u32),
}

const PIECES: u32 = 12;

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        (0u64..5).prop_map(Op::Join),
        (0u64..5).prop_map(Op::Leave),
        (0u64..5).prop_map(Op::Fetch),
        (0u64..5, 0..PIECES).prop_map(|(m, p)| Op::Has(m, p)),
        (0u64..5).prop_map(Op::Show),
        (0u64..5).prop_map(Op::Show),
        (1u32..3000).prop_map(Op::Wait),
    ];
    proptest::collection::vec(op, 0..200)
}

proptest! {
    #[test]
    fn every_piece_can_always_be_had(ops in ops(), seed in any::<u64>()) {
        let mut deal = Deal::new(PIECES, seed);
        let mut now = Duration::ZERO;
        for op in ops {
            match op {
                Op::Join(m) if deal.machines.contains_key(&m) => {}
                Op::Join(m) => join(&mut deal, m, now),
                Op::Leave(m) => deal.leave(m),
                Op::Has(m, p) => deal.has(m, p, now),
                Op::Fetch(m) => {
                    let open = deal.machines.get(&m).and_then(|s| s.shown.iter().find(|p| !s.has.has(*p)));
                    open.into_iter().for_each(|p| deal.has(m, p, now));
                }
                Op::Show(m) => {
                    let before = deal.machines.get(&m).map(|s| s.shown.clone());
                    let shown = deal.show(m, now);
                    prop_assert!(shown.iter().all(|p| before.as_ref().is_some_and(|b| !b.has(*p))), "twice");
                }
                Op::Wait(ms) => now += MS * ms,
            }
            let machines = &deal.machines;
            for (m, s) in machines {
                let open = s.shown.iter().filter(|p| !s.has.has(*p)).count();
                prop_assert_eq!(s.open as usize, open, "open of {}", m);
            }
            prop_assert_eq!(deal.budget.counted(), machines.values().map(Machine::counted).sum::<u32>());
            let stack: BTreeSet<u32> = deal.stack.iter().copied().collect();
            for p in 0..PIECES {
                let holders = machines.values().filter(|s| s.has.has(p)).count();
                prop_assert_eq!(usize::from(deal.holders[p as usize]), holders, "holders of {}", p);
                // Somebody has it, or was dealt it and is here, or it will be dealt.
                let pending = deal.pending.get(&p).is_some_and(|d| machines.contains_key(&d.to));
                prop_assert!(holders > 0 || pending || stack.contains(&p), "{} is lost", p);
                prop_assert!(!(pending && holders > 0), "{} is here and still pending", p);
            }
        }
        // Whatever has happened: who is served alone from now on gets everything.
        join(&mut deal, 99, now);
        for _ in 0..200 {
            now += Duration::from_secs(60);
            for p in deal.show(99, now) {
                deal.has(99, p, now);
            }
        }
        prop_assert!(complete(&deal, 99));
    }
}

#[test]
fn a_room_is_dealt_no_more_than_it_fetches() {
    let mut deal = deal(10_000, 1000);
    let dealt: usize = (0..1000).map(|m| deal.show(m, Duration::ZERO).len()).sum();
    assert_eq!(dealt as f64, LEAST_OUT);
}

#[test]
fn those_who_stall_or_ask_seldom_do_not_stop_the_deal() {
    let mut deal = deal(200, 100);
    let mut now = Duration::ZERO;
    (0..50).for_each(|m| deal.is_slow_to_ask(m));
    // All are shown something, again and again, and fetch nothing.
    for _ in 0..100 {
        (0..100).for_each(|m| _ = deal.show(m, now));
        now += LOOKED;
    }
    join(&mut deal, 100, now);
    while !complete(&deal, 100) {
        let shown = deal.show(100, now);
        shown.into_iter().for_each(|p| deal.has(100, p, now));
        now += MS * 20;
        assert!(now < Duration::from_secs(30), "{} of 200", deal.machines[&100].has.count());
    }
}

#[test]
fn who_asks_seldom_is_shown_more_at_a_time() {
    let mut deal = deal(100, 2);
    deal.is_slow_to_ask(1);
    assert_eq!(deal.show(0, Duration::ZERO).len() as u32, AHEAD);
    assert_eq!(deal.show(1, Duration::ZERO).len() as u32, FAR_AHEAD);
}

/// `hosts` hosts with `each` connections fetch one piece that they are shown, on each, and call again after `stays` ms.
/// One machine beside them fetches all that it is shown. A host gets a piece each 20 ms. How long 200 pieces take.
fn beside_those_who_fetch_nothing(hosts: u64, each: u64, stays: u32) -> Duration {
    let mut deal = deal(200, 0);
    let honest = 1_000_000;
    let (mut now, mut open) = (Duration::ZERO, VecDeque::new());
    let others: Vec<u64> = (0..hosts * each).collect();
    for step in 0.. {
        let mut turns = vec![1; hosts as usize];
        for other in &others {
            let turn = &mut turns[(other / each) as usize];
            if (step + *other as u32 * 7).is_multiple_of(stays / 20) {
                deal.leave(*other);
                deal.join(*other, at(other / each), now);
            }
            let shown = deal.show(*other, now);
            if *turn > 0 && deal.machines.get(other).is_some_and(|m| m.has.is_empty()) {
                *turn -= shown.len().min(1);
                shown.first().into_iter().for_each(|p| deal.has(*other, *p, now));
            }
        }
        if step == 50 {
            join(&mut deal, honest, now);
        }
        open.extend(deal.show(honest, now));
        open.pop_front().into_iter().for_each(|p| deal.has(honest, p, now));
        if complete(&deal, honest) {
            break;
        }
        now += MS * 20;
        assert!(now < Duration::from_secs(600), "{} of 200", deal.machines[&honest].has.count());
    }
    now - MS * 1000
}

#[test]
fn those_behind_one_address_do_not_hold_each_other_up() {
    let mut deal = deal(200, 0);
    let mut now = Duration::ZERO;
    (0..60).for_each(|m| deal.join(m, at(0), now));
    for _ in 0..10 {
        (0..60).for_each(|m| _ = deal.show(m, now));
        now += STALLED;
    }
    deal.join(60, at(0), now);
    let begun = now;
    while !complete(&deal, 60) {
        // Those who fetch nothing are asked first.
        (0..61).for_each(|m| {
            deal.show(m, now).into_iter().filter(|_| m == 60).for_each(|p| deal.has(m, p, now))
        });
        now += MS * 20;
        assert!(now < begun + Duration::from_secs(30), "{} of 200", deal.machines[&60].has.count());
    }
}

#[test]
fn a_host_that_fetches_nothing_does_not_hold_the_deal_up() {
    for (hosts, each, stays) in [(1, 100, 5000), (1, 100, 500), (8, 60, 5000), (8, 60, 1000)] {
        let took = beside_those_who_fetch_nothing(hosts, each, stays);
        assert!(took < MS * 200 * 20 * 3 / 2, "{hosts} hosts, {each} connections, {stays} ms: {took:?}");
    }
}
