// SPDX-License-Identifier: GPL-3.0-or-later
//! After the root is mounted: seed, as long as `boottorrent.seed=` says.
//!
//! In the initramfs-tools case every path has vanished under this process by
//! now. Only what is open works: sockets, the payload, the log.

use crate::{Booted, beat, report::Report};
use bootspec::params::Seed;
use std::{
    fs::File,
    os::unix::fs::FileExt,
    time::{Duration, Instant},
};

/// How often numbers are brought up to date.
const EVERY: Duration = Duration::from_secs(2);

/// Returns when seeding is over.
pub async fn seed(booted: Booted, report: &Report) {
    let Booted { params, torrent, session } = booted;
    let until = match params.seed {
        Seed::Forever => None,
        Seed::Off => Some(Instant::now()),
        Seed::For(time) => Some(Instant::now() + time),
    };
    let memory = Memory::open();
    while until.is_none_or(|t| Instant::now() < t) {
        let progress = torrent.progress();
        report.note(|b| {
            b.progress = progress;
            b.memory = memory.as_ref().and_then(Memory::read).unwrap_or(b.memory);
        });
        tokio::time::sleep(EVERY).await;
    }
    report.info("seeding is over (boottorrent.seed)");
    beat::last(report).await;
    session.stop();
}

/// The agent's own memory: what is not the payload, which lies in a tmpfs.
struct Memory(File);

impl Memory {
    /// An open file: later there is no /proc.
    fn open() -> Option<Self> {
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

    #[test]
    fn memory_is_some_and_not_absurd() {
        let bytes = Memory::open().unwrap().read().unwrap();
        assert!((100 << 10..1 << 30).contains(&bytes), "{bytes}");
    }
}
