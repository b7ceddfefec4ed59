// SPDX-License-Identifier: GPL-3.0-or-later
//! As long as the root depends on this process, it stays in memory and alive.

use crate::{oom::Oom, report::Report};
use nix::sys::mman::{MlockAllFlags, mlockall, munlockall};

/// MCL_ONFAULT of mlockall(2): stacks are not filled up for it.
const ON_FAULT: MlockAllFlags = MlockAllFlags::from_bits_retain(4);

/// Held while the root depends on us. Dropped, this process is as expendable as any seeder.
pub struct Guard {
    oom: Oom,
    report: Report,
}

impl Guard {
    /// What cannot be had is told with `boottorrent.log=debug`, and done without.
    pub fn new(report: &Report) -> Self {
        let oom = Oom::open();
        oom.last(report);
        let all = MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE | ON_FAULT;
        if let Err(e) = mlockall(all) {
            report.debug(&format!("locking memory: {e}"));
        }
        Self { oom, report: report.clone() }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = munlockall();
        self.oom.first(&self.report);
    }
}
