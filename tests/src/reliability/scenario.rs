// SPDX-License-Identifier: GPL-3.0-or-later
//! A scenario, and how it ended.

use crate::Cmd;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// One thing that goes wrong.
pub struct Scenario {
    /// Its name in the table.
    pub name: &'static str,
    /// What is done.
    pub what: &'static str,
    /// It is short enough for every push.
    pub quick: bool,
    run: fn() -> Result<Seen>,
}

/// How a scenario ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// Machines that had part in it.
    pub machines: usize,
    /// [`super::IDENTICAL`], or the sentence and the exit code: what must not differ from one run to the next.
    pub end: String,
    /// What else was seen: differs a little each time.
    pub note: String,
}

/// A scenario that was run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Its name.
    pub name: String,
    /// Day, UTC.
    pub date: String,
    /// What was checked out.
    pub commit: String,
    /// Seconds that it took, all in all.
    pub seconds: f64,
    /// How it ended.
    #[serde(flatten)]
    pub seen: Seen,
}

impl Scenario {
    pub(super) const fn full(name: &'static str, what: &'static str, run: fn() -> Result<Seen>) -> Self {
        Self { name, what, quick: false, run }
    }

    pub(super) const fn quick(name: &'static str, what: &'static str, run: fn() -> Result<Seen>) -> Self {
        Self { name, what, quick: true, run }
    }

    /// Run it. Errors: it ended in a way that no scenario may.
    pub fn run(&self) -> Result<Outcome> {
        let say = |cmd: Cmd| Ok::<_, anyhow::Error>(cmd.run()?.trim().to_owned());
        let begun = Instant::now();
        let seen = (self.run)().with_context(|| format!("scenario {}", self.name))?;
        let outcome = Outcome {
            name: self.name.into(),
            date: say(Cmd::new("date").args(["-u", "+%Y-%m-%d"]))?,
            commit: say(Cmd::new("git").args(["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always"]))?,
            seconds: (begun.elapsed().as_secs_f64() * 10.0).round() / 10.0,
            seen,
        };
        println!("{}: {:.1} s: {} ({})", self.name, outcome.seconds, outcome.seen.end, outcome.seen.note);
        Ok(outcome)
    }
}
