// SPDX-License-Identifier: GPL-3.0-or-later
//! What a process takes, as the kernel counts it (proc(5)).

use anyhow::{Context, Result};
use std::{fs, time::Duration};

/// What a process has had of processors.
pub fn processor(id: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks =
        |n: usize| fields.get(n).and_then(|f| f.parse::<u64>().ok()).context("reading /proc/PID/stat");
    Ok(Duration::from_millis((ticks(11)? + ticks(12)?) * 10))
}

/// Resident memory of a process, in MiB.
pub fn memory(id: u32) -> Result<u64> {
    mib(id, "VmRSS:")
}

/// The same at its highest.
pub fn peak(id: u32) -> Result<u64> {
    mib(id, "VmHWM:")
}

fn mib(id: u32, field: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|l| l.strip_prefix(field)).context("it has ended")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? >> 10)
}
