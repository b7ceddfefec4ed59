// SPDX-License-Identifier: GPL-3.0-or-later
//! What each address was sent, so that whoever fetches the same again and again can be told from whoever fetches. Pure, as
//! everything in [`super`].

use super::{Bits, Layout};
use std::{collections::HashMap, net::IpAddr, time::Duration};

/// Addresses of which this is remembered, and for how long.
const REMEMBERED: usize = 1024;
const FORGOTTEN: Duration = Duration::from_secs(600);
/// Everything twice is a machine that was started again; and so much more is sent without a question.
const TIMES: u64 = 2;
const SLACK: u64 = 8 << 20;

struct Sent {
    bytes: u64,
    pieces: Bits,
    at: Duration,
}

/// See the module's text.
#[derive(Default)]
pub struct Given(HashMap<IpAddr, Sent>);

impl Given {
    /// Bytes of a piece went out. True: with these, the address fetches the same again and again.
    pub fn sent(&mut self, to: IpAddr, piece: u32, bytes: u32, layout: Layout, now: Duration) -> bool {
        let before = self.again(to, layout, now);
        if !self.0.contains_key(&to) && self.0.len() >= REMEMBERED {
            self.0.retain(|_, s| now.saturating_sub(s.at) < FORGOTTEN);
            let oldest = self.0.iter().min_by_key(|(_, s)| s.at).map(|(ip, _)| *ip);
            if let Some(oldest) = oldest.filter(|_| self.0.len() >= REMEMBERED) {
                self.0.remove(&oldest);
            }
        }
        let fresh = || Sent { bytes: 0, pieces: Bits::none(layout.pieces()), at: now };
        let sent = self.0.entry(to).or_insert_with(fresh);
        if now.saturating_sub(sent.at) >= FORGOTTEN {
            *sent = fresh();
        }
        sent.pieces.insert(piece);
        (sent.bytes, sent.at) = (sent.bytes + u64::from(bytes), now);
        !before && self.again(to, layout, now)
    }

    /// Whether an address fetches the same again and again.
    pub fn again(&self, to: IpAddr, layout: Layout, now: Duration) -> bool {
        let Some(sent) = self.0.get(&to).filter(|s| now.saturating_sub(s.at) < FORGOTTEN) else {
            return false;
        };
        sent.bytes > u64::from(sent.pieces.count()) * u64::from(layout.piece_length()) * TIMES + SLACK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_piece_over_and_over_is_known_for_what_it_is() {
        let (mut given, now) = (Given::default(), Duration::from_secs(1));
        let layout = Layout::new(64 << 20, 256 << 10);
        let (honest, other): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        for _ in 0..2 {
            (0..layout.pieces()).for_each(|p| assert!(!given.sent(honest, p, 256 << 10, layout, now)));
        }
        assert!(!given.again(honest, layout, now), "started again");
        let found = (0..40).filter(|_| given.sent(other, 7, 256 << 10, layout, now)).count();
        assert!(given.again(other, layout, now) && found == 1, "and found once");
        assert!(!given.again(other, layout, now + FORGOTTEN), "for a while");
        given.sent(other, 7, 1, layout, now + FORGOTTEN);
        assert!(!given.again(other, layout, now + FORGOTTEN));
    }

    #[test]
    fn is_bounded() {
        let (mut given, layout) = (Given::default(), Layout::new(1 << 20, 1 << 16));
        for n in 0..5000u32 {
            given.sent(IpAddr::from(n.to_be_bytes()), 0, 1, layout, Duration::from_millis(n.into()));
        }
        assert_eq!(given.0.len(), REMEMBERED);
        assert!(given.0.contains_key(&IpAddr::from(4999u32.to_be_bytes())));
    }
}
