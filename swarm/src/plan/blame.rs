// SPDX-License-Identifier: GPL-3.0-or-later
//! Who is to blame for a wrong piece. When one peer has sent all of it, that one is. When several have, the sum of
//! each one's blocks is kept until the piece is right: then it shows whose blocks were others.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

/// SHA-1 of a block.
pub type Sum = [u8; 20];

/// A block of a wrong piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Which.
    pub block: u32,
    /// Who has sent it.
    pub by: IpAddr,
    /// What it was.
    pub sum: Sum,
}

/// Wrong pieces of which it is not known yet who was to blame. No more than a sum for each block of the payload.
#[derive(Default)]
pub struct Blame {
    open: HashMap<u32, Vec<Sent>>,
}

impl Blame {
    /// A piece of so many blocks was wrong. Who is to blame, if that is certain.
    pub fn wrong(&mut self, piece: u32, blocks: u32, sent: Vec<Sent>) -> Option<IpAddr> {
        let first = sent.first()?.by;
        if sent.len() == blocks as usize && sent.iter().all(|s| s.by == first) {
            return Some(first);
        }
        // Wrong again before it was right: those of the first time are not forgotten, but there is no end of them either.
        let open = self.open.entry(piece).or_default();
        let room = (4 * blocks as usize).saturating_sub(open.len());
        open.extend(sent.into_iter().take(room));
        None
    }

    /// The blocks of a piece of which the sum is asked for when it is right.
    pub fn asks(&self, piece: u32) -> Vec<u32> {
        let mut blocks: Vec<u32> = self.open.get(&piece).into_iter().flatten().map(|s| s.block).collect();
        blocks.sort_unstable();
        blocks.dedup();
        blocks
    }

    /// A piece is right, and these are its blocks' sums: who had sent others.
    pub fn right(&mut self, piece: u32, sums: &HashMap<u32, Sum>) -> HashSet<IpAddr> {
        let sent = self.open.remove(&piece).unwrap_or_default();
        let other = |s: &Sent| sums.get(&s.block).is_some_and(|sum| *sum != s.sum);
        sent.iter().filter(|s| other(s)).map(|s| s.by).collect()
    }

    /// Whether somebody had part in a wrong piece, and it is not known yet who was to blame.
    pub fn suspects(&self, who: IpAddr) -> bool {
        self.open.values().flatten().any(|s| s.by == who)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn sent(block: u32, by: u8, sum: u8) -> Sent {
        Sent { block, by: ip(by), sum: [sum; 20] }
    }

    #[test]
    fn who_sent_all_of_it_is_guilty_at_once() {
        let mut blame = Blame::default();
        assert_eq!(blame.wrong(7, 2, vec![sent(0, 1, 0), sent(1, 1, 9)]), Some(ip(1)));
        assert!(!blame.suspects(ip(1)) && blame.asks(7).is_empty());
        assert_eq!(blame.wrong(7, 2, vec![]), None, "nobody has sent anything");
    }

    #[test]
    fn of_several_the_right_piece_tells_who_it_was() {
        let mut blame = Blame::default();
        assert_eq!(blame.wrong(7, 3, vec![sent(0, 1, 0), sent(1, 2, 9), sent(2, 1, 2)]), None);
        assert!(blame.suspects(ip(1)) && blame.suspects(ip(2)) && !blame.suspects(ip(3)));
        assert_eq!(blame.asks(7), [0, 1, 2]);
        let sums = (0..3).map(|b| (b, [b as u8; 20])).collect();
        assert_eq!(blame.right(7, &sums), HashSet::from([ip(2)]));
        assert!(!blame.suspects(ip(1)) && !blame.suspects(ip(2)));
    }

    #[test]
    fn what_was_here_before_may_have_been_wrong() {
        let mut blame = Blame::default();
        assert_eq!(blame.wrong(7, 3, vec![sent(2, 1, 2)]), None, "two blocks are nobody's");
        let sums = (0..3).map(|b| (b, [b as u8; 20])).collect();
        assert_eq!(blame.right(7, &sums), HashSet::new());
    }

    #[test]
    fn is_bounded() {
        let mut blame = Blame::default();
        (0..100).for_each(|_| _ = blame.wrong(7, 2, vec![sent(0, 1, 0), sent(1, 2, 0)]));
        assert_eq!(blame.open[&7].len(), 8);
    }
}
