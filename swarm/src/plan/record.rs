// SPDX-License-Identifier: GPL-3.0-or-later
//! What came of the pieces that each address has sent, and who is banned for it. A ban ends after a while; one wrong
//! piece among many right ones is an accident; and when wrong pieces come from everybody, nobody is banned, since it is
//! more likely that our own memory or disk makes them wrong. Pure, as everything in [`super`].

use std::{collections::HashMap, net::IpAddr, time::Duration};

/// How long a ban lasts.
const BAN: Duration = Duration::from_secs(600);
/// Right pieces for each wrong one, of somebody who is not banned.
const FORGIVEN: u32 = 64;
/// Right pieces, and none wrong, of somebody who shows that our memory is well.
const WELL: u32 = 8;
/// Addresses that are remembered. One that is not has sent nothing wrong.
const REMEMBERED: usize = 4096;

#[derive(Default)]
struct Sender {
    right: u32,
    wrong: u32,
    banned: Option<Duration>,
}

/// See the module's text.
#[derive(Default)]
pub struct Record(HashMap<IpAddr, Sender>);

impl Record {
    /// A piece was right, and this address had part in it.
    pub fn right(&mut self, who: IpAddr) {
        if let Some(sender) = self.of(who) {
            sender.right = sender.right.saturating_add(1);
        }
    }

    /// A piece was wrong because of this address. True: it is banned.
    pub fn wrong(&mut self, who: IpAddr, now: Duration) -> bool {
        let Some(sender) = self.of(who) else { return false };
        sender.wrong = sender.wrong.saturating_add(1);
        if sender.right >= sender.wrong.saturating_mul(FORGIVEN) {
            return false;
        }
        sender.banned = Some(now + BAN);
        !self.doubtful()
    }

    /// Whether our own memory or disk is in doubt: several have sent wrong pieces, and nobody is known who sends right ones.
    pub fn doubtful(&self) -> bool {
        let wrong = self.0.values().filter(|s| s.wrong > 0).count();
        wrong >= 2 && !self.0.values().any(|s| s.wrong == 0 && s.right >= WELL)
    }

    /// Whether an address is banned.
    pub fn is_banned(&self, who: IpAddr, now: Duration) -> bool {
        let until = self.0.get(&who).and_then(|s| s.banned);
        until.is_some_and(|until| now < until) && !self.doubtful()
    }

    /// Who is banned.
    pub fn banned(&self, now: Duration) -> Vec<IpAddr> {
        self.0.keys().copied().filter(|ip| self.is_banned(*ip, now)).collect()
    }

    fn of(&mut self, who: IpAddr) -> Option<&mut Sender> {
        if self.0.len() >= REMEMBERED && !self.0.contains_key(&who) {
            self.0.retain(|_, s| s.wrong > 0);
        }
        (self.0.len() < REMEMBERED || self.0.contains_key(&who)).then(|| self.0.entry(who).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(7);

    fn ip(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    #[test]
    fn a_liar_is_banned_for_a_while() {
        let mut record = Record::default();
        assert!(record.wrong(ip(1), NOW));
        assert!(record.is_banned(ip(1), NOW) && !record.is_banned(ip(2), NOW));
        assert_eq!(record.banned(NOW), [ip(1)]);
        assert!(!record.is_banned(ip(1), NOW + BAN));
        assert!(record.wrong(ip(1), NOW + BAN) && record.is_banned(ip(1), NOW + BAN));
    }

    #[test]
    fn one_wrong_piece_among_many_right_ones_is_an_accident() {
        let mut record = Record::default();
        (0..FORGIVEN).for_each(|_| record.right(ip(1)));
        assert!(!record.wrong(ip(1), NOW) && !record.is_banned(ip(1), NOW));
        assert!(record.wrong(ip(1), NOW), "two are not");
    }

    #[test]
    fn when_everybody_seems_to_lie_it_is_us() {
        let mut record = Record::default();
        assert!(record.wrong(ip(1), NOW));
        (0..3).for_each(|_| record.right(ip(2)));
        assert!(!record.wrong(ip(2), NOW), "the second, and nobody is well");
        assert!(record.doubtful() && record.banned(NOW).is_empty());
        // Then somebody shows that pieces can be right here.
        (0..WELL).for_each(|_| record.right(ip(3)));
        assert!(!record.doubtful());
        let mut banned = record.banned(NOW);
        banned.sort();
        assert_eq!(banned, [ip(1), ip(2)]);
    }

    #[test]
    fn is_bounded_and_forgets_no_liar() {
        let mut record = Record::default();
        record.wrong(ip(1), NOW);
        (0..10_000u32).for_each(|n| record.right(IpAddr::from((n + (11 << 24)).to_be_bytes())));
        assert!(record.0.len() <= REMEMBERED && record.0.contains_key(&ip(1)));
    }
}
