// SPDX-License-Identifier: GPL-3.0-or-later
//! Whom the kernel kills when memory runs out: this process first, or last.

use crate::report::Report;
use std::{fs::File, os::unix::fs::FileExt};

/// Where the kernel is told whom to kill first when memory runs out (proc_pid_oom_score_adj(5)).
const OOM: &str = "/proc/self/oom_score_adj";

/// Whom the kernel kills when memory runs out. An open file: after switch_root there is no /proc.
pub struct Oom(Option<File>);

impl Oom {
    /// Before switch_root.
    pub fn open() -> Self {
        Self(File::options().write(true).open(OOM).ok())
    }

    /// In a booted system, from the working directory /run/boottorrent.
    pub fn from_run() -> Self {
        Self(File::options().write(true).open(format!("../..{OOM}")).ok())
    }

    /// The machine runs from the image, not from this process: seeding ends before anything else does.
    pub fn first(&self, report: &Report) {
        self.write("1000", report);
    }

    /// The root depends on this process: everything else ends before it.
    pub fn last(&self, report: &Report) {
        self.write("-1000", report);
    }

    fn write(&self, score: &str, report: &Report) {
        let written = self.0.as_ref().map(|f| f.write_all_at(score.as_bytes(), 0));
        if !matches!(written, Some(Ok(()))) {
            report.debug(&format!("{OOM} cannot be written"));
        }
    }
}
