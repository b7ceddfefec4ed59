// SPDX-License-Identifier: GPL-3.0-or-later
//! How long does a crowd of N machines take? Predicted with the real decisions of
//! [`swarm::plan`] on simulated links:
//! `cargo run --release -p swarm --example flashcrowd -- --setup B --machines 1,64,1024`

mod clock;
mod graph;
mod links;
mod node;
mod params;
mod sim;
mod trunk;

use clap::{Parser, ValueEnum};
use params::Params;
use sim::{Outcome, run};
use std::time::Duration;
use swarm::plan::Layout;

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Setup {
    /// 256 MiB, the server sends 200 Mbit/s, machines are hardly limited
    #[value(name = "A")]
    A,
    /// 64 MiB, every link 50 Mbit/s both ways
    #[value(name = "B")]
    B,
    /// 64 MiB to two switches with 50 Mbit/s between them, 200 Mbit/s everywhere else
    #[value(name = "C")]
    C,
    /// 97 MiB, every link 1 Gbit/s, machines come over 30 s
    #[value(name = "S")]
    S,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Seeder {
    /// Shows each piece to one machine first
    Dealing,
    /// Shows everything to everybody
    Open,
}

/// Predict how long a flash crowd takes
#[derive(Debug, Parser)]
#[command(name = "flashcrowd")]
struct Args {
    /// The payload and the links
    #[arg(long, value_enum, default_value = "B")]
    setup: Setup,
    /// How many machines, one crowd for each number (default: 8 in A, up to 10000 in B)
    #[arg(long, value_delimiter = ',')]
    machines: Vec<usize>,
    /// What the server shows
    #[arg(long, value_enum, default_value = "dealing")]
    seeder: Seeder,
    /// Crowds of each number, with other seeds; medians are shown
    #[arg(long, default_value_t = 1)]
    runs: u64,
    /// Milliseconds from one machine to another
    #[arg(long, default_value_t = 0.5)]
    latency: f64,
    /// KiB of a connection that a sender's kernel holds
    #[arg(long, default_value_t = 64)]
    kernel: u32,
    /// Blocks of 16 KiB that are sent together (default: 1; 4 above 2000 machines)
    #[arg(long)]
    grain: Option<usize>,
    /// Milliseconds within which all machines start (default: 200, and 30000 in S)
    #[arg(long)]
    spread: Option<f64>,
    /// MiB of the payload
    #[arg(long)]
    size: Option<u64>,
    /// Mbit/s of the server's link
    #[arg(long)]
    server: Option<f64>,
    /// Mbit/s of each machine's link
    #[arg(long)]
    machine: Option<f64>,
    /// Mbit/s between two switches
    #[arg(long)]
    trunk: Option<f64>,
    /// MiB that each machine loads from the server over HTTP first
    #[arg(long, default_value_t = 0)]
    phase_one: u64,
    /// Seconds after which a machine that has everything leaves
    #[arg(long)]
    stay: Option<f64>,
    /// Milliseconds from one call of a machine to the next
    #[arg(long, default_value_t = 3.0)]
    call: f64,
    /// Machines start one after another, with the same time between them, rather than at random
    #[arg(long)]
    even: bool,
    /// Connections that a machine looks for at once
    #[arg(long)]
    first: Option<usize>,
    /// Connections that a machine looks for after a second
    #[arg(long)]
    wanted: Option<usize>,
    /// Connections that a machine has at most
    #[arg(long)]
    most: Option<usize>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

impl Args {
    fn params(&self, machines: usize) -> Params {
        let mut p = match self.setup {
            Setup::A => Params::a(machines),
            Setup::B => Params::b(machines),
            Setup::C => Params::c(machines),
            Setup::S => Params::s(machines),
        };
        p.layout = self.size.map_or(p.layout, |mib| Layout::new(mib << 20, p.layout.piece_length()));
        p.server = self.server.unwrap_or(p.server);
        p.machine = self.machine.unwrap_or(p.machine);
        p.trunk = self.trunk.or(p.trunk);
        p.even = self.even;
        p.phase_one = self.phase_one << 20;
        p.stay = self.stay.map(Duration::from_secs_f64);
        p.dealing = self.seeder == Seeder::Dealing;
        p.latency = Duration::from_secs_f64(self.latency / 1e3);
        p.kernel = self.kernel << 10;
        p.spread = self.spread.map_or(p.spread, |ms| Duration::from_secs_f64(ms / 1e3));
        p.degree.call = Duration::from_secs_f64(self.call.max(0.1) / 1e3);
        p.grain = self.grain.unwrap_or(p.grain).max(1);
        p.degree.first = self.first.unwrap_or(p.degree.first);
        p.degree.wanted = self.wanted.unwrap_or(p.degree.wanted);
        p.degree.most = self.most.unwrap_or(p.degree.most);
        p
    }
}

fn main() {
    let args = Args::parse();
    let machines = match (args.machines.as_slice(), args.setup) {
        ([], Setup::A) => vec![8],
        ([], Setup::C) => vec![16],
        ([], Setup::S) => vec![11, 32],
        ([], Setup::B) => vec![1, 2, 4, 8, 16, 32, 64, 128, 256, 1024, 10_000],
        (some, _) => some.to_vec(),
    };
    // What one machine takes alone, to compare with.
    let alone = run(args.params(1)).seconds;
    if !args.json {
        println!(
            "     N |  predicted | x T(1) | copies | received/size | own time/link: median, most | crossed"
        );
    }
    for n in machines {
        let params = args.params(n);
        let crowds = (1..=args.runs.max(1)).map(|seed| run(Params { seed, ..params }));
        let crowds: Vec<Outcome> = crowds.collect();
        let median = |of: fn(&Outcome) -> f64| {
            let mut all: Vec<f64> = crowds.iter().map(of).collect();
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        };
        let (t, copies, received) = (median(|c| c.seconds), median(|c| c.copies), median(|c| c.received));
        let (own, most) = (median(|c| c.own.0) / params.link(), median(|c| c.own.1) / params.link());
        let (times, crossed) = (t / alone, median(|c| c.crossed));
        if args.json {
            println!(
                r#"{{"setup":"{:?}","n":{n},"seconds":{t:.3},"times":{times:.3},"copies":{copies:.3},"received":{received:.3},"own":{own:.3},"most":{most:.3},"crossed":{crossed:.3}}}"#,
                args.setup
            );
        } else {
            println!(
                "{n:6} | {t:8.2} s | {times:6.3} | {copies:6.3} | {received:13.3} | {own:20.3}, {most:5.3} | {crossed:7.2}"
            );
        }
    }
}
