// SPDX-License-Identifier: GPL-3.0-or-later
//! What a peer's messages cost us. A message that brings something new, or asks for what we are here to give, is free;
//! one that only makes us work is paid for, and a peer that has spent its allowance is not listened to until it has
//! some again. So a flood slows down whoever sends it, and nobody else. Pure, as everything in [`super`].

use std::time::Duration;

/// What may be spent at once: the burst of a client that repeats itself without meaning harm.
const BURST: f64 = 2000.0;
/// And each second after that. A unit is worth about a microsecond of ours.
const RATE: f64 = 500.0;

/// The allowance of one peer.
#[derive(Debug)]
pub struct Effort {
    left: f64,
    at: Duration,
}

impl Default for Effort {
    fn default() -> Self {
        Self { left: BURST, at: Duration::ZERO }
    }
}

impl Effort {
    /// Spend `cost` at `now`. Some: do not listen to this peer for so long.
    pub fn spend(&mut self, cost: u32, now: Duration) -> Option<Duration> {
        let since = now.saturating_sub(self.at);
        self.left = (self.left + since.as_secs_f64() * RATE).min(BURST) - f64::from(cost);
        self.at = now;
        (self.left < 0.0).then(|| Duration::from_secs_f64(-self.left / RATE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn whoever_waits_as_told_is_heard_again() {
        let mut effort = Effort::default();
        let mut now = Duration::ZERO;
        assert_eq!(effort.spend(BURST as u32, now), None, "a burst is nothing to wait for");
        let wait = effort.spend(50, now).expect("the allowance is spent");
        assert_eq!(wait, Duration::from_millis(100));
        now += wait;
        assert_eq!(effort.spend(0, now), None);
        assert!(effort.spend(1, now).is_some());
    }

    proptest! {
        #[test]
        fn nobody_spends_more_than_burst_and_rate(costs in proptest::collection::vec((0u32..5000, 0u64..50), 1..300)) {
            let (mut effort, mut now, mut spent) = (Effort::default(), Duration::ZERO, 0.0);
            for (cost, pause) in costs {
                now += Duration::from_millis(pause);
                spent += f64::from(cost);
                now += effort.spend(cost, now).unwrap_or_default();
                prop_assert!(spent <= BURST + now.as_secs_f64() * RATE + 1.0);
            }
        }
    }
}
