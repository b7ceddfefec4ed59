// SPDX-License-Identifier: GPL-3.0-or-later
//! What this process uses, as Prometheus' client libraries name it.

use nix::{
    sys::resource::{Resource, UsageWho, getrlimit, getrusage},
    sys::time::TimeValLike,
    unistd::{SysconfVar, sysconf},
};
use serde::{Deserialize, Serialize};

/// The figures; those that this system does not tell are 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessFigures {
    /// Seconds of processor time, user and system.
    pub cpu_seconds: f64,
    /// Bytes of memory that are in RAM.
    pub resident: u64,
    /// Open files and connections.
    pub open_files: usize,
    /// How many there may be.
    pub max_open_files: u64,
}

impl ProcessFigures {
    /// Now.
    pub fn now() -> ProcessFigures {
        let seconds = |t: nix::sys::time::TimeVal| t.num_microseconds() as f64 / 1e6;
        let used = getrusage(UsageWho::RUSAGE_SELF);
        ProcessFigures {
            cpu_seconds: used.map(|u| seconds(u.user_time()) + seconds(u.system_time())).unwrap_or_default(),
            resident: resident().unwrap_or_default(),
            open_files: std::fs::read_dir("/proc/self/fd").map(Iterator::count).unwrap_or_default(),
            max_open_files: getrlimit(Resource::RLIMIT_NOFILE).map(|(soft, _)| soft).unwrap_or_default(),
        }
    }
}

/// proc_pid_statm(5): the second number is pages in RAM.
fn resident() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    let page = sysconf(SysconfVar::PAGE_SIZE).ok()??;
    Some(pages * u64::try_from(page).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let p = ProcessFigures::now();
        assert!(
            p.resident > 1 << 20 && p.open_files >= 3 && p.max_open_files >= p.open_files as u64,
            "{p:?}"
        );
    }
}
