// SPDX-License-Identifier: GPL-3.0-or-later
//! Which peers an asker is told of: those of its own network first, so that
//! pieces stay behind its switch, and always some of the others, so that a
//! swarm never falls into parts that know nothing of each other.

use crate::net::Subnet;
use rand::{
    Rng,
    seq::{IndexedRandom, SliceRandom},
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Of an answer, a quarter is for those who are far...
const FAR_SHARE: usize = 4;
/// ...and at least so many, as long as the near have as many.
const FAR_LEAST: usize = 2;

/// Whether two machines are likely behind the same switch: both in one of `subnets`
/// (this machine's own, whose size is known), else in the same /24, or /64 of IPv6.
pub fn near(a: IpAddr, b: IpAddr, subnets: &[Subnet]) -> bool {
    match (a.to_canonical(), b.to_canonical()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => network(a, subnets) == network(b, subnets),
        (IpAddr::V6(a), IpAddr::V6(b)) => prefix(a) == prefix(b),
        _ => false,
    }
}

/// The smallest of `subnets` that `address` is in, else its /24.
fn network(address: Ipv4Addr, subnets: &[Subnet]) -> Subnet {
    let own = subnets.iter().filter(|s| s.has(address)).max_by_key(|s| s.prefix);
    own.copied().unwrap_or_else(|| Subnet::of(address, 24))
}

fn prefix(address: Ipv6Addr) -> u64 {
    (address.to_bits() >> 64) as u64
}

/// At most `room` peers, chosen by chance: of near hosts first, then of far ones; and of each host one, before any
/// has two. So a host with many addresses is told of no more than others are. `hosts`: whether each is near, and its peers.
pub fn choose<T: Clone>(
    hosts: impl Iterator<Item = (bool, impl Iterator<Item = T>)>,
    room: usize,
    random: &mut impl Rng,
) -> Vec<T> {
    let (mut near, mut far) = (Vec::new(), Vec::new());
    for (is_near, peers) in hosts {
        let all = if is_near { &mut near } else { &mut far };
        let before = all.len();
        all.extend(peers.map(|p| (0, p)));
        let theirs = &mut all[before..];
        if theirs.len() > 1 {
            theirs.shuffle(random);
            (0..).zip(theirs).for_each(|(rank, peer)| peer.0 = rank);
        }
    }
    let for_far = (room / FAR_SHARE).max(FAR_LEAST).min(room / 2).min(far.len());
    let of_near = near.len().min(room - for_far);
    // What the near leave is for the far.
    let mut chosen = in_turn(near, of_near, random);
    chosen.extend(in_turn(far, room - of_near, random));
    chosen
}

/// By chance among the first of each host, then among the second ones.
fn in_turn<T: Clone>(peers: Vec<(usize, T)>, room: usize, random: &mut impl Rng) -> Vec<T> {
    let (first, mut later): (Vec<_>, Vec<_>) = peers.into_iter().partition(|(rank, _)| *rank == 0);
    let mut chosen: Vec<T> = first.choose_multiple(random, room).map(|(_, p)| p.clone()).collect();
    if chosen.len() < room {
        later.shuffle(random);
        later.sort_by_key(|(rank, _)| *rank);
        let left = room - chosen.len();
        chosen.extend(later.into_iter().take(left).map(|(_, p)| p));
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};
    use rand::{SeedableRng, rngs::StdRng};
    use std::collections::HashSet;

    #[test]
    fn near_is_the_own_network() {
        let subnets: Vec<Subnet> =
            ["10.1.0.0/16", "10.1.7.0/24", "192.168.0.0/25"].map(|s| s.parse().unwrap()).into();
        for (a, b, want) in [
            ("10.9.1.1", "10.9.1.200", true),
            ("10.9.1.1", "10.9.2.1", false),
            ("10.1.1.1", "10.1.250.1", true),
            ("10.1.7.1", "10.1.7.2", true),
            ("10.1.7.1", "10.1.8.2", false),
            ("192.168.0.1", "192.168.0.126", true),
            ("192.168.0.1", "192.168.0.200", false),
            ("::ffff:10.9.1.1", "10.9.1.2", true),
            ("fd00:0:0:1::1", "fd00:0:0:1:ffff::", true),
            ("fd00:0:0:1::1", "fd00:0:0:2::1", false),
            ("10.9.1.1", "fd00::1", false),
        ] {
            let (a, b): (IpAddr, IpAddr) = (a.parse().unwrap(), b.parse().unwrap());
            assert_eq!((near(a, b, &subnets), near(b, a, &subnets)), (want, want), "{a} {b}");
        }
    }

    proptest! {
        #[test]
        fn near_first_and_never_only_them(near in vec(0u16..500, 0..80), far in vec(500u16..1000, 0..80), room in 0usize..100, seed: u64) {
            let near: HashSet<u16> = near.into_iter().collect();
            let far: HashSet<u16> = far.into_iter().collect();
            let of = |list: &HashSet<u16>, n: u16| list.iter().copied().filter(|p| p % 7 == n).collect::<Vec<u16>>();
            let hosts = (0..7).flat_map(|n| [(true, of(&near, n).into_iter()), (false, of(&far, n).into_iter())]);
            let got = choose(hosts, room, &mut StdRng::seed_from_u64(seed));
            prop_assert_eq!(got.len(), room.min(near.len() + far.len()), "as many as there are, and no more");
            prop_assert_eq!(got.iter().collect::<HashSet<_>>().len(), got.len(), "nobody twice");
            prop_assert!(got.is_sorted_by_key(|p| *p >= 500), "near ones first: {:?}", got);
            let got_far = got.iter().filter(|p| **p >= 500).count();
            if room >= 4 {
                prop_assert!(got_far >= far.len().min((room / 4).max(2)), "{got_far} far ones of {}", far.len());
            }
            prop_assert!(got.len() - got_far >= near.len().min(room / 2), "the near are not crowded out");
            let near_got: HashSet<u16> = got.iter().copied().filter(|p| *p < 500).collect();
            let most = (0..7).map(|n| of(&near_got, n).len()).max().unwrap_or(0);
            prop_assert!((0..7).all(|n| of(&near_got, n).len() + 1 >= most.min(of(&near, n).len())), "in turn");
        }
    }
}
