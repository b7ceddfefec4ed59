// SPDX-License-Identifier: GPL-3.0-or-later
//! After the root is mounted: seed, as long as `boottorrent.seed=` says.
//!
//! In the initramfs-tools case every path has vanished under this process by
//! now. Only what is open works: sockets, the payload, the log.

use crate::{beat, booted::Booted, report::Report};
use bootspec::{
    Phase, Progress, Seed,
    units::{human_rate, human_size, human_time},
};
use std::{
    fs::File,
    os::unix::fs::FileExt,
    time::{Duration, Instant},
};

/// How often numbers are brought up to date.
const EVERY: Duration = Duration::from_secs(2);

/// How long nobody must have wanted much, for [`Seed::Idle`].
const QUIET: Duration = Duration::from_secs(60);

/// Returns when there is nothing left to do for a machine that has booted: its image is complete, nobody needs it, and its
/// lease does not end.
pub async fn on(mut booted: Booted, memory: Option<Memory>, report: &Report) {
    let told = report.clone();
    let renewing = booted.renewal.take().map(|r| std::thread::spawn(move || r.run(&told)));
    if let Some(streaming) = booted.streaming.take() {
        streaming.finish().await;
        report.phase(Phase::Seed);
    }
    let stays = !booted.params.remote.is_empty() || booted.params.relay.is_some();
    seed(booted, memory, report).await;
    if stays {
        // Orders, and machines that boot, may come long after nobody wants the image any more.
        std::future::pending::<()>().await;
    }
    // The machine needs its address longer than its peers need the image.
    if let Some(renewing) = renewing {
        let _ = tokio::task::spawn_blocking(|| renewing.join()).await;
    }
}

/// Returns when seeding is over.
pub async fn seed(booted: Booted, memory: Option<Memory>, report: &Report) {
    let Booted { params, seeded, session, .. } = booted;
    let why = until_over(
        params.seed,
        EVERY,
        || seeded.get().progress(),
        |progress| {
            report.note(|b| {
                b.progress = progress;
                b.memory = memory.as_ref().and_then(Memory::read).unwrap_or(b.memory);
            });
        },
    );
    let why = why.await;
    report.info(&format!("seeding is over: {why} (boottorrent.seed={})", params.seed));
    report.note(|b| (b.progress.down_rate, b.progress.up_rate, b.progress.peers) = (0, 0, 0));
    beat::last(report).await;
    match params.remote.is_empty() {
        true => session.stop(),
        false => session.remove(seeded.get().infohash()),
    }
}

/// Wait until `seed` says that seeding is over, and return why. `tell` hears the numbers again and again.
pub async fn until_over(
    seed: Seed,
    every: Duration,
    current: impl Fn() -> Progress,
    mut tell: impl FnMut(Progress),
) -> String {
    let mut stay = Stay::new(seed, Instant::now());
    loop {
        let progress = current();
        let over = stay.over(Instant::now(), &progress);
        tell(progress);
        if let Some(why) = over {
            return why;
        }
        tokio::time::sleep(every).await;
    }
}

/// Decides when seeding is over. Time comes from outside, so that tests hold it.
#[derive(Debug)]
pub struct Stay {
    seed: Seed,
    begun: Instant,
    /// When it was last asked, and what had been sent until then.
    asked: Instant,
    sent: u64,
    /// When somebody last wanted more than [`Seed::Idle`] allows.
    busy: Instant,
}

impl Stay {
    /// Seeding begins.
    pub fn new(seed: Seed, now: Instant) -> Self {
        Self { seed, begun: now, asked: now, sent: 0, busy: now }
    }

    /// Why seeding is over, if it is.
    pub fn over(&mut self, now: Instant, progress: &Progress) -> Option<String> {
        // Bytes and not the engine's rate: that one is smoothed, and would outlive the last peer.
        let since = now.saturating_duration_since(self.asked);
        let sent = progress.uploaded.saturating_sub(self.sent);
        (self.asked, self.sent) = (now, progress.uploaded);
        match self.seed {
            Seed::Forever => None,
            Seed::Off => Some("the image is here".into()),
            Seed::For(time) => (now.saturating_duration_since(self.begun) >= time)
                .then(|| format!("{} have passed", human_time(time))),
            Seed::Ratio(hundredths) => {
                let enough = u128::from(progress.total) * u128::from(hundredths);
                (u128::from(progress.uploaded) * 100 >= enough).then(|| {
                    let (sent, size) = (human_size(progress.uploaded), human_size(progress.total));
                    format!("this machine has sent {sent}, the image has {size}")
                })
            }
            Seed::Idle(rate) => {
                if sent as f64 > rate as f64 * since.as_secs_f64() {
                    self.busy = now;
                }
                (now.saturating_duration_since(self.busy) >= QUIET)
                    .then(|| format!("nobody has wanted more than {} for a minute", human_rate(rate)))
            }
        }
    }
}

/// The agent's own memory: what is not the payload, which lies in a tmpfs.
pub struct Memory(File);

impl Memory {
    /// An open file: after switch_root there is no /proc.
    pub fn open() -> Option<Self> {
        File::open("/proc/self/status").ok().map(Self)
    }

    /// Bytes at the highest, the download included: VmHWM of proc_pid_status(5). The payload is written, not mapped.
    fn read(&self) -> Option<u64> {
        let mut buf = vec![0; 8192];
        let n = self.0.read_at(&mut buf, 0).ok()?;
        let text = String::from_utf8_lossy(&buf[..n]);
        let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? << 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The second in which it is over, at most 1000, and why. `sent`: bytes in all, by second.
    fn over(seed: Seed, sent: impl Fn(u64) -> u64) -> Option<(u64, String)> {
        let start = Instant::now();
        let mut stay = Stay::new(seed, start);
        (0..=1000).find_map(|s| {
            let progress =
                Progress { have: 1 << 20, total: 1 << 20, uploaded: sent(s), ..Progress::default() };
            Some((s, stay.over(start + SECOND * s as u32, &progress)?))
        })
    }

    fn says(at: u64, why: &str) -> Option<(u64, String)> {
        Some((at, why.to_owned()))
    }

    #[test]
    fn for_ever_never_and_for_a_time() {
        assert_eq!(over(Seed::Forever, |_| u64::MAX), None);
        assert_eq!(over(Seed::Off, |_| 0), says(0, "the image is here"));
        assert_eq!(over(Seed::For(SECOND * 90), |_| 0), says(90, "1 min 30 s have passed"));
        assert_eq!(over(Seed::For(Duration::MAX), |_| 0), None, "no clock ends there");
    }

    #[test]
    fn until_enough_is_sent() {
        let steady = |s: u64| s * (64 << 10);
        assert_eq!(
            over(Seed::Ratio(200), steady),
            says(32, "this machine has sent 2.00 MiB, the image has 1.00 MiB")
        );
        assert_eq!(
            over(Seed::Ratio(50), steady),
            says(8, "this machine has sent 512 KiB, the image has 1.00 MiB")
        );
        assert_eq!(over(Seed::Ratio(200), |_| 0), None, "nobody wants it");
        assert_eq!(over(Seed::Ratio(u32::MAX), |_| 1 << 40), None);
        // What was sent while the image came counts.
        assert_eq!(
            over(Seed::Ratio(100), |_| 1 << 20),
            says(0, "this machine has sent 1.00 MiB, the image has 1.00 MiB")
        );
    }

    #[test]
    fn until_nobody_wants_much() {
        let idle = Seed::Idle(50_000);
        let why = "nobody has wanted more than 50 kB/s for a minute";
        assert_eq!(over(idle, |_| 0), says(60, why));
        assert_eq!(over(idle, |s| s * 50_000), says(60, why), "as much is not more");
        assert_eq!(over(idle, |s| s * 50_001), None);
        assert_eq!(over(idle, |s| s.min(100) * 1_000_000), says(160, why), "busy until second 100");
        // Somebody new within the minute, again and again.
        assert_eq!(over(idle, |s| (s / 59).min(5) * 1_000_000), says(5 * 59 + 60, why));
        assert_eq!(over(Seed::Idle(0), |s| s), None);
    }

    #[test]
    fn memory_is_some_and_not_absurd() {
        let bytes = Memory::open().unwrap().read().unwrap();
        assert!((100 << 10..1 << 30).contains(&bytes), "{bytes}");
    }
}
