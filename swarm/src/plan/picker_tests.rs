// SPDX-License-Identifier: GPL-3.0-or-later
//! [`Picker`] on a simulated clock.

use super::*;
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);
const NOW: Duration = Duration::ZERO;
/// Blocks of a piece.
const BLOCKS: u32 = 4;
const ALL_BLOCKS: [u32; BLOCKS as usize] = [0, 1, 2, 3];

fn picker(pieces: u32) -> Picker {
    let layout = Layout::new(u64::from(pieces * BLOCKS * BLOCK), BLOCKS * BLOCK);
    Picker::new(layout, Bits::none(pieces), 1)
}

/// With `n` peers, from 0, that have everything and let us ask.
fn with_seeders(pieces: u32, n: u64) -> Picker {
    let mut picker = picker(pieces);
    (0..n).for_each(|key| peer(&mut picker, key, 0..pieces));
    picker
}

fn peer(picker: &mut Picker, key: PeerKey, pieces: impl IntoIterator<Item = u32>) {
    picker.join(key, false);
    picker.choke(key, false);
    pieces.into_iter().for_each(|p| _ = picker.has(key, p));
}

/// A block arrives and is written.
fn get(picker: &mut Picker, key: PeerKey, piece: u32, block: u32, now: Duration) -> Option<Landed> {
    picker.claim(key, piece, block, now)?;
    Some(picker.landed(piece, block))
}

#[test]
fn nothing_is_asked_twice() {
    let mut picker = with_seeders(4, 9);
    let orders: Vec<Order> = (0..9).filter_map(|key| picker.pick(key, NOW)).collect();
    let mut pieces: Vec<u32> = orders.iter().map(|o| o.piece).collect();
    pieces.sort();
    assert_eq!(pieces, [0, 1, 2, 3]);
    assert!(orders.iter().all(|o| o.blocks == ALL_BLOCKS && o.instead_of.is_none()));
}

#[test]
fn of_a_piece_that_is_here_in_part_the_rest_is_asked_for() {
    let mut picker = with_seeders(1, 1);
    (0..9).for_each(|block| picker.begun(0, block / 2));
    let order = picker.pick(0, NOW).unwrap();
    assert_eq!(order.blocks, [3], "one is always fetched: then the piece is verified");
    assert_eq!(get(&mut picker, 0, 0, 3, NOW), Some(Landed::Whole));
    assert_eq!(picker.sent(0), [(3, 0)], "what was here may have been wrong: nobody has sent it");
    picker.failed(0);
    let again = picker.pick(0, NOW).unwrap();
    assert_eq!(again.blocks, ALL_BLOCKS, "and then all of it is fetched");
    for block in ALL_BLOCKS {
        get(&mut picker, 0, 0, block, NOW);
    }
    assert_eq!(picker.sent(0), [(0, 0), (1, 0), (2, 0), (3, 0)]);
}

#[test]
fn a_peer_is_asked_for_a_little_ahead_and_all_for_no_more_than_comes_soon() {
    let mut picker = with_seeders(100, 50);
    assert!(picker.pick(0, NOW).is_some());
    assert_eq!(picker.asked(0), BLOCKS);
    assert_eq!(picker.pick(0, NOW), None, "it owes enough");
    let asked = (1..50).filter(|key| picker.pick(*key, NOW).is_some()).count() as u32;
    assert_eq!((1 + asked) * BLOCKS, LEAST, "all owe enough");
}

#[test]
fn the_server_is_asked_whatever_others_owe() {
    let mut picker = with_seeders(100, 50);
    (0..50).for_each(|key| _ = picker.pick(key, NOW));
    assert_eq!(picker.pick(49, NOW), None, "all owe enough");
    picker.join(50, true);
    picker.choke(50, false);
    (0..100).for_each(|p| _ = picker.has(50, p));
    assert!(picker.pick(50, NOW).is_some());
}

#[test]
fn what_is_rarest_goes_first() {
    for rare in [0, 7, 99] {
        let mut picker = with_seeders(100, 1);
        (1..4).for_each(|key| peer(&mut picker, key, (0..100).filter(|p| *p != rare)));
        assert_eq!(picker.pick(0, NOW).unwrap().piece, rare);
    }
}

#[test]
fn only_what_a_peer_has_and_we_lack() {
    let mut picker = picker(3);
    peer(&mut picker, 0, [1]);
    assert!(picker.interesting(0) && picker.peer_has(0, 1) && picker.peer_has_ours(0));
    assert_eq!(picker.pick(0, NOW).unwrap().piece, 1);
    (0..BLOCKS).for_each(|b| _ = get(&mut picker, 0, 1, b, MS));
    picker.verified(1, MS);
    assert!(!picker.interesting(0) && !picker.has(0, 1) && picker.has(0, 2));
    assert!(!picker.has(0, 3), "there is no piece 3");
    assert_eq!(picker.pick(0, MS).unwrap().piece, 2);
}

#[test]
fn what_is_not_wanted_is_never_asked_for() {
    let mut picker = with_seeders(10, 3);
    picker.only(3..6);
    let asked: Vec<u32> = (0..3).map(|key| picker.pick(key, NOW).unwrap().piece).collect();
    assert!(asked.iter().all(|p| (3..6).contains(p)), "{asked:?}");
    assert_eq!(picker.reserve(NOW), None, "nor over HTTP");
    for (key, piece) in (0..).zip(asked) {
        (0..BLOCKS).for_each(|b| _ = get(&mut picker, key, piece, b, MS));
        picker.verified(piece, MS);
    }
    assert!(!picker.interesting(0) && !picker.has(1, 9) && picker.peer_has_ours(0));
}

#[test]
fn another_peer_goes_on_with_what_is_missing() {
    for chokes in [false, true] {
        let mut picker = with_seeders(1, 2);
        picker.pick(0, NOW).unwrap();
        get(&mut picker, 0, 0, 0, MS);
        get(&mut picker, 0, 0, 1, MS);
        assert_eq!(picker.pick(1, MS), None);
        assert!(if chokes { picker.choke(0, true) } else { picker.leave(0) }, "something is free");
        assert_eq!(picker.asked(0), 0);
        assert_eq!(picker.pick(0, MS), None);
        let order = picker.pick(1, MS).unwrap();
        assert_eq!(order, Order { piece: 0, blocks: vec![2, 3], instead_of: None });
    }
}

/// Of 100 pieces, peer `key` sends one in `took`.
fn send(picker: &mut Picker, key: PeerKey, took: Duration, now: &mut Duration) {
    let piece = picker.pick(key, *now).expect("there is something to fetch").piece;
    for block in 0..BLOCKS {
        get(picker, key, piece, block, *now + took * block / (BLOCKS - 1));
    }
    *now += took;
    picker.verified(piece, *now);
}

/// Peers 0 to 5: 4 and 5 have everything and need so long for a piece, the others lack the last 40 and need 0.1 s.
fn with_narrow_link(took: Duration) -> (Picker, Duration) {
    let (mut picker, mut now) = (picker(100), NOW);
    (0..4).for_each(|key| peer(&mut picker, key, 0..60));
    (4..6).for_each(|key| peer(&mut picker, key, 0..100));
    for _ in 0..5 {
        (0..4).for_each(|key| send(&mut picker, key, 100 * MS, &mut now));
        (4..6).for_each(|key| send(&mut picker, key, took, &mut now));
    }
    (picker, now + Duration::from_secs(1))
}

#[test]
fn over_a_narrow_link_comes_what_nobody_else_has_a_little_at_a_time() {
    let (mut picker, now) = with_narrow_link(2000 * MS);
    let crossing: Vec<u32> =
        [4, 5, 4, 5, 4, 5].iter().filter_map(|key| Some(picker.pick(*key, now)?.piece)).collect();
    assert_eq!(crossing.len() as u32, SLOW_FLIGHTS);
    assert!(crossing.iter().all(|p| *p >= 60), "{crossing:?}");
    assert!(picker.pick(0, now).is_some());
}

#[test]
fn a_peer_that_is_only_busier_is_not_slow() {
    let (mut picker, now) = with_narrow_link(500 * MS);
    let asked = (4..6).filter(|key| picker.pick(*key, now).is_some()).count();
    assert_eq!(asked, 2);
    assert!(!picker.is_slow(4, now));
}

#[test]
fn who_unchokes_is_asked_again() {
    let mut picker = with_seeders(2, 1);
    assert!(!picker.choke(0, true), "nothing was asked");
    assert_eq!(picker.pick(0, NOW), None);
    picker.choke(0, false);
    assert!(picker.pick(0, NOW).is_some());
}

#[test]
fn a_second_peer_begins_at_the_end_and_a_third_replaces_the_first() {
    let mut picker = with_seeders(1, 3);
    picker.pick(0, NOW).unwrap();
    get(&mut picker, 0, 0, 0, NOW);
    // All that is left is asked for, so a piece that takes longer than usual goes to a second.
    assert_eq!(picker.pick(1, MS), None, "not yet");
    let now = STALLED;
    let second = picker.pick(1, now).unwrap();
    assert_eq!(second, Order { piece: 0, blocks: vec![3, 2, 1], instead_of: None });
    assert_eq!((picker.asked(0), picker.asked(1)), (3, 3));
    // What comes from one is not wanted from the other.
    assert_eq!(picker.claim(1, 0, 3, now), Some(vec![0]));
    picker.landed(0, 3);
    assert_eq!((picker.asked(0), picker.asked(1)), (2, 2));
    assert_eq!(picker.pick(2, now), None, "the second has just begun");
    let third = picker.pick(2, now + STALLED).unwrap();
    assert_eq!(third, Order { piece: 0, blocks: vec![2, 1], instead_of: Some(0) });
    assert_eq!([0, 1, 2].map(|key| picker.asked(key)), [0, 2, 2]);
}

#[test]
fn only_the_last_pieces_go_to_a_second_peer_soon() {
    let usual = USUAL + PATIENCE + MS;
    for (rest, second) in [(0, true), (1, false)] {
        let mut picker = with_seeders(1, 1);
        if rest > 0 {
            picker = self::picker(2);
            peer(&mut picker, 0, 0..2);
        }
        let order = picker.pick(0, NOW).unwrap();
        peer(&mut picker, 1, [order.piece]);
        assert_eq!(picker.pick(1, usual).is_some(), second, "{rest} not asked for yet");
        assert!(second || picker.pick(1, STALLED.max(USUAL * 4) + MS).is_some());
    }
}

#[test]
fn blocks_that_nobody_wants_are_refused() {
    let mut picker = with_seeders(2, 2);
    assert_eq!(picker.claim(0, 0, 0, NOW), None, "nothing was asked");
    let piece = picker.pick(0, NOW).unwrap().piece;
    assert_eq!(picker.claim(0, piece, BLOCKS, NOW), None, "no such block");
    assert_eq!(picker.claim(0, 2, 0, NOW), None, "no such piece");
    assert_eq!(picker.claim(0, 1 - piece, 0, NOW), None, "another piece");
    assert_eq!(picker.claim(1, piece, 0, NOW), None, "of somebody else");
    assert_eq!(picker.claim(0, piece, 0, NOW), Some(vec![]));
    assert_eq!(picker.claim(0, piece, 0, NOW), None, "twice");
    assert_eq!(picker.asked(0), BLOCKS - 1);
}

#[test]
fn a_wrong_piece_names_its_senders_and_is_fetched_again() {
    let mut picker = with_seeders(1, 3);
    picker.pick(0, NOW).unwrap();
    get(&mut picker, 0, 0, 0, NOW);
    picker.leave(0);
    picker.pick(1, NOW).unwrap();
    (1..4).for_each(|b| _ = get(&mut picker, 1, 0, b, NOW));
    assert_eq!(picker.sent(0), [(0, 0), (1, 1), (2, 1), (3, 1)]);
    picker.failed(0);
    assert_eq!(picker.pick(2, NOW).unwrap().blocks, ALL_BLOCKS);
    assert_eq!(picker.sent(5), [], "nobody has sent anything");
}

#[test]
fn a_wrong_piece_is_asked_of_one_peer_alone_and_before_others() {
    let mut picker = with_seeders(9, 2);
    let piece = picker.pick(0, NOW).unwrap().piece;
    ALL_BLOCKS.iter().for_each(|b| _ = get(&mut picker, 0, piece, *b, NOW));
    picker.failed(piece);
    assert_eq!(picker.pick(1, NOW).unwrap().piece, piece);
    get(&mut picker, 1, piece, 0, NOW);
    // Somebody else takes it over, long after: all of it, and the first is asked no more.
    (0..9).filter(|p| *p != piece).for_each(|p| picker.verified(p, NOW));
    let soon = STALLED / 2;
    assert_eq!(picker.pick(0, soon), None, "who is slow is given time");
    let order = picker.pick(0, STALLED).unwrap();
    assert_eq!((order.piece, &order.blocks[..], order.instead_of), (piece, &ALL_BLOCKS[..], Some(1)));
    assert_eq!((picker.asked(0), picker.asked(1)), (BLOCKS, 0));
    assert_eq!(picker.claim(1, piece, 1, STALLED), None);
}

#[test]
fn who_is_suspected_shares_no_piece() {
    let mut picker = with_seeders(1, 3);
    picker.pick(0, NOW).unwrap();
    get(&mut picker, 0, 0, 0, NOW);
    let later = Duration::from_secs(1);
    assert_eq!(picker.pick(1, later).unwrap().blocks, [3, 2, 1]);
    get(&mut picker, 1, 0, 3, later);
    get(&mut picker, 1, 0, 2, later);
    let changes = picker.suspect([1, 77]);
    let order = |blocks: &[u32]| Order { piece: 0, blocks: blocks.into(), instead_of: None };
    assert_eq!(changes.more, [(1, order(&[0]))], "what the other has sent comes from this one");
    assert_eq!(changes.less, [(0, order(&[1]))]);
    assert_eq!((picker.asked(0), picker.asked(1)), (0, 2));
    assert_eq!(picker.pick(2, later * 2), None, "nobody else takes part");
    picker.trust(|_| true);
    assert!(picker.suspects.is_empty());
}

#[test]
fn what_a_guilty_one_has_sent_comes_from_others() {
    let mut picker = with_seeders(1, 2);
    picker.pick(0, NOW).unwrap();
    get(&mut picker, 0, 0, 0, NOW);
    picker.pick(1, Duration::from_secs(1)).unwrap();
    get(&mut picker, 1, 0, 3, NOW);
    let changes = picker.disown(0);
    assert_eq!(changes.more, [(1, Order { piece: 0, blocks: vec![0], instead_of: None })]);
    assert_eq!((picker.asked(0), picker.asked(1), picker.pick(0, NOW)), (0, 3, None));
    (0..3).for_each(|b| _ = get(&mut picker, 1, 0, b, NOW));
    assert_eq!(picker.sent(0), [(0, 1), (1, 1), (2, 1), (3, 1)]);
    assert!(picker.has_sent(1) && !picker.has_sent(7));
}

#[test]
fn the_last_block_makes_it_whole() {
    let mut picker = with_seeders(1, 1);
    picker.pick(0, NOW).unwrap();
    let landed = ALL_BLOCKS.map(|b| get(&mut picker, 0, 0, b, NOW).unwrap());
    assert_eq!(landed, [Landed::Partial, Landed::Partial, Landed::Partial, Landed::Whole]);
    picker.verified(0, NOW);
    assert!(picker.have().is_full() && picker.flights.is_empty() && picker.flying.is_empty());
}

#[test]
fn http_takes_what_nobody_fetches_first() {
    let mut picker = with_seeders(2, 2);
    let asked = picker.pick(0, NOW).unwrap().piece;
    let reserved = picker.reserve(NOW).unwrap().piece;
    assert_ne!(reserved, asked);
    assert_eq!(picker.pick(1, NOW), None, "it is HTTP's");
    assert_eq!(picker.reserve(NOW), None, "a peer is at it");
    // HTTP gives up: peers may have it.
    picker.failed(reserved);
    assert_eq!(picker.pick(1, NOW).unwrap().piece, reserved);
    // Its peer is silent: HTTP takes it away.
    assert!(picker.reserve(STALLED).is_some());
    assert!(picker.reserve(STALLED).is_some());
    assert_eq!((picker.asked(0), picker.asked(1)), (0, 0));
    assert_eq!(picker.claim(0, asked, 0, STALLED), None, "too late");
}

#[test]
fn http_never_takes_what_is_being_written_or_verified() {
    let mut picker = with_seeders(1, 1);
    picker.pick(0, NOW).unwrap();
    picker.claim(0, 0, 0, NOW).unwrap();
    assert_eq!(picker.reserve(STALLED), None, "a block is being written");
    picker.landed(0, 0);
    (1..4).for_each(|b| _ = get(&mut picker, 0, 0, b, NOW));
    assert_eq!(picker.reserve(STALLED), None, "it is being verified");
}

#[derive(Clone, Debug)]
enum Op {
    Join(PeerKey),
    Leave(PeerKey),
    Choke(PeerKey, bool),
    Has(PeerKey, u32),
    Pick(PeerKey),
    /// A block that was asked for arrives, the how-manieth; else any.
    Arrive(PeerKey, usize),
    Any(PeerKey, u32, u32),
    /// The oldest write is done, and the piece, if whole, is right.
    Write(bool),
    Reserve,
    /// HTTP is done with its oldest piece, and it is right.
    Http(bool),
    Wait(u32),
    Suspect(PeerKey),
    Trust,
    Disown(PeerKey),
}

const PIECES: u32 = 6;
const PEERS: u64 = 5;

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        3 => (0..PEERS).prop_map(Op::Join),
        1 => (0..PEERS).prop_map(Op::Leave),
        2 => (0..PEERS, any::<bool>()).prop_map(|(k, c)| Op::Choke(k, c)),
        6 => (0..PEERS, 0..PIECES + 2).prop_map(|(k, p)| Op::Has(k, p)),
        8 => (0..PEERS).prop_map(Op::Pick),
        12 => (0..PEERS, 0usize..20).prop_map(|(k, i)| Op::Arrive(k, i)),
        2 => (0..PEERS, 0..PIECES + 1, 0..BLOCKS + 1).prop_map(|(k, p, b)| Op::Any(k, p, b)),
        12 => any::<bool>().prop_map(Op::Write),
        1 => Just(Op::Reserve),
        1 => any::<bool>().prop_map(Op::Http),
        3 => (1u32..1500).prop_map(Op::Wait),
        2 => (0..PEERS).prop_map(Op::Suspect),
        1 => Just(Op::Trust),
        1 => (0..PEERS).prop_map(Op::Disown),
    ];
    proptest::collection::vec(op, 0..400)
}

/// What a picker must never lose track of.
fn consistent(picker: &Picker, reserved: &[u32]) -> Result<(), TestCaseError> {
    for (key, peer) in &picker.peers {
        let held = picker.flights.values().filter(|f| f.holders.contains(key));
        prop_assert_eq!(peer.asked, held.map(|f| f.missing).sum::<u32>(), "asked of {}", key);
    }
    for (piece, flight) in &picker.flights {
        let count = |state| flight.blocks.iter().filter(|b| **b == state).count() as u32;
        prop_assert_eq!((flight.missing, flight.here), (count(Block::Missing), count(Block::Here)));
        prop_assert!(flight.holders.len() <= HOLDERS);
        prop_assert!(flight.holders.iter().all(|h| picker.peers[h].has.has(*piece)));
        prop_assert!(!picker.have.has(*piece) && !reserved.contains(piece));
    }
    for piece in 0..PIECES {
        let flying = picker.flights.contains_key(&piece) || reserved.contains(&piece);
        prop_assert_eq!(picker.flying.has(piece), flying, "piece {}", piece);
        let seen = picker.peers.values().filter(|p| p.has.has(piece)).count();
        prop_assert_eq!(usize::from(picker.seen[piece as usize]), seen);
    }
    Ok(())
}

/// A write is done; a piece that is whole then is right or wrong.
fn write(picker: &mut Picker, piece: u32, block: u32, right: bool, now: Duration) {
    if picker.landed(piece, block) == Landed::Whole {
        match right {
            true => picker.verified(piece, now),
            false => picker.failed(piece),
        }
    }
}

proptest! {
    #[test]
    fn nothing_leaks_and_everything_comes_in_the_end(ops in ops()) {
        let mut picker = picker(PIECES);
        let (mut now, mut reserved) = (NOW, Vec::new());
        let mut writing = std::collections::VecDeque::new();
        for op in ops {
            match op {
                Op::Join(key) if picker.peers.contains_key(&key) => {}
                // One of them is the server.
                Op::Join(key) => picker.join(key, key == 0),
                Op::Leave(key) => _ = picker.leave(key),
                Op::Choke(key, choking) => _ = picker.choke(key, choking),
                Op::Has(key, piece) => _ = picker.has(key, piece),
                Op::Pick(key) => {
                    let before: Vec<u32> = picker.flights.keys().copied().collect();
                    if let Some(order) = picker.pick(key, now) {
                        prop_assert!(!order.blocks.is_empty() && picker.peer_has(key, order.piece));
                        prop_assert!(!picker.have.has(order.piece) && !reserved.contains(&order.piece));
                        prop_assert!(order.instead_of.is_none() || before.contains(&order.piece));
                    }
                }
                Op::Arrive(key, i) => {
                    let mine = picker.flights.iter().filter(|(_, f)| f.holders.contains(&key));
                    let owed: Vec<(u32, u32)> = mine
                        .flat_map(|(p, f)| (0..BLOCKS).filter(|b| f.blocks[*b as usize] == Block::Missing).map(|b| (*p, b)))
                        .collect();
                    if !owed.is_empty() {
                        let (piece, block) = owed[i % owed.len()];
                        prop_assert!(picker.claim(key, piece, block, now).is_some());
                        writing.push_back((piece, block));
                    }
                }
                Op::Any(key, piece, block) => {
                    if picker.claim(key, piece, block, now).is_some() {
                        prop_assert!(!writing.contains(&(piece, block)));
                        writing.push_back((piece, block));
                    }
                }
                Op::Write(right) => {
                    if let Some((piece, block)) = writing.pop_front() {
                        write(&mut picker, piece, block, right, now);
                    }
                }
                Op::Reserve => {
                    if let Some(Reserved { piece, .. }) = picker.reserve(now) {
                        prop_assert!(!reserved.contains(&piece) && writing.iter().all(|w| w.0 != piece));
                        reserved.push(piece);
                    }
                }
                Op::Http(right) if !reserved.is_empty() => {
                    let piece = reserved.remove(0);
                    if right { picker.verified(piece, now) } else { picker.failed(piece); }
                }
                Op::Http(_) => {}
                Op::Wait(ms) => now += MS * ms,
                Op::Suspect(key) => _ = picker.suspect([key]),
                Op::Trust => picker.trust(|_| true),
                Op::Disown(key) => _ = picker.disown(key),
            }
            consistent(&picker, &reserved)?;
        }
        // One good peer is enough, whatever has happened.
        writing.into_iter().for_each(|(p, b)| write(&mut picker, p, b, true, now));
        reserved.into_iter().for_each(|p| picker.failed(p));
        peer(&mut picker, 99, 0..PIECES);
        for _ in 0..PIECES {
            // The others never answer.
            now += Duration::from_secs(3600);
            while let Some(order) = picker.pick(99, now) {
                for block in order.blocks {
                    if picker.claim(99, order.piece, block, now).is_some() {
                        write(&mut picker, order.piece, block, true, now);
                    }
                }
            }
        }
        prop_assert!(picker.have().is_full(), "{:?}", picker.have());
    }
}
