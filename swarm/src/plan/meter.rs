// SPDX-License-Identifier: GPL-3.0-or-later
//! A rate over the last half second, on whatever clock it is told.

use std::time::Duration;

/// Bytes a second. Cheap: two additions for each block.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    window: Duration,
    bytes: u64,
    rate: f64,
}

const WINDOW: Duration = Duration::from_millis(250);

impl Meter {
    /// So many bytes came (or went) at `now`.
    pub fn add(&mut self, now: Duration, bytes: u64) {
        self.roll(now);
        self.bytes += bytes;
    }

    /// Bytes a second. 0 until the first window is over.
    pub fn rate(&mut self, now: Duration) -> f64 {
        self.roll(now);
        self.rate
    }

    /// The same, or what this window has brought so far if that is more: a rate that rises quickly.
    pub fn rising(&mut self, now: Duration) -> f64 {
        self.rate(now).max(self.bytes as f64 / WINDOW.as_secs_f64())
    }

    fn roll(&mut self, now: Duration) {
        let elapsed = now.saturating_sub(self.window);
        if elapsed < WINDOW {
            return;
        }
        let fresh = self.bytes as f64 / elapsed.as_secs_f64();
        // Half of it is new: one burst is not a rate, and one pause no stop.
        self.rate = if self.rate == 0.0 { fresh } else { (self.rate + fresh) / 2.0 };
        (self.window, self.bytes) = (now, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_what_comes() {
        let mut m = Meter::default();
        for ms in 0..2000 {
            m.add(Duration::from_millis(ms), 1000);
        }
        let rate = m.rate(Duration::from_secs(2));
        assert!((900_000.0..1_100_000.0).contains(&rate), "{rate}");
        for s in 2..6 {
            m.rate(Duration::from_secs(s));
        }
        assert!(m.rate(Duration::from_secs(6)) < 100_000.0);
    }
}
