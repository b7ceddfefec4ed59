// SPDX-License-Identifier: GPL-3.0-or-later
//! How much may be dealt and not fetched yet: by all machines together, and by those of each host.
//!
//! With more, half of the payload would be promised at once in a large room, in an order that nobody chose. A host with
//! many connections that fetch little takes no more of it than the whole room could, and whoever has less than a fair
//! share is shown something whatever the others have. A host is an address ([`crate::host`]); many machines may be
//! behind one, so its connections are not counted, only what they fetch. A host whose connections come and go, and leave
//! most of what they are shown, is remembered: nobody waits for what it is dealt.
//!
//! Pure, as everything in [`super`].

use super::Meter;
use std::{collections::HashMap, net::IpAddr, time::Duration};

/// No more than is fetched in this time (or twice the time that a piece takes), or so many pieces.
const OUT: Duration = Duration::from_millis(500);
pub(super) const LEAST_OUT: f64 = 16.0;

#[derive(Default)]
struct Host {
    machines: u32,
    /// Pieces shown and not fetched yet, and those of them that count.
    open: u32,
    counted: u32,
    fetched: Meter,
    /// Pieces that were fetched, and left open by those who went.
    all: u64,
    left: u64,
}

/// Hosts that are remembered although none of their machines is here.
const REMEMBERED: usize = 1024;
/// So many pieces left open are no accident, when they are so large a part of those that were fetched.
const LEFT: u64 = 16;
const PART: u64 = 8;

/// See the module's text.
#[derive(Default)]
pub struct Budget {
    hosts: HashMap<IpAddr, Host>,
    /// What counts, of all of them.
    counted: u32,
    fetched: Meter,
    /// Hosts that have machines here.
    here: usize,
}

impl Budget {
    /// A machine of a host comes.
    pub fn join(&mut self, host: IpAddr) {
        if self.hosts.len() >= REMEMBERED.max(self.here * 2) {
            self.hosts.retain(|_, h| h.machines > 0);
        }
        let h = self.hosts.entry(host).or_default();
        self.here += usize::from(h.machines == 0);
        h.machines += 1;
    }

    /// A machine goes, that had so many pieces open, of which so many counted.
    pub fn leave(&mut self, host: IpAddr, open: u32, counted: u32) {
        self.close(host, open, counted);
        if let Some(h) = self.hosts.get_mut(&host) {
            h.machines -= 1;
            h.left += u64::from(open);
            if h.machines == 0 {
                self.here -= 1;
                if h.left == 0 {
                    self.hosts.remove(&host);
                }
            }
        }
    }

    /// A piece is shown to a machine of a host.
    pub fn open(&mut self, host: IpAddr, counts: bool) {
        let Some(h) = self.hosts.get_mut(&host) else { return };
        (h.open, h.counted) = (h.open + 1, h.counted + u32::from(counts));
        self.counted += u32::from(counts);
    }

    /// A piece that was shown is fetched.
    pub fn fetched(&mut self, host: IpAddr, counts: bool, now: Duration) {
        self.close(host, 1, u32::from(counts));
        self.fetched.add(now, 1);
        if let Some(h) = self.hosts.get_mut(&host) {
            h.fetched.add(now, 1);
            h.all += 1;
        }
    }

    fn close(&mut self, host: IpAddr, open: u32, counted: u32) {
        let Some(h) = self.hosts.get_mut(&host) else { return };
        (h.open, h.counted) = (h.open - open, h.counted - counted);
        self.counted -= counted;
    }

    /// What machines have open counts, or does not any more.
    pub fn recount(&mut self, counted: impl Iterator<Item = (IpAddr, u32)>) {
        self.hosts.values_mut().for_each(|h| h.counted = 0);
        self.counted = 0;
        for (host, counted) in counted {
            if let Some(h) = self.hosts.get_mut(&host) {
                h.counted += counted;
                self.counted += counted;
            }
        }
    }

    /// Whether a machine of a host may be shown one more. `usual`: how long a piece takes.
    pub fn may(&mut self, host: IpAddr, usual: Duration, now: Duration) -> bool {
        let most =
            |fetched: &mut Meter| (fetched.rising(now) * OUT.max(usual * 2).as_secs_f64()).max(LEAST_OUT);
        let all = most(&mut self.fetched);
        let share = (all / self.here.max(1) as f64).floor();
        let Some(h) = self.hosts.get_mut(&host) else { return false };
        // Not what stalled ones have open: an honest machine may be behind the same address.
        f64::from(h.counted) < most(&mut h.fetched)
            && (f64::from(self.counted) < all || f64::from(h.counted) < share)
    }

    /// Whether a host leaves much of what it is shown.
    pub fn leaves(&self, host: IpAddr) -> bool {
        let left = |h: &Host| h.left + u64::from(h.open - h.counted);
        self.hosts.get(&host).is_some_and(|h| left(h) > LEFT.max(h.all / PART))
    }

    /// What counts, of all.
    #[cfg(test)]
    pub fn counted(&self) -> u32 {
        self.counted
    }
}
