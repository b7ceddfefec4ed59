// SPDX-License-Identifier: GPL-3.0-or-later
//! Counters become [`Progress`], with rates since the last look.

use crate::torrent::Shared;
use bootspec::Progress;
use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

/// Rates, as they were.
#[derive(Default)]
pub(crate) struct Account {
    last: Option<(Instant, u64, u64)>,
    down_rate: f64,
    up_rate: f64,
}

/// The shortest time that a rate is taken over.
const SAMPLE: Duration = Duration::from_millis(400);
/// How much of a new sample counts, so that a rate is one of the last two seconds.
const FRESH: f64 = 0.25;

impl Account {
    pub(crate) fn take(&mut self, shared: &Shared) -> Progress {
        let counters = &shared.counters;
        let mut p = Progress {
            have: counters.have.load(Ordering::Relaxed),
            total: shared.wanted,
            from_server: counters.from_server.load(Ordering::Relaxed),
            from_peers: counters.from_peers.load(Ordering::Relaxed),
            from_http: shared.setup.http.as_ref().map_or(0, crate::HttpSource::received),
            uploaded: counters.uploaded.load(Ordering::Relaxed),
            peers: shared.state().conns.len() as u32,
            ..Progress::default()
        };
        self.rates(&mut p);
        p
    }

    fn rates(&mut self, p: &mut Progress) {
        let now = Instant::now();
        let (then, down, up) = *self.last.get_or_insert((now, p.received(), p.uploaded));
        let elapsed = now.duration_since(then);
        if elapsed >= SAMPLE {
            let mix =
                |old: f64, bytes: u64| old * (1.0 - FRESH) + bytes as f64 / elapsed.as_secs_f64() * FRESH;
            self.down_rate = mix(self.down_rate, p.received().saturating_sub(down));
            self.up_rate = mix(self.up_rate, p.uploaded.saturating_sub(up));
            self.last = Some((now, p.received(), p.uploaded));
        }
        (p.down_rate, p.up_rate) = (self.down_rate as u64, self.up_rate as u64);
    }
}
