// SPDX-License-Identifier: GPL-3.0-or-later
//! The end of a boot that only wrote a disk: `boottorrent.then=reboot|poweroff`.

use crate::{beat, booted::Booted, fail::Failure, report::Report, stay};
use bootspec::{Exit, Seed, params::Then};
use nix::{
    sys::reboot::{RebootMode, reboot},
    unistd::sync,
};

/// Seed as long as is asked for, if that has an end, and end the machine. Returns only when that fails.
pub async fn leave(booted: Booted, then: Then, report: &Report) -> Failure {
    let (mode, what) = match then {
        Then::Poweroff => (RebootMode::RB_POWER_OFF, "powering off"),
        Then::Reboot | Then::Boot => (RebootMode::RB_AUTOBOOT, "rebooting"),
    };
    // Seeding for ever would be a disk that is written and a machine that never starts from it.
    if booted.params.seed == Seed::Forever {
        beat::last(report).await;
    } else {
        stay::seed(booted, stay::Memory::open(), report).await;
    }
    report.info(&format!("{what} (boottorrent.then)"));
    sync();
    let Err(e) = reboot(mode);
    Failure::new(Exit::Storage, format!("{what} failed: {}", e.desc()))
}
