// SPDX-License-Identifier: GPL-3.0-or-later
//! The progress of long work: one line on stderr with a bar, size, rate and the time left. Nothing where stderr is not
//! a terminal, so that logs stay readable.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};
use std::sync::atomic::{AtomicBool, Ordering};

/// What is shown of work whose end is known, and of other work.
const TO_AN_END: &str =
    "{prefix} [{bar:16}] {percent} % of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left{msg}";
const OPEN: &str = "{prefix} {binary_bytes}, {binary_bytes_per_sec}{msg}";

/// Whether nobody looks at stderr for progress.
static QUIET: AtomicBool = AtomicBool::new(false);

/// From now on no meter shows anything: the daemon's log is for events, and with `--json` programs read.
pub fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// The progress of one step. It disappears when it is dropped.
pub struct Meter {
    bar: ProgressBar,
    total: Option<u64>,
}

impl Meter {
    /// A step of `total` bytes, if that is known.
    pub fn new(label: impl Into<String>, total: Option<u64>) -> Meter {
        let target = match QUIET.load(Ordering::Relaxed) {
            true => ProgressDrawTarget::hidden(),
            // Hidden as well where it is not a terminal.
            false => ProgressDrawTarget::stderr_with_hz(5),
        };
        Meter::on(target, label, total)
    }

    fn on(target: ProgressDrawTarget, label: impl Into<String>, total: Option<u64>) -> Meter {
        let bar = ProgressBar::with_draw_target(total, target).with_finish(ProgressFinish::AndClear);
        bar.set_prefix(label.into());
        bar.set_style(style(total));
        Meter { bar, total }
    }

    /// `done` bytes are done.
    pub fn update(&self, done: u64) {
        self.bar.set_position(done);
    }

    /// The step has this name, `total` bytes and this behind its numbers from now on.
    pub fn describe(&mut self, label: &'static str, total: Option<u64>, behind: String) {
        if self.bar.prefix() != label {
            self.bar.set_prefix(label);
            self.bar.reset_eta();
        }
        if self.total != total {
            self.total = total;
            total.map_or_else(|| self.bar.unset_length(), |t| self.bar.set_length(t));
            self.bar.set_style(style(total));
        }
        self.bar.set_message(behind);
    }

    /// Print a line above it.
    pub fn above(&self, print: impl FnOnce()) {
        self.bar.suspend(print);
    }
}

fn style(total: Option<u64>) -> ProgressStyle {
    let template = if total.is_some_and(|t| t > 0) { TO_AN_END } else { OPEN };
    ProgressStyle::with_template(template).expect("a test shows both").progress_chars("#>-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use indicatif::TermLike;
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    /// A terminal of 80 columns that remembers its last line.
    #[derive(Clone, Debug, Default)]
    struct Last(Arc<Mutex<String>>);

    impl TermLike for Last {
        fn width(&self) -> u16 {
            80
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, s: &str) -> io::Result<()> {
            self.write_str(s)
        }
        fn write_str(&self, s: &str) -> io::Result<()> {
            self.0.lock().unwrap().push_str(s);
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            self.0.lock().unwrap().clear();
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn shown(total: Option<u64>, done: u64) -> String {
        let terminal = Last::default();
        let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
        let mut meter = Meter::on(target, "hashing", None);
        meter.describe("fetching", total, ", 3 peers".into());
        meter.update(done);
        meter.bar.tick();
        terminal.0.lock().unwrap().trim_end().to_owned()
    }

    #[test]
    fn a_bar_where_the_end_is_known() {
        let line = shown(Some(4 << 30), 1 << 30);
        assert!(line.starts_with("fetching [####>-----------] 25 % of 4.00 GiB, "), "{line}");
        assert!(line.ends_with(" left, 3 peers") && line.len() < 80, "{line}");
        assert!(shown(None, 512).starts_with("fetching 512 B, "), "{}", shown(None, 512));
        assert!(shown(Some(0), 0).starts_with("fetching 0 B, "), "no division by nothing");
    }
}
