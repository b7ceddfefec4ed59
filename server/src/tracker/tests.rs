// SPDX-License-Identifier: GPL-3.0-or-later
use super::*;
use proptest::{collection::hash_set, prelude::*};
use rand::{SeedableRng, rngs::StdRng};

const HASH: InfoHash = InfoHash([1; 20]);

fn ask(port: u16) -> Announce {
    Announce {
        infohash: HASH,
        peer_id: [port as u8; 20],
        port,
        left: Some(9),
        event: Event::None,
        numwant: None,
        compact: true,
    }
}

struct World {
    tracker: Tracker,
    now: Instant,
    random: StdRng,
}

impl World {
    fn new() -> World {
        let mut tracker = Tracker::new(Duration::from_secs(30), vec!["10.0.0.0/16".parse().unwrap()]);
        tracker.track(HashSet::from([HASH]));
        tracker.seeding(HashSet::from([HASH]));
        World { tracker, now: Instant::now(), random: StdRng::seed_from_u64(1) }
    }

    fn tell(&mut self, ask: &Announce) -> Result<Peers, String> {
        self.tell_from("::ffff:10.0.0.1".parse().unwrap(), ask)
    }

    fn tell_from(&mut self, from: IpAddr, ask: &Announce) -> Result<Peers, String> {
        self.now += Duration::from_secs(1);
        let seeder = "10.0.0.254:6981".parse().unwrap();
        self.tracker.announce(ask, from, seeder, self.now, &mut self.random)
    }

    /// Somebody has announced, and was not answered.
    fn put(&mut self, from: &str) {
        let at = SocketAddr::new(from.parse().unwrap(), 9);
        let peer = Peer { id: [9; 20], complete: false, seen: self.now };
        self.tracker.swarms.get_mut(&HASH).unwrap().heard(at, peer, false);
    }

    fn ports(&mut self, ask: &Announce) -> Vec<u16> {
        let mut ports: Vec<u16> = self.tell(ask).unwrap().peers.iter().map(|(at, _)| at.port()).collect();
        assert!(
            ports.first().is_none_or(|p| *p == 6981) || ask.left == Some(0),
            "our seeder comes first: {ports:?}"
        );
        ports.sort();
        ports
    }
}

#[test]
fn tells_others_and_our_seeder_never_the_asker() {
    let mut w = World::new();
    assert_eq!(w.ports(&ask(1)), [6981]);
    assert_eq!(w.ports(&ask(2)), [1, 6981]);
    assert_eq!(w.ports(&ask(1)), [2, 6981]);
    let first = w.tell(&ask(2)).unwrap();
    assert_eq!(first.peers[1].0, "10.0.0.1:1".parse().unwrap(), "an IPv4 address, not a mapped one");
    assert_eq!((first.complete, first.incomplete), (1, 2));
    w.tracker.seeding(HashSet::new());
    let none = w.tell(&ask(2)).unwrap();
    assert_eq!((none.peers.len(), none.complete), (1, 0));
}

#[test]
fn events() {
    let mut w = World::new();
    w.tell(&ask(1)).unwrap();
    w.tell(&Announce { event: Event::Completed, left: Some(0), ..ask(1) }).unwrap();
    w.tell(&Announce { event: Event::Completed, left: Some(0), ..ask(1) }).unwrap();
    let (hash, now) = ([HASH], w.now);
    let counts = w.tracker.scrape(&hash, now);
    assert_eq!(counts, [Counts { infohash: HASH, complete: 2, incomplete: 0, downloaded: 1 }]);
    w.tell(&Announce { left: Some(0), ..ask(3) }).unwrap();
    assert_eq!(w.ports(&Announce { left: Some(0), ..ask(1) }), [] as [u16; 0], "seeders need no seeders");
    assert_eq!(w.ports(&ask(2)), [1, 3, 6981]);
    let gone = w.tell(&Announce { event: Event::Stopped, ..ask(1) }).unwrap();
    assert_eq!((gone.peers.len(), gone.complete, gone.incomplete), (0, 2, 1));
    assert_eq!(w.ports(&ask(2)), [3, 6981]);
}

#[test]
fn forgets_who_is_silent_and_who_is_not_ours() {
    let mut w = World::new();
    w.tell(&ask(1)).unwrap();
    w.now += Duration::from_secs(76);
    assert_eq!(w.ports(&ask(2)), [6981]);
    let e = w.tell(&Announce { infohash: InfoHash([2; 20]), ..ask(1) }).unwrap_err();
    assert_eq!(e, "no image here has the infohash 0202020202020202020202020202020202020202");
    // Out of the catalogue: as long as it is seeded, and then as long as somebody is heard.
    w.tracker.track(HashSet::new());
    assert_eq!(w.ports(&ask(1)), [2, 6981]);
    w.tracker.seeding(HashSet::new());
    assert_eq!(w.tell(&ask(1)).unwrap().peers.len(), 1);
    w.now += Duration::from_secs(76);
    assert!(w.tell(&ask(2)).is_err());
    let now = w.now;
    assert_eq!(w.tracker.scrape(&[], now), []);
}

#[test]
fn gives_as_many_as_are_wanted() {
    let mut w = World::new();
    for n in 1..=300u16 {
        let from = IpAddr::from([10, 1, (n >> 8) as u8, n as u8]);
        w.tell_from(from, &Announce { left: Some(u64::from(n)), ..ask(n) }).unwrap();
        w.now -= Duration::from_millis(990); // all within the time that peers are kept
    }
    let count = |w: &mut World, numwant| w.tell(&Announce { numwant, ..ask(1) }).unwrap().peers.len();
    assert_eq!((count(&mut w, None), count(&mut w, Some(7)), count(&mut w, Some(9999))), (50, 7, 200));
    assert_eq!(count(&mut w, Some(0)), 0);
}

#[test]
fn one_host_cannot_fill_the_table() {
    let mut w = World::new();
    for port in 1..=100 {
        w.tell(&ask(port)).unwrap();
        w.now -= Duration::from_millis(990);
    }
    let found = w.tell_from("10.2.0.1".parse().unwrap(), &Announce { numwant: Some(200), ..ask(1) }).unwrap();
    assert_eq!(found.peers.len(), 1 + MAX_PER_ADDRESS, "our seeder, and what one host may have");
}

#[test]
fn the_own_network_comes_first_and_some_of_the_others() {
    let mut w = World::new();
    for n in 1..=200u8 {
        w.tell_from(IpAddr::from([10, 0, n, 1]), &ask(n.into())).unwrap();
        w.tell_from(IpAddr::from([10, 5, n, 1]), &ask(n.into())).unwrap();
        w.now -= Duration::from_millis(1990);
    }
    let told = w.tell(&ask(999)).unwrap().peers;
    let near = |at: &SocketAddr| at.ip().to_string().starts_with("10.0.");
    assert_eq!(told[0].0, "10.0.0.254:6981".parse().unwrap(), "our seeder");
    assert!(told[1..38].iter().all(|(at, _)| near(at)), "{told:?}");
    assert!(told[38..].iter().all(|(at, _)| !near(at)) && told.len() == 50, "{told:?}");
}

/// A /64 may be a room, or one host with as many addresses as it likes.
#[test]
fn a_host_with_a_network_of_addresses_hides_nobody() {
    let mut w = World::new();
    for n in 0..3000u32 {
        w.put(&format!("fd00::{n:x}"));
    }
    assert!(w.tracker.swarms[&HASH].len() <= MAX_PER_HOST);
    for n in 1..=20u8 {
        w.tell_from([10, 0, 0, n].into(), &ask(9)).unwrap();
        w.now -= Duration::from_millis(999);
    }
    let told = w.tell_from([10, 0, 0, 1].into(), &ask(9)).unwrap().peers;
    assert_eq!(told.iter().filter(|(at, _)| at.ip().is_ipv4()).count(), 20, "our seeder, and the 19 others");
    // Who asks from a network of its own finds them as well.
    let told = w.tell_from("fd00:0:0:1::1".parse().unwrap(), &ask(9)).unwrap().peers;
    assert_eq!(told.iter().filter(|(at, _)| at.ip().is_ipv4()).count(), 21);
}

#[test]
fn a_full_table_forgets_those_of_whom_there_are_most() {
    let mut w = World::new();
    for n in 0..(MAX_PEERS as u32 + 500) {
        // Six networks of junk.
        w.put(&format!("fd00:0:0:{:x}::{:x}", n % 6, n));
    }
    w.tell_from([10, 0, 0, 1].into(), &ask(9)).unwrap();
    let swarm = &w.tracker.swarms[&HASH];
    assert!(swarm.len() <= MAX_PEERS && swarm.get(&"10.0.0.1:9".parse().unwrap()).is_some());
}

/// Machines behind one address have one port there, and an agent that was started again has another id.
#[test]
fn nobody_is_stopped_by_another_id() {
    let mut w = World::new();
    let (old, new) = (ask(1), Announce { peer_id: [77; 20], ..ask(1) });
    w.tell(&old).unwrap();
    w.tell(&new).unwrap();
    w.tell(&Announce { event: Event::Stopped, ..old }).unwrap();
    assert_eq!(w.ports(&ask(2)), [1, 6981]);
    w.tell(&Announce { event: Event::Stopped, ..new }).unwrap();
    assert_eq!(w.ports(&ask(2)), [6981]);
}

proptest! {
    #[test]
    fn never_too_many_never_the_asker_always_our_seeder(
        peers in hash_set((0u8..4, 0u8..200, 1u16..9), 0..120),
        who in (0u8..4, 0u8..200, 1u16..9),
        want in 0usize..300,
        complete: bool,
    ) {
        let mut w = World::new();
        let at = |(net, host, _): (u8, u8, u16)| IpAddr::from([10, 1, net, host]);
        for p in &peers {
            w.tell_from(at(*p), &ask(p.2)).unwrap();
            w.now -= Duration::from_millis(990);
        }
        let left = Some(if complete { 0 } else { 9 });
        let asked = Announce { numwant: Some(want), left, ..ask(who.2) };
        let told = w.tell_from(at(who), &asked).unwrap().peers;
        let others = peers.iter().filter(|p| **p != who).count();
        let seeder = usize::from(!complete);
        prop_assert_eq!(told.len(), want.min(MAX_WANT).min(others + seeder));
        let asker = SocketAddr::new(at(who), who.2);
        prop_assert!(told.iter().all(|(at, _)| *at != asker));
        let ours = told.iter().position(|(at, _)| at.port() == 6981);
        prop_assert_eq!(ours, (!complete && want > 0).then_some(0));
    }
}
