// SPDX-License-Identifier: GPL-3.0-or-later
//! What the agent says, and to whom: the console, the kernel log, a log file
//! in /run, and (as [`Heartbeat`]) the server and the booted system.

use bootspec::{
    Heartbeat, Phase, Progress,
    heartbeat::{LOG_LINE, LOG_LINES, PhaseStart},
    params::Log,
    text::clean,
    units::{human_rate, human_size, human_time},
};
use nix::time::ClockId;
use std::{
    fs::File,
    io::{IsTerminal, Write},
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

/// Cheap to clone; all clones speak for the same agent.
#[derive(Clone)]
pub struct Report(Arc<Mutex<Inner>>);

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Show {
    /// A line for people on standard error.
    Text,
    /// One JSON object a line on standard output.
    Json,
    /// Not at all.
    None,
}

struct Inner {
    started: Instant,
    level: Log,
    console: bool,
    show: Show,
    tty: bool,
    /// Messages below this kernel level reach the console through the kernel already.
    console_loglevel: u8,
    /// The cursor stands behind a progress line.
    on_progress_line: bool,
    kmsg: Option<File>,
    log: Option<File>,
    beat: Heartbeat,
    last_kmsg_progress: Option<Instant>,
    last_line: Option<Instant>,
}

/// The machine's clock that nobody sets, the same for all processes.
pub fn monotonic() -> Duration {
    nix::time::clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default()
}

/// The kernel cuts lines at 976 bytes.
const KMSG_MAX: usize = 900;

impl Report {
    /// Begin. What cannot be opened is done without.
    pub fn new(kmsg: Option<&Path>, log: Option<&Path>) -> Self {
        // Else the kernel drops all but ten lines in five seconds; it is one boot's worth.
        let _ = kmsg.map(|_| std::fs::write("/proc/sys/kernel/printk_devkmsg", "on"));
        let printk = std::fs::read_to_string("/proc/sys/kernel/printk").unwrap_or_default();
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
        let first = |s: &str| s.split_whitespace().next().map(str::to_owned);
        let beat = Heartbeat {
            version: env!("CARGO_PKG_VERSION").into(),
            kernel_uptime: first(&uptime).and_then(|s| s.parse().ok()).unwrap_or(0.0),
            ..Heartbeat::default()
        };
        let console_loglevel = kmsg.and(first(&printk)).and_then(|s| s.parse().ok()).unwrap_or(0);
        let kmsg = kmsg.and_then(|p| File::options().write(true).open(p).ok());
        Self::of(Inner { console: true, console_loglevel, kmsg, ..Inner::new(log, beat) })
    }

    /// Go on where an agent has died, which began so long ago and has told this of itself.
    pub fn again(kmsg: Option<File>, log: &Path, age: Duration, beat: Heartbeat) -> Self {
        let started = Instant::now().checked_sub(age).unwrap_or_else(Instant::now);
        Self::of(Inner { started, kmsg, ..Inner::new(Some(log), beat) })
    }

    fn of(inner: Inner) -> Self {
        Self(Arc::new(Mutex::new(inner)))
    }

    /// When it began, as [`monotonic`] counts.
    pub fn began(&self) -> Duration {
        monotonic().saturating_sub(self.lock().started.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no panic under the lock")
    }

    /// How much to tell.
    pub fn set_level(&self, level: Log) {
        self.lock().level = level;
    }

    /// How to show progress.
    pub fn show(&self, show: Show) {
        self.lock().show = show;
    }

    /// The console is the booted system's now.
    pub fn leave_console(&self) {
        let mut inner = self.lock();
        inner.end_progress_line();
        inner.console = false;
    }

    /// A new step of the story begins.
    pub fn phase(&self, phase: Phase) {
        let mut inner = self.lock();
        let at = inner.started.elapsed().as_secs_f64();
        inner.beat.phase = phase;
        inner.beat.phases.push(PhaseStart { phase, at });
    }

    /// Something about this machine that heartbeats should carry.
    pub fn note(&self, change: impl FnOnce(&mut Heartbeat)) {
        change(&mut self.lock().beat);
    }

    /// The machine's state now.
    pub fn heartbeat(&self) -> Heartbeat {
        let inner = self.lock();
        Heartbeat { uptime: inner.started.elapsed().as_secs_f64(), ..inner.beat.clone() }
    }

    /// From now on the log is this file, which gets what the one before had said last.
    pub fn log_to(&self, log: &Path) {
        let mut inner = self.lock();
        inner.log = append(log);
        let lines: String = inner.beat.log.iter().map(|line| format!("{line}\n")).collect();
        let _ = inner.log.as_mut().map(|file| file.write_all(lines.as_bytes()));
    }

    /// One line for each step.
    pub fn info(&self, text: &str) {
        self.lock().say(Log::Info, text);
    }

    /// Something that the admin should hear, but the boot goes on.
    pub fn warn(&self, text: &str) {
        self.lock().say(Log::Warn, text);
    }

    /// What the engine does.
    pub fn debug(&self, text: &str) {
        self.lock().say(Log::Debug, text);
    }

    /// The sentence that ends the boot.
    pub fn fail(&self, error: &anyhow::Error) {
        self.phase(Phase::Failed);
        let mut inner = self.lock();
        let sentence = format!("{error:#}");
        inner.say(Log::Error, &sentence);
        inner.beat.error = Some(sentence);
    }

    /// Bytes and rates: a line each second on a terminal or as JSON, each five
    /// seconds elsewhere, each ten in the kernel log.
    pub fn progress(&self, progress: &Progress, image: &str) {
        let mut inner = self.lock();
        inner.beat.progress = progress.clone();
        inner.show_line(&progress_line(progress, image), Some(progress));
    }

    /// What is on the disk is being hashed; shown as often.
    pub fn checking(&self, done: u64, total: u64, image: &str) {
        let percent = (done as f64 * 100.0 / total.max(1) as f64).floor();
        let line = format!("checking what is here: {image} {percent:3.0}% of {}", human_size(total));
        self.lock().show_line(&line, None);
    }
}

fn append(log: &Path) -> Option<File> {
    File::options().append(true).create(true).open(log).ok()
}

impl Inner {
    fn new(log: Option<&Path>, beat: Heartbeat) -> Self {
        Self {
            started: Instant::now(),
            level: Log::Info,
            console: false,
            show: Show::Text,
            tty: std::io::stderr().is_terminal(),
            console_loglevel: 0,
            on_progress_line: false,
            kmsg: None,
            log: log.and_then(append),
            beat,
            last_kmsg_progress: None,
            last_line: None,
        }
    }

    fn say(&mut self, level: Log, text: &str) {
        // Labels, names and answers are other people's.
        let text = &*clean(text, &[]);
        // The file has each step even with `quiet`: it costs nothing and is read when it is too late.
        if level <= self.level.max(Log::Info) {
            let line = self.write_log(text);
            self.remember(&line);
        }
        if level > self.level {
            return;
        }
        self.write_kmsg(level, text);
        // The kernel shows what is below its console level: not twice. But an error always by ourselves.
        let kernel_shows = self.kmsg.is_some() && kernel_level(level) < self.console_loglevel;
        if self.console && (level == Log::Error || !kernel_shows) {
            self.end_progress_line();
            let _ = writeln!(std::io::stderr(), "boottorrent: {text}");
        }
    }

    fn show_line(&mut self, line: &str, json: Option<&Progress>) {
        let line = &*clean(line, &[]);
        let due = |last: Option<Instant>, every: u64| {
            last.is_none_or(|t| t.elapsed() >= Duration::from_millis(every))
        };
        let every = if self.tty || self.show == Show::Json { 950 } else { 4900 };
        if self.console && self.show != Show::None && due(self.last_line, every) {
            self.last_line = Some(Instant::now());
            if self.show == Show::Json {
                if let Some(progress) = json {
                    json_line(progress);
                }
            } else {
                let mut err = std::io::stderr().lock();
                let _ = if self.tty { write!(err, "\r{line}\x1b[K") } else { writeln!(err, "{line}") };
                self.on_progress_line = self.tty;
            }
        }
        if due(self.last_kmsg_progress, 10_000) {
            self.last_kmsg_progress = Some(Instant::now());
            self.write_log(line);
            self.write_kmsg(Log::Debug, line);
        }
    }

    fn end_progress_line(&mut self) {
        if std::mem::take(&mut self.on_progress_line) {
            let _ = writeln!(std::io::stderr());
        }
    }

    fn write_kmsg(&mut self, level: Log, text: &str) {
        if level > self.level {
            return;
        }
        if let Some(kmsg) = &mut self.kmsg {
            let cut = cut(text, KMSG_MAX);
            // One write is one record.
            let _ = kmsg.write_all(format!("<{}>boottorrent: {cut}\n", kernel_level(level)).as_bytes());
        }
    }

    /// For those who are not at this machine's console.
    fn remember(&mut self, line: &str) {
        let log = &mut self.beat.log;
        if log.len() == LOG_LINES {
            log.remove(0);
        }
        log.push(cut(line, LOG_LINE).to_owned());
    }

    /// Into the file in /run, with the seconds since the agent began; gives the line.
    fn write_log(&mut self, text: &str) -> String {
        let line = format!("{:8.2} {text}", self.started.elapsed().as_secs_f64());
        if let Some(log) = &mut self.log {
            let _ = writeln!(log, "{line}");
        }
        line
    }
}

/// syslog(2) levels.
fn kernel_level(level: Log) -> u8 {
    match level {
        Log::Error => 3,
        Log::Warn => 4,
        Log::Info => 6,
        Log::Debug => 7,
    }
}

/// At most `max` bytes, without cutting a character.
fn cut(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
    &text[..end]
}

/// Progress for programs, on standard output. Nobody reads it any more: then nobody misses it.
pub fn json_line(progress: &Progress) {
    let line = serde_json::to_string(progress).expect("progress is JSON");
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// The console's progress line: fits into 80 columns with a name of 12.
pub fn progress_line(p: &Progress, image: &str) -> String {
    let percent = (p.percent() * 10.0).floor() / 10.0;
    let mut line = format!(
        "{image} {percent:5.1}% of {}  down {}  up {}  {} peers",
        human_size(p.total),
        human_rate(p.down_rate),
        human_rate(p.up_rate),
        p.peers,
    );
    if p.down_rate > 0 && p.have < p.total {
        let left = Duration::from_secs((p.total - p.have) / p.down_rate.max(1));
        line.push_str(&format!("  {} left", human_time(left)));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_fits_a_console() {
        let p = Progress {
            have: 1 << 29,
            total: 1 << 30,
            down_rate: 118_000_000,
            up_rate: 93_000_000,
            peers: 42,
            ..Default::default()
        };
        let line = progress_line(&p, "debian-13");
        assert_eq!(line, "debian-13  50.0% of 1.00 GiB  down 118.0 MB/s  up 93.0 MB/s  42 peers  4 s left");
        assert!(line.len() <= 80);
    }

    #[test]
    fn phases_and_errors_reach_the_heartbeat_and_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("agent.log");
        let r = Report::new(None, Some(&log));
        r.phase(Phase::Network);
        r.fail(&anyhow::anyhow!("no cable").context("waiting for a link"));
        let beat = r.heartbeat();
        assert_eq!(beat.phase, Phase::Failed);
        assert_eq!(beat.error.as_deref(), Some("waiting for a link: no cable"));
        assert!(beat.log[0].ends_with(" waiting for a link: no cable"), "{:?}", beat.log);
        assert!(std::fs::read_to_string(log).unwrap().contains("waiting for a link: no cable"));
    }

    #[test]
    fn heartbeats_carry_the_end_of_the_log() {
        let r = Report::new(None, None);
        r.show(Show::None);
        r.leave_console();
        (0..100).for_each(|n| r.info(&format!("{n} {}", "ü".repeat(300))));
        let beat = r.heartbeat();
        assert_eq!(beat.log.len(), LOG_LINES);
        assert!(beat.log[0].contains(" 80 ") && beat.log[LOG_LINES - 1].contains(" 99 "));
        assert!(beat.log.iter().all(|l| l.len() <= LOG_LINE));
        let size = serde_json::to_vec(&beat).unwrap().len();
        assert!(size < bootspec::heartbeat::MAX_HEARTBEAT / 2, "{size}");
    }
}
