// SPDX-License-Identifier: GPL-3.0-or-later
//! Progress of long work on stderr: one line redrawn on a terminal, whole
//! lines now and then elsewhere, so that logs stay readable.

use bootspec::units::human_size;
use std::{
    io::{IsTerminal, Write, stderr},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

const REDRAW: Duration = Duration::from_millis(200);
const WHOLE_LINES: Duration = Duration::from_secs(5);

/// Whether nobody looks at stderr for progress.
static QUIET: AtomicBool = AtomicBool::new(false);

/// From now on no meter shows anything: the daemon's log is for events.
pub fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// The progress of one step.
pub struct Meter {
    label: String,
    total: Option<u64>,
    every: Option<Duration>,
    shown: Instant,
    redrawn: bool,
}

impl Meter {
    /// A step of `total` bytes, where that is known.
    pub fn new(label: impl Into<String>, total: Option<u64>) -> Meter {
        let every = if stderr().is_terminal() { REDRAW } else { WHOLE_LINES };
        let every = (!QUIET.load(Ordering::Relaxed)).then_some(every);
        Meter { label: label.into(), total, every, shown: Instant::now(), redrawn: false }
    }

    /// So many bytes are done.
    pub fn update(&mut self, done: u64) {
        let Some(every) = self.every.filter(|e| self.shown.elapsed() >= *e) else { return };
        self.shown = Instant::now();
        let text = text(&self.label, done, self.total);
        // Nobody reads stderr: then there is nobody to tell.
        let _ = if every == REDRAW {
            self.redrawn = true;
            write!(stderr(), "\r{text}\x1b[K")
        } else {
            writeln!(stderr(), "{text}")
        };
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if self.redrawn {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

fn text(label: &str, done: u64, total: Option<u64>) -> String {
    match total {
        Some(total) if total > 0 => {
            let percent = done as f64 * 100.0 / total as f64;
            format!("{label}: {percent:.0} % ({} of {})", human_size(done), human_size(total))
        }
        _ => format!("{label}: {}", human_size(done)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_only_when_the_total_is_known() {
        assert_eq!(text("hashing", 1 << 20, Some(4 << 20)), "hashing: 25 % (1.00 MiB of 4.00 MiB)");
        assert_eq!(text("packing", 512, None), "packing: 512 B");
    }
}
