// SPDX-License-Identifier: GPL-3.0-or-later
//! Whether a machine gets from its neighbours what it can take.
//!
//! Each machine has a pace that is expected of it, and falls behind that pace or keeps up with it, whoever sends. While
//! it keeps up, the server need not help. When it falls behind, the server makes up for what is missing. Help is a
//! trial: when a machine gets no more with help than without, its link is full, and less is expected of it. After each
//! trial the server holds back, since neighbours may have become able to send all, and only share the machine's link
//! with the server. As long as help helps, each trial is longer than the one before.
//!
//! A machine that keeps up is expected to be quicker by and by, so that somebody who claims to have everything and
//! sends little cannot hold a machine at that rate.
//!
//! Pure, as everything in [`super`].

use std::time::Duration;

/// A machine may be so far behind until the server helps: longer than it takes to find neighbours and to ask them.
const SLACK: f64 = 0.15;
/// And the time of so many pieces, since pieces are fetched side by side and arrive together; but no longer than this.
const SIDE_BY_SIDE: f64 = 8.0;
const SIDE_BY_SIDE_MOST: f64 = 1.0;
/// What is beyond that is made up for, and no more is remembered.
const DEBT: f64 = 0.1;
/// What comes so soon after help begins or ends is not measured: what the server has sent counts as arrived, and
/// some of it is still in buffers.
const SETTLES: f64 = 0.15;
/// How long a trial is measured at least, and at most; and the pieces that must have arrived to know a rate.
const TRIAL: f64 = 0.3;
const TRIAL_MOST: f64 = 30.0;
const PIECES: f64 = 16.0;
/// With help it gets so many times as much as without, if help helps.
const HELPS: f64 = 1.1;
/// How much quicker a machine is expected to be after each second that it keeps up.
const QUICKER: f64 = 0.005;
/// And one that could take all help that it needed, so many times as quick: it may be able to take more.
const MORE: f64 = 1.25;
/// And one that is ahead, with each second that it gets further ahead: so many times as quick.
const AHEAD: f64 = 2.0;

/// The pace of one machine.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Pieces a second. Infinite until something is known.
    expected: f64,
    /// Seconds that it is behind; below 0, ahead.
    behind: f64,
    at: Duration,
    /// Whether a trial is under way; seconds since it began, or since the last one ended; and how long one is measured.
    helped: bool,
    since: f64,
    trial: f64,
    /// Seconds that are measured of this, and pieces that have arrived in them. Pieces a second before the trial.
    measured: (f64, f64),
    alone: f64,
}

impl Pace {
    /// A machine that comes at `now`, and what is expected of it: the pace of others, if any is known.
    pub fn new(others: Option<f64>, now: Duration) -> Self {
        let expected = others.unwrap_or(f64::INFINITY);
        Self {
            expected,
            behind: 0.0,
            at: now,
            helped: false,
            since: 0.0,
            trial: TRIAL,
            measured: (0.0, 0.0),
            alone: 0.0,
        }
    }

    /// Pieces a second that are expected, if that is known.
    pub fn known(&self) -> Option<f64> {
        self.expected.is_finite().then_some(self.expected)
    }

    /// A piece has arrived there, from whomever.
    pub fn arrived(&mut self, now: Duration) {
        self.advance(now);
        if self.since > SETTLES {
            self.measured.1 += 1.0;
        }
        self.behind -= 1.0 / self.expected;
        let ahead = -self.slack();
        if self.behind < ahead {
            self.expected *= 1.0 + AHEAD * (ahead - self.behind);
            self.behind = ahead;
        }
    }

    /// Pieces that the server should add to what the machine gets.
    pub fn missing(&mut self, now: Duration) -> f64 {
        self.advance(now);
        match self.behind - self.slack() {
            late if late <= 0.0 => 0.0,
            late => late * self.expected,
        }
    }

    /// Seconds behind at which the server begins to help.
    fn slack(&self) -> f64 {
        SLACK + (SIDE_BY_SIDE / self.expected).min(SIDE_BY_SIDE_MOST)
    }

    fn advance(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.at = now;
        let slack = self.slack();
        self.behind = match self.known() {
            Some(_) => (self.behind + passed).min(slack + DEBT),
            None => slack + DEBT,
        };
        if !self.helped && self.behind > slack {
            self.alone = self.rate();
            self.begin(true);
        }
        self.since += passed;
        if self.since > SETTLES {
            self.measured.0 += passed;
        }
        if !self.helped {
            self.expected *= 1.0 + QUICKER * passed.min(1.0);
        } else if self.measured.0 >= self.trial && self.measured.1 >= PIECES {
            self.judge();
        } else if self.behind <= 0.0 {
            // Neighbours send it all, and more.
            self.begin(false);
        }
    }

    /// Help begins or ends.
    fn begin(&mut self, helped: bool) {
        (self.helped, self.since, self.measured) = (helped, 0.0, (0.0, 0.0));
    }

    /// Pieces a second, as far as it was measured.
    fn rate(&self) -> f64 {
        let (seconds, pieces) = self.measured;
        if seconds > 0.0 { pieces / seconds } else { 0.0 }
    }

    /// A trial is over.
    fn judge(&mut self) {
        let rate = self.rate();
        let (helps, enough) = (rate > self.alone * HELPS, self.behind < self.slack() + DEBT * 0.9);
        self.trial = if helps { (self.trial * 2.0).min(TRIAL_MOST) } else { TRIAL };
        self.expected = if helps && enough { self.expected * MORE } else { rate.min(self.expected) };
        self.behind = self.slack() / 2.0;
        self.begin(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A machine whose link takes `link` pieces a second. Neighbours could send `given`, and the server sends what is
    /// missing; both share the link. Pieces a second from neighbours and from the server, over the second half of the time.
    fn room(others: Option<f64>, link: f64, given: f64, seconds: u32) -> (f64, f64) {
        let mut pace = Pace::new(others, Duration::ZERO);
        let (mut due, mut got) = (0.0, [0.0; 2]);
        for tick in 0..seconds * 100 {
            let now = MS * 10 * tick;
            let link = link / 100.0;
            let both = [given / 100.0, pace.missing(now).min(link)];
            let full = (link / (both[0] + both[1])).min(1.0);
            let both = both.map(|b| b * full);
            due += both[0] + both[1];
            while due >= 1.0 {
                due -= 1.0;
                pace.arrived(now);
            }
            if tick >= seconds * 50 {
                (got[0], got[1]) = (got[0] + both[0], got[1] + both[1]);
            }
        }
        let half = f64::from(seconds) / 2.0;
        (got[0] / half, got[1] / half)
    }

    #[test]
    fn one_of_which_nothing_is_known_has_all_help_at_once() {
        let mut pace = Pace::new(None, Duration::ZERO);
        assert_eq!((pace.missing(Duration::ZERO), pace.known()), (f64::INFINITY, None));
        (1..=600).for_each(|ms| pace.arrived(MS * ms));
        let known = pace.known().unwrap();
        assert!((950.0..1050.0).contains(&known), "{known}");
    }

    #[test]
    fn one_that_keeps_up_gets_next_to_nothing() {
        for link in [100.0, 500.0, 2000.0] {
            let (neighbours, server) = room(Some(link), link, link, 120);
            assert!(server < link * 0.05 && neighbours > link * 0.9, "{link}: {neighbours} {server}");
        }
        // Few large pieces tell less.
        let (neighbours, server) = room(Some(10.0), 10.0, 10.0, 120);
        assert!(server < 3.0 && neighbours > 7.0, "{neighbours} {server}");
    }

    #[test]
    fn what_neighbours_cannot_give_is_made_up_for() {
        for given in [0.0, 10.0, 50.0, 90.0] {
            let (neighbours, server) = room(Some(100.0), 100.0, given, 60);
            assert!(neighbours + server > 90.0, "{given}: {neighbours} {server}");
            assert!(neighbours >= given * 0.6, "{given}: {neighbours} {server}");
        }
    }

    #[test]
    fn of_a_narrower_link_less_is_expected() {
        let (neighbours, server) = room(Some(1000.0), 100.0, 100.0, 60);
        assert!(server < 5.0 && neighbours > 94.0, "{neighbours} {server}");
    }

    #[test]
    fn neither_claims_nor_drops_hold_a_machine_down() {
        // Everybody says that one piece a second is usual, and that is what they send.
        let (neighbours, server) = room(Some(1.0), 100.0, 1.0, 900);
        assert!(neighbours + server > 50.0, "{neighbours} {server}");
    }

    #[test]
    fn nothing_is_late_at_once() {
        let mut pace = Pace::new(Some(1000.0), Duration::ZERO);
        assert_eq!(pace.missing(MS * 100), 0.0);
        let late = pace.missing(MS * 200);
        assert!((20.0..60.0).contains(&late), "{late}");
    }
}
