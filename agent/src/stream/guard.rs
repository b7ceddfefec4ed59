// SPDX-License-Identifier: GPL-3.0-or-later
//! As long as the root depends on this process, it stays in memory and alive.

use crate::{oom::Oom, report::Report};
use nix::sys::mman::{MlockAllFlags, mlockall, munlockall};

/// MCL_ONFAULT of mlockall(2): stacks are not filled up for it.
const ON_FAULT: MlockAllFlags = MlockAllFlags::from_bits_retain(4);

/// This process stays in memory. `say` hears why not.
pub fn lock(say: impl FnOnce(&str)) {
    let all = MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE | ON_FAULT;
    if let Err(e) = mlockall(all) {
        say(&format!("locking memory: {e}"));
    }
}

/// Held while the root depends on us. Dropped, this process is as expendable as any seeder.
pub struct Guard {
    /// None: whoever has started this process was the last to be killed, and so is it.
    oom: Option<Oom>,
    report: Report,
}

impl Guard {
    /// What cannot be had is told with `boottorrent.log=debug`, and done without. `first`: no keeper has started this process.
    pub fn new(first: bool, report: &Report) -> Self {
        let oom = first.then(Oom::open);
        oom.iter().for_each(|oom| oom.last(report));
        lock(|why| report.debug(why));
        Self { oom, report: report.clone() }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = munlockall();
        // Not opened before, since that could have read the root.
        self.oom.take().unwrap_or_else(Oom::from_run).first(&self.report);
    }
}
