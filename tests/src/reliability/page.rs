// SPDX-License-Identifier: GPL-3.0-or-later
//! docs/reliability.md, made of docs/reliability.json and of nothing else.

use super::{Outcome, all};
use crate::workspace;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::{fmt::Write, fs, path::PathBuf};

/// All that was run, as the file has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// The scenarios, each as it was run last.
    pub scenarios: Vec<Outcome>,
    /// The long run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soak: Option<Soak>,
}

/// Many mornings in a row: [`Soak::samples`] after some of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Soak {
    /// Day, UTC.
    pub date: String,
    /// What was checked out.
    pub commit: String,
    /// Machines in each round.
    pub machines: usize,
    /// MiB of the image.
    pub mib: u32,
    /// Seconds of all rounds.
    pub seconds: f64,
    /// Memory after so many rounds.
    pub samples: Vec<Sample>,
}

/// Memory (RSS), in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// After so many rounds.
    pub round: usize,
    /// Of the server.
    pub server: u64,
    /// Of an agent that has seeded since the first round.
    pub agent: u64,
}

const HEAD: &str = "# Reliability\n\n<!-- Made by `make reliability` of reliability.json. Do not edit. -->\n\n\
    What goes wrong in a room, and how it ends: in a machine that boots from an image which is the same byte for byte, or in one exact\n\
    sentence, with which [`boottorrent.onfail=`](kernel-parameters.md) is asked what is to become of the machine. Each line is an\n\
    automated scenario over network namespaces or virtual machines, with the real server, the real agent and other\n\
    people's programs; a run of the tests fails when one ends otherwise. Seconds are those of the whole scenario on a machine of two cores,\n\
    what was seen is that of the last run. Words in capitals stand for values. More about the sentences is in\n\
    [troubleshooting.md](troubleshooting.md).\n";

impl Record {
    /// Where it is kept.
    pub fn path() -> PathBuf {
        workspace().join("docs/reliability.json")
    }

    /// As it is kept; empty when there is none.
    pub fn load() -> Result<Self> {
        match fs::read_to_string(Self::path()) {
            Ok(text) => serde_json::from_str(&text).context("reading docs/reliability.json"),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(e).context("reading docs/reliability.json"),
        }
    }

    /// How a scenario ended when it was run last.
    pub fn of(&self, name: &str) -> Option<&Outcome> {
        self.scenarios.iter().find(|o| o.name == name)
    }

    /// A scenario was run again.
    pub fn put(&mut self, outcome: Outcome) {
        self.scenarios.retain(|o| o.name != outcome.name);
        self.scenarios.push(outcome);
        let order: Vec<&str> = all().iter().map(|s| s.name).collect();
        self.scenarios.retain(|o| order.contains(&o.name.as_str()));
        self.scenarios.sort_by_key(|o| order.iter().position(|n| *n == o.name));
    }

    /// Write the file and the page.
    pub fn write(&self) -> Result<()> {
        let path = Self::path();
        fs::write(&path, serde_json::to_string_pretty(self)? + "\n")
            .with_context(|| format!("writing {}", path.display()))?;
        let page = path.with_extension("md");
        fs::write(&page, self.page()).with_context(|| format!("writing {}", page.display()))
    }

    /// The page.
    pub fn page(&self) -> String {
        let mut md = String::from(HEAD);
        let days = |days: Vec<&str>| {
            let (first, last) = (days.iter().min().copied(), days.iter().max().copied());
            match (first, last) {
                (Some(a), Some(b)) if a == b => a.to_owned(),
                (Some(a), Some(b)) => format!("{a} to {b}"),
                _ => "never".to_owned(),
            }
        };
        let run = days(self.scenarios.iter().map(|o| o.date.as_str()).collect());
        let _ = writeln!(md, "\n## Scenarios\n\n{} scenarios, run {run}.\n", self.scenarios.len());
        md.push_str("| scenario | what happens | machines | how it ends | s | what was seen |\n|---|---|---|---|---|---|\n");
        for scenario in all() {
            let Some(o) = self.of(scenario.name) else { continue };
            let name = if scenario.quick { format!("**{}**", o.name) } else { o.name.clone() };
            let (end, note) = (cell(&o.seen.end), cell(&o.seen.note));
            let _ = writeln!(
                md,
                "| {name} | {} | {} | {end} | {:.0} | {note} |",
                cell(scenario.what),
                o.seen.machines,
                o.seconds
            );
        }
        md.push_str("\nThose in bold are run with every change, the others by `make test-full`.\n");
        if let Some(soak) = &self.soak {
            md.push_str(&soak.section());
        }
        md
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

impl Soak {
    fn section(&self) -> String {
        let rounds = self.samples.last().map_or(0, |s| s.round);
        let mut md = format!(
            "\n## A hundred mornings\n\n{}, commit {}: {} machines fetch an image of {} MiB, all at once, {rounds} times in {:.0} s; one more machine has\n\
             booted before the first round, and seeds on. Memory (RSS) after some of the rounds:\n\n\
             | round | server | agent that seeds |\n|---|---|---|\n",
            self.date, self.commit, self.machines, self.mib, self.seconds
        );
        for s in &self.samples {
            let mib = |kib: u64| kib as f64 / 1024.0;
            let _ = writeln!(md, "| {} | {:.1} MiB | {:.1} MiB |", s.round, mib(s.server), mib(s.agent));
        }
        md
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page that is committed is the one of the runs that are committed.
    #[test]
    fn the_page_is_made_of_the_record() {
        let page = fs::read_to_string(Record::path().with_extension("md")).unwrap();
        assert!(page == Record::load().unwrap().page(), "docs/reliability.md: run `make reliability`");
    }

    #[test]
    fn names_differ_and_every_scenario_was_run() {
        let record = Record::load().unwrap();
        let mut names: Vec<&str> = all().iter().map(|s| s.name).collect();
        let missing: Vec<&&str> = names.iter().filter(|n| record.of(n).is_none()).collect();
        assert!(missing.is_empty(), "never run: {missing:?}");
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all().len());
    }
}
