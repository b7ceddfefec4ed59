// SPDX-License-Identifier: GPL-3.0-or-later
//! How long does a crowd of N machines take? Predicted with the real decisions of
//! [`swarm::plan`] on simulated links:
//! `cargo run --release -p swarm --example flashcrowd -- --setup B --machines 1,64,1024`

mod clock;
mod graph;
mod node;
mod sim;

use clap::{Parser, ValueEnum};
use sim::{Params, run};
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Setup {
    /// 256 MiB, the server sends 200 Mbit/s, machines are hardly limited
    #[value(name = "A")]
    A,
    /// 64 MiB, every link 50 Mbit/s both ways
    #[value(name = "B")]
    B,
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
    /// Crowds of each number, with other seeds; the median is told
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
    /// Milliseconds within which all machines start
    #[arg(long, default_value_t = 200.0)]
    spread: f64,
    /// Milliseconds from one call of a machine to the next
    #[arg(long, default_value_t = 40.0)]
    call: f64,
    /// Connections that a machine looks for
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
        };
        p.dealing = self.seeder == Seeder::Dealing;
        p.latency = Duration::from_secs_f64(self.latency / 1e3);
        p.kernel = self.kernel << 10;
        p.spread = Duration::from_secs_f64(self.spread / 1e3);
        p.degree.call = Duration::from_secs_f64(self.call.max(0.1) / 1e3);
        p.grain = self.grain.unwrap_or(p.grain).max(1);
        p.degree.wanted = self.wanted.unwrap_or(p.degree.wanted);
        p.degree.most = self.most.unwrap_or(p.degree.most);
        p
    }
}

fn main() {
    let args = Args::parse();
    let machines = match (args.machines.as_slice(), args.setup) {
        ([], Setup::A) => vec![8],
        ([], Setup::B) => vec![1, 2, 4, 8, 16, 32, 64, 128, 256, 1024, 10_000],
        (some, _) => some.to_vec(),
    };
    // What one machine takes alone, to compare with.
    let alone = run(args.params(1)).seconds;
    if !args.json {
        println!("     N |  predicted | x T(1) | copies from the server | received/size");
    }
    for n in machines {
        let crowds = (1..=args.runs.max(1)).map(|seed| run(Params { seed, ..args.params(n) }));
        let mut crowds: Vec<_> = crowds.collect();
        crowds.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        let crowd = crowds[crowds.len() / 2];
        let (t, copies, received) = (crowd.seconds, crowd.copies, crowd.received);
        let times = t / alone;
        if args.json {
            println!(
                r#"{{"setup":"{:?}","n":{n},"seconds":{t:.3},"times":{times:.3},"copies":{copies:.3},"received":{received:.3}}}"#,
                args.setup
            );
        } else {
            println!("{n:6} | {t:8.2} s | {times:6.2} | {copies:22.2} | {received:13.3}");
        }
    }
}
