// SPDX-License-Identifier: GPL-3.0-or-later
//! One race: the machines start together, and it is over when the last one has everything.

use crate::{
    contestants::{Contestant, Done, Machine, Stage},
    network::Network,
    payload::Payload,
    process,
    results::Figures,
    setup::Setup,
};
use anyhow::{Context, Result, ensure};
use bootspec::Progress;
use boottorrent_tests::{Background, Host};
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// The longest that a race may take.
const LIMIT: Duration = Duration::from_secs(400);
const GIB: f64 = (1u64 << 30) as f64;

/// What a race gave.
pub struct Race {
    /// From the first start to the last end.
    pub seconds: f64,
    /// Of each machine, from its own start to its own end.
    pub each: Vec<f64>,
    /// What else was measured.
    pub figures: Figures,
}

/// A machine's program that was started.
struct Runner {
    process: Background,
    done: Done,
    started: Duration,
    ended: Option<Duration>,
    cpu: f64,
}

impl Runner {
    fn start(host: &Host, name: &str, machine: &Machine, begin: Instant) -> Result<Self> {
        let (done, started) = (machine.done.clone(), begin.elapsed());
        let process = host.spawn(name, &machine.cmd)?;
        Ok(Self { process, done, started, ended: None, cpu: 0.0 })
    }

    /// Whether it is done; an error when it never will be.
    fn look(&mut self, begin: Instant) -> Result<bool> {
        if self.ended.is_some() {
            return Ok(true);
        }
        let pid = self.process.id();
        let done = match &self.done {
            Done::File(file) => file.exists(),
            Done::End => process::has_ended(pid),
        };
        if !done {
            self.process.check()?;
            return Ok(false);
        }
        self.ended = Some(begin.elapsed());
        // Before anybody waits for it: until then the kernel still knows.
        self.cpu = process::cpu_seconds(pid);
        if let Done::End = self.done {
            let status = self.process.wait(Duration::from_secs(1))?;
            ensure!(status.success(), "a machine's program: {status}");
        }
        Ok(true)
    }

    fn seconds(&self) -> f64 {
        self.ended.unwrap_or_default().saturating_sub(self.started).as_secs_f64()
    }

    /// Our agent's last word, if it is ours.
    fn progress(&self) -> Option<Progress> {
        String::from_utf8_lossy(&self.process.output()).lines().find_map(|l| serde_json::from_str(l).ok())
    }
}

/// Race with `n` machines, in a new network and a new folder in `memory`.
pub fn race(
    contestant: &dyn Contestant,
    setup: &Setup,
    n: usize,
    payload: &Payload,
    memory: &Path,
) -> Result<Race> {
    let dir = memory.join("race");
    // An earlier race may have failed half-way.
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir(&dir)?;
    let done = run(contestant, setup, n, payload, &dir);
    std::fs::remove_dir_all(&dir).context("tidying up after a race")?;
    done
}

fn run(contestant: &dyn Contestant, setup: &Setup, n: usize, payload: &Payload, dir: &Path) -> Result<Race> {
    let starts = setup.starts(n);
    let all = starts.len();
    let network = Network::new(setup, all)?;
    let stage = Stage { setup, network: &network, payload, dir };
    let mut serving = contestant.serve(&stage)?;
    let machines = (0..all).map(|i| contestant.machine(&stage, i)).collect::<Result<Vec<_>>>()?;

    let pid = serving.pid().context("nobody serves")?;
    let cpu = process::cpu_seconds(pid);
    let (sent, received, crossed) = (network.sent_by_server()?, network.received()?, network.crossed()?);
    let begin = Instant::now();
    let start = |i: usize| Runner::start(&network.hosts[i], &format!("machine-{i}"), &machines[i], begin);
    let mut runners = Vec::new();
    loop {
        while starts.get(runners.len()).is_some_and(|at| begin.elapsed() >= *at) {
            runners.push(start(runners.len())?);
        }
        let mut over = runners.len() == all;
        for runner in &mut runners {
            over &= runner.look(begin)?;
        }
        if over {
            break;
        }
        ensure!(begin.elapsed() < LIMIT, "not over after {} s", LIMIT.as_secs());
        if !contestant.sender_ends() {
            serving.check()?;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let seconds = runners.iter().filter_map(|r| r.ended).max().unwrap_or_default().as_secs_f64();
    let cpu = process::cpu_seconds(pid) - cpu;

    let size = payload.size as f64;
    let mut figures = Figures::new();
    let mut note = |name: &str, value: f64| figures.insert(name.into(), value);
    note("wire copies", (network.sent_by_server()? - sent) as f64 / size);
    note("wire received", (network.received()? - received) as f64 / size / all as f64);
    if let (Some(before), Some(after)) = (crossed, network.crossed()?) {
        note("crossed", (after - before) as f64 / size);
    }
    note("server CPU", cpu / (size / GIB));
    note("machine CPU", runners.iter().map(|r| r.cpu).sum::<f64>() / all as f64 / (size / GIB));
    if let Some(memory) = runners.iter().filter_map(|r| process::peak_memory(r.process.id())).max() {
        note("memory", memory as f64);
    }
    // Ours says it after the file has got its name.
    std::thread::sleep(Duration::from_millis(200));
    let said: Vec<Progress> = runners.iter().filter_map(Runner::progress).collect();
    if said.len() == all {
        let sum = |of: fn(&Progress) -> u64| said.iter().map(of).sum::<u64>() as f64 / size;
        note("copies", sum(|p| p.from_server + p.from_http));
        note("received", sum(Progress::received) / all as f64);
    }
    let each = runners.iter().map(Runner::seconds).collect();
    drop(runners);
    drop(serving);
    for machine in &machines {
        payload.compare(&machine.file)?;
    }
    Ok(Race { seconds, each, figures })
}
