// SPDX-License-Identifier: GPL-3.0-or-later
//! `make bench`: BootTorrent and others do the same work on the same links, in
//! turn. Every run goes to docs/benchmarks.json at once, and docs/benchmarks.md
//! is made of that: an interrupted run has what it has measured.

mod boots;
mod contestants;
mod init;
mod must;
mod network;
mod page;
mod payload;
mod process;
mod race;
mod results;
mod setup;
mod sizes;
mod svg;
mod switch;

use anyhow::{Context, Result, bail};
use boottorrent_tests::{assets, workspace};
use clap::Parser;
use contestants::Contestant;
use payload::{Memory, Payload};
use results::{Results, Run};
use setup::Setup;
use std::{
    collections::HashSet,
    path::PathBuf,
    time::{Duration, Instant},
};

/// Whoever takes longer is measured once.
const SLOW: Duration = Duration::from_secs(60);

/// What is measured with real images.
const PARTS: [&str; 4] = ["sizes", "boots", "init", "switch"];

/// Measure, and make docs/benchmarks.md of it.
#[derive(Parser)]
#[command(name = "bench")]
struct Args {
    /// Four minutes: parts of A, B, D and S, one round, shown and not written
    #[arg(long)]
    quick: bool,
    /// Parts to measure, of A,B,C,D,S,E,sizes,boots,init,switch, or setups such as B-late
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    setup: Vec<String>,
    /// Rounds (default: $BENCH_ROUNDS, or 3)
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Who races, of ours,librqbit,http,aria2,libtorrent,transmission,udpcast
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    contestants: Vec<String>,
    /// Only these numbers of machines
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    machines: Vec<usize>,
    /// Where the runs are kept (default: docs/benchmarks.json)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The page to write (default: docs/benchmarks.md); its drawings are put beside it
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
    /// Write no page
    #[arg(long)]
    no_page: bool,
    /// Measure nothing: make the page of what there is
    #[arg(long)]
    render: bool,
}

/// What is measured, and where it goes.
struct Bench {
    args: Args,
    rounds: usize,
    json: Option<PathBuf>,
    page: Option<PathBuf>,
    results: Results,
    slow: HashSet<(String, &'static str, usize)>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let docs = workspace().join("docs");
    // The quick mode keeps nothing that it is not told to keep.
    let file = |given: &Option<PathBuf>, name: &str| {
        given.clone().or_else(|| (!args.quick).then(|| docs.join(name)))
    };
    let (json, page) = (file(&args.json, "benchmarks.json"), file(&args.page, "benchmarks.md"));
    let page = page.filter(|_| !args.no_page);
    let from_env = std::env::var("BENCH_ROUNDS").ok().and_then(|r| r.parse().ok());
    let rounds = args.rounds.or(from_env).unwrap_or(if args.quick { 1 } else { 3 });
    let results = json.as_deref().map_or_else(|| Ok(Results::default()), Results::load)?;
    let mut bench = Bench { args, rounds, json, page, results, slow: HashSet::new() };
    if !bench.args.render {
        bench.measure()?;
    }
    bench.write()?;
    println!("{}", page::figures(&bench.results));
    Ok(())
}

impl Bench {
    fn measure(&mut self) -> Result<()> {
        let chosen = self.chosen()?;
        network::make_room_for_neighbours()?;
        let begin = Instant::now();
        let memory = Memory::new()?;
        let racing: Vec<&'static dyn Contestant> = contestants::ALL
            .into_iter()
            .filter(|c| chosen.iter().any(|(_, who)| who.iter().any(|w| w.id() == c.id())))
            .collect();
        warm_up(&memory, &racing)?;
        for (setup, who) in chosen {
            self.races(&setup, &who, &memory)?;
            self.write()?;
        }
        for part in PARTS {
            if self.wants(part) && !self.args.quick {
                self.machines(part)?;
                self.write()?;
            }
        }
        eprintln!("measured in {:.0} s", begin.elapsed().as_secs_f64());
        Ok(())
    }

    /// Whether a part or a setup was asked for.
    fn wants(&self, name: &str) -> bool {
        let list = &self.args.setup;
        list.is_empty() || list.iter().any(|w| w == name || w == setup::part(name))
    }

    /// The setups, each with who races in it.
    fn chosen(&self) -> Result<Vec<(Setup, Vec<&'static dyn Contestant>)>> {
        for name in &self.args.setup {
            let is_part = setup::ALL.iter().any(|s| setup::part(s.name) == name);
            if !is_part && !PARTS.contains(&name.as_str()) {
                Setup::named(name)?;
            }
        }
        let asked =
            self.args.contestants.iter().map(|id| contestants::named(id)).collect::<Result<Vec<_>>>()?;
        let asked = if asked.is_empty() { contestants::ALL.to_vec() } else { asked };
        let mut chosen = Vec::new();
        for setup in setup::ALL.into_iter().filter(|s| self.wants(s.name)) {
            if !self.args.quick {
                chosen.push((setup, asked.clone()));
            } else if let Some((setup, ids)) = setup.quick() {
                chosen.push((setup, asked.iter().copied().filter(|c| ids.contains(&c.id())).collect()));
            }
        }
        Ok(chosen)
    }

    fn races(&mut self, setup: &Setup, who: &[&'static dyn Contestant], memory: &Memory) -> Result<()> {
        let payload = Payload::new(memory.dir(), setup.size)?;
        let asked = |n: &usize| self.args.machines.is_empty() || self.args.machines.contains(n);
        let numbers: Vec<usize> = setup.machines.iter().copied().filter(asked).collect();
        for c in who {
            self.results.forget(setup.name, c.id(), &numbers);
        }
        for round in 1..=self.rounds {
            for n in &numbers {
                let races = |c: &&&dyn Contestant| {
                    c.races(setup, *n) && (setup.phase_one.is_none() || c.id() == "ours")
                };
                for c in who.iter().filter(races) {
                    let key = (setup.name.to_owned(), c.id(), *n);
                    if self.slow.contains(&key) {
                        continue;
                    }
                    let begin = Instant::now();
                    self.race((setup, *c, *n, round), &payload, memory)?;
                    if begin.elapsed() > SLOW {
                        self.slow.insert(key);
                    }
                }
            }
        }
        Ok(())
    }

    fn race(
        &mut self,
        (setup, c, n, round): (&Setup, &dyn Contestant, usize, usize),
        payload: &Payload,
        memory: &Memory,
    ) -> Result<()> {
        let mut run = Run::begin(setup.name, c.id(), n, round)?;
        run.size = setup.size;
        match race::race(c, setup, n, payload, memory.dir()) {
            Ok(race) => {
                let bound =
                    setup.bound(n).map_or(String::new(), |b| format!(", {:.2} × bound", race.seconds / b));
                eprintln!("{}, round {round}, {n} × {}: {:.1} s{bound}", setup.name, c.id(), race.seconds);
                (run.seconds, run.each, run.figures) = (Some(race.seconds), race.each, race.figures);
            }
            Err(e) => {
                eprintln!("{}, round {round}, {n} × {}: failed: {e:#}", setup.name, c.id());
                run.error = Some(format!("{e:#}"));
            }
        }
        self.keep(run)
    }

    /// The parts with a real image: its sizes, and machines that boot it.
    fn machines(&mut self, part: &str) -> Result<()> {
        let image = assets::image(assets::Suite::own()?)?;
        let (rounds, numbers) = match part {
            "sizes" => (1, vec![1]),
            "boots" => (self.rounds, boots::MACHINES.to_vec()),
            "init" | "switch" => (self.rounds, vec![1]),
            _ => bail!("there is no part {part}"),
        };
        self.results.forget(part, "ours", &numbers);
        for round in 1..=rounds {
            for n in &numbers {
                let mut run = Run::begin(part, "ours", *n, round)?;
                let measured = match part {
                    "sizes" => sizes::measure(&mut run, &image),
                    "boots" => boots::measure(&mut run, &image),
                    "init" => init::measure(&mut run, &image),
                    _ => switch::measure(&mut run),
                };
                if let Err(e) = measured {
                    run.error = Some(format!("{e:#}"));
                }
                eprintln!("{part}, round {round}, {n}: {:?} {:?} {:?}", run.each, run.figures, run.error);
                self.keep(run)?;
            }
        }
        Ok(())
    }

    fn keep(&mut self, run: Run) -> Result<()> {
        self.results.add(run);
        self.json.as_deref().map_or(Ok(()), |path| self.results.save(path))
    }

    fn write(&self) -> Result<()> {
        let Some(path) = &self.page else { return Ok(()) };
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let page = page::render(&self.results, &stem);
        let write = |path: PathBuf, text: &str| {
            std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
        };
        for (end, drawing) in &page.drawings {
            write(path.with_file_name(format!("{stem}-{end}.svg")), drawing)?;
        }
        write(path.clone(), &page.markdown)
    }
}

/// Everybody once, uncounted. Who fails here is told again, and written down, in the races.
fn warm_up(memory: &Memory, racing: &[&dyn Contestant]) -> Result<()> {
    let setup = &setup::WARM_UP;
    let payload = Payload::new(memory.dir(), setup.size)?;
    for c in racing {
        match race::race(*c, setup, setup.machines[0], &payload, memory.dir()) {
            Ok(race) => eprintln!("warm-up, {}: {:.1} s", c.id(), race.seconds),
            Err(e) => eprintln!("warm-up, {}: {e:#}", c.id()),
        }
    }
    Ok(())
}
