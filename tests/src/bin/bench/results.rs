// SPDX-License-Identifier: GPL-3.0-or-later
//! Every run that was measured, as docs/benchmarks.json keeps them, and what
//! can be asked of them.

use anyhow::{Context, Result};
use boottorrent_tests::{Cmd, workspace};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::Path};

/// What was measured besides the time, by name.
pub type Figures = BTreeMap<String, f64>;

/// One run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The part or setup.
    pub setup: String,
    /// Who ran.
    pub contestant: String,
    /// How many machines.
    pub n: usize,
    /// Which round.
    pub round: usize,
    /// Day and time, UTC.
    pub date: String,
    /// What was checked out.
    pub commit: String,
    /// Cores and processor.
    pub machine: String,
    /// The load of the last minute when it began.
    pub load: f64,
    /// Bytes of the payload.
    pub size: u64,
    /// From the first start to the last end; none when it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Of each machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub each: Vec<f64>,
    /// What else was measured.
    #[serde(default, skip_serializing_if = "Figures::is_empty")]
    pub figures: Figures,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Run {
    /// One that begins now.
    pub fn begin(setup: &str, contestant: &str, n: usize, round: usize) -> Result<Self> {
        let say = |cmd: Cmd| Ok::<_, anyhow::Error>(cmd.run()?.trim().to_owned());
        let git = |words: &[&str]| say(Cmd::new("git").arg("-C").arg(workspace()).args(words));
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo")?;
        let model = cpuinfo.lines().find_map(|l| l.strip_prefix("model name")).unwrap_or("");
        let load = std::fs::read_to_string("/proc/loadavg")?;
        Ok(Self {
            setup: setup.into(),
            contestant: contestant.into(),
            n,
            round,
            date: say(Cmd::new("date").args(["-u", "+%F %H:%M"]))?,
            commit: git(&["log", "-1", "--format=%h"])?,
            machine: format!(
                "{} cores ({})",
                std::thread::available_parallelism()?,
                model.trim_start_matches([' ', '\t', ':'])
            ),
            load: load.split(' ').next().and_then(|l| l.parse().ok()).unwrap_or_default(),
            ..Self::default()
        })
    }

    /// A figure by name.
    pub fn figure(&self, name: &str) -> Option<f64> {
        self.figures.get(name).copied()
    }
}

/// All runs.
#[derive(Clone, Debug, Default)]
pub struct Results(Vec<Run>);

impl Results {
    /// What a file has; nothing if it is not there.
    pub fn load(path: &Path) -> Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(text) => {
                Ok(Self(serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))?))
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(e).with_context(|| format!("reading {}", path.display())),
        }
    }

    /// Write them: an array with a run in each line.
    pub fn save(&self, path: &Path) -> Result<()> {
        let lines = self.0.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
        std::fs::write(path, format!("[\n{}\n]\n", lines.join(",\n")))
            .with_context(|| format!("writing {}", path.display()))
    }

    /// One more.
    pub fn add(&mut self, run: Run) {
        self.0.push(run);
    }

    /// Without what there is of a setup and a contestant with these numbers of machines: it is measured anew.
    pub fn forget(&mut self, setup: &str, contestant: &str, numbers: &[usize]) {
        self.0.retain(|r| r.setup != setup || r.contestant != contestant || !numbers.contains(&r.n));
    }

    /// All runs.
    pub fn runs(&self) -> &[Run] {
        &self.0
    }

    /// The runs of a contestant.
    pub fn of(&self, setup: &str, contestant: &str, n: usize) -> impl Iterator<Item = &Run> {
        self.0.iter().filter(move |r| r.setup == setup && r.contestant == contestant && r.n == n)
    }

    /// The median of something, of those of them that have it.
    pub fn median(
        &self,
        setup: &str,
        contestant: &str,
        n: usize,
        what: impl Fn(&Run) -> Option<f64>,
    ) -> Option<f64> {
        median(self.of(setup, contestant, n).filter_map(what).collect())
    }

    /// The median of the time.
    pub fn seconds(&self, setup: &str, contestant: &str, n: usize) -> Option<f64> {
        self.median(setup, contestant, n, |r| r.seconds)
    }

    /// The median of a figure.
    pub fn figure(&self, setup: &str, contestant: &str, n: usize, name: &str) -> Option<f64> {
        self.median(setup, contestant, n, |r| r.figure(name))
    }
}

/// The median; of an even number the worse of the middle two.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0]), Some(3.0));
        assert_eq!(median(vec![9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), Some(3.0));
    }

    #[test]
    fn failures_count_in_no_median() {
        let mut results = Results::default();
        for seconds in [Some(1.0), None, Some(2.0), Some(3.0)] {
            results.add(Run {
                setup: "A".into(),
                contestant: "ours".into(),
                n: 8,
                seconds,
                ..Run::default()
            });
        }
        assert_eq!(results.seconds("A", "ours", 8), Some(2.0));
        assert_eq!(results.seconds("A", "ours", 1), None);
        results.forget("A", "ours", &[1, 2, 4, 8]);
        assert!(results.runs().is_empty());
    }

    #[test]
    fn what_is_written_is_read() {
        let path = std::env::temp_dir().join(format!("boottorrent-bench-{}.json", std::process::id()));
        assert!(Results::load(&path).unwrap().runs().is_empty());
        let mut results = Results::default();
        let figures = Figures::from([("copies".into(), 1.5)]);
        results.add(Run { seconds: Some(1.25), each: vec![1.0, 1.25], figures, ..Run::default() });
        results.add(Run { error: Some("it \"broke\"".into()), ..Run::default() });
        results.save(&path).unwrap();
        assert_eq!(Results::load(&path).unwrap().runs(), results.runs());
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 4);
        std::fs::remove_file(&path).unwrap();
    }
}
