// SPDX-License-Identifier: GPL-3.0-or-later
//! Sums over all that machines have told. A machine counts its own bytes from
//! its own start; these only grow, whoever reboots or is forgotten.

use bootspec::{Heartbeat, Phase, heartbeat::PhaseStart};
use serde::{Deserialize, Serialize};

/// Upper bounds of the boot times' classes, in seconds. Above is a class too.
pub const CLASSES: [f64; 13] =
    [5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 300.0, 600.0, f64::INFINITY];

/// More between two heartbeats is not a number of bytes.
const MOST: u64 = 1 << 40;
/// A boot that took longer is counted as this.
const LONGEST: f64 = 86_400.0;

/// The sums.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Bytes that machines have from our seeder.
    pub from_server: u64,
    /// Bytes that they have from us over HTTP.
    pub from_http: u64,
    /// Bytes that they have from each other.
    pub from_machines: u64,
    /// Boots that came to their end.
    pub booted: u64,
    /// Boots that did not.
    pub failed: u64,
    /// Seconds that all boots together took, from the kernel's start.
    pub boot_seconds: f64,
    /// How many boots took no longer than each of [`CLASSES`].
    pub boot_classes: [u64; CLASSES.len()],
    /// Heartbeats that were taken.
    pub heartbeats: u64,
    /// Heartbeats that were not.
    pub refused: u64,
}

impl Totals {
    /// A machine tells something new. `before`: what it told last. `watched`: how long we have been listening, in seconds.
    pub fn hear(&mut self, before: Option<&Heartbeat>, new: &Heartbeat, watched: f64) {
        self.heartbeats += 1;
        let same_boot =
            before.filter(|b| b.infohash == new.infohash && b.uptime <= new.uptime && b.phase <= new.phase);
        // Of a machine that was there before us, what it had already is not news.
        let base = match same_boot {
            Some(b) => b.progress.clone(),
            None if new.uptime <= watched => Default::default(),
            None => new.progress.clone(),
        };
        let p = &new.progress;
        for (sum, now, then) in [
            (&mut self.from_server, p.from_server, base.from_server),
            (&mut self.from_http, p.from_http, base.from_http),
            (&mut self.from_machines, p.from_peers, base.from_peers),
        ] {
            *sum = sum.saturating_add(now.saturating_sub(then).min(MOST));
        }
        // Another image in the same boot: the machine was switched, not booted.
        let switched = before.is_some_and(|b| b.phase == Phase::Seed && b.uptime <= new.uptime);
        let arrived = same_boot.map_or(new.uptime <= watched && !switched, |b| b.phase != new.phase);
        match new.phase {
            Phase::Seed if arrived => self.boot(boot_seconds(new)),
            Phase::Failed if arrived => self.failed += 1,
            _ => {}
        }
    }

    fn boot(&mut self, seconds: f64) {
        self.booted += 1;
        self.boot_seconds += seconds;
        for (class, count) in CLASSES.iter().zip(&mut self.boot_classes) {
            *count += u64::from(seconds <= *class);
        }
    }
}

/// How long a machine took from its kernel's start until its root was mounted.
pub fn boot_seconds(h: &Heartbeat) -> f64 {
    let rooted = |p: &&PhaseStart| matches!(p.phase, Phase::Streaming | Phase::Seed);
    let at = h.phases.iter().find(rooted).map_or(h.uptime, |p| p.at);
    (h.kernel_uptime + at).clamp(0.0, LONGEST)
}

/// The same until its image was complete, where the root was mounted before that.
pub fn complete_seconds(h: &Heartbeat) -> Option<f64> {
    let at = |phase| h.phases.iter().find(|p| p.phase == phase).map(|p| p.at);
    at(Phase::Streaming)?;
    Some((h.kernel_uptime + at(Phase::Seed)?).clamp(0.0, LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bootspec::Progress;

    fn beat(phase: Phase, uptime: f64, peers: u64) -> Heartbeat {
        let progress = Progress { from_peers: peers, from_server: 1, ..Default::default() };
        Heartbeat { phase, uptime, progress, kernel_uptime: 4.0, ..Default::default() }
    }

    #[test]
    fn only_grows_and_counts_each_boot_once() {
        let mut t = Totals::default();
        let first = beat(Phase::Download, 1.0, 100);
        t.hear(None, &first, 50.0);
        let more = beat(Phase::Download, 2.0, 300);
        t.hear(Some(&first), &more, 51.0);
        assert_eq!((t.from_server, t.from_machines, t.booted), (1, 300, 0));
        let booted = Heartbeat {
            phases: vec![PhaseStart { phase: Phase::Seed, at: 8.0 }],
            ..beat(Phase::Seed, 9.0, 400)
        };
        t.hear(Some(&more), &booted, 58.0);
        t.hear(Some(&booted), &Heartbeat { uptime: 60.0, ..booted.clone() }, 110.0);
        assert_eq!(
            (t.from_machines, t.booted, t.boot_seconds, t.boot_classes[1], t.boot_classes[2]),
            (400, 1, 12.0, 0, 1)
        );
        // It is switched to another image: what it has fetched of that counts, and it has not booted.
        let other = Heartbeat {
            infohash: Some(bootspec::InfoHash([1; 20])),
            uptime: 70.0,
            ..beat(Phase::Seed, 70.0, 5)
        };
        let mut switched = t.clone();
        switched.hear(Some(&booted), &other, 120.0);
        assert_eq!((switched.from_machines, switched.booted), (405, 1));
        // It is switched on again: what it counts begins anew.
        t.hear(Some(&booted), &beat(Phase::Download, 1.0, 70), 200.0);
        assert_eq!((t.from_server, t.from_machines), (2, 470));
        t.hear(None, &beat(Phase::Failed, 1.0, 0), 200.0);
        assert_eq!((t.failed, t.heartbeats), (1, 6));
    }

    #[test]
    fn who_was_there_before_us_is_no_news() {
        let mut t = Totals::default();
        let old = beat(Phase::Seed, 3600.0, 1000);
        t.hear(None, &old, 5.0);
        assert_eq!((t.from_machines, t.booted), (0, 0));
        t.hear(Some(&old), &beat(Phase::Seed, 3610.0, 1100), 15.0);
        assert_eq!((t.from_machines, t.booted), (100, 0));
    }

    #[test]
    fn nonsense_is_bounded() {
        let mut t = Totals::default();
        let liar = Heartbeat { kernel_uptime: 1e300, ..beat(Phase::Seed, -1.0, u64::MAX) };
        t.hear(None, &liar, 5.0);
        t.hear(Some(&liar), &liar, 5.0);
        assert_eq!((t.from_machines, t.boot_seconds), (MOST, LONGEST));
        assert_eq!(t.boot_classes[CLASSES.len() - 1], 1);
    }
}
