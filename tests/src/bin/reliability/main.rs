// SPDX-License-Identifier: GPL-3.0-or-later
//! `make reliability`: runs what goes wrong in a room, and makes docs/reliability.md of how it ended. Each
//! outcome is written at once: an interrupted run has what it has seen.

mod soak;

use anyhow::{Result, ensure};
use boottorrent_tests::{
    assets,
    reliability::{all, page::Record},
};
use clap::Parser;

/// MiB of the images that most scenarios have.
const MIB: [u32; 4] = [16, 24, 32, 48];

/// Run what goes wrong in a room, and make docs/reliability.md of how it ended.
#[derive(Parser)]
#[command(name = "reliability")]
struct Args {
    /// Only these scenarios; `soak` is the long run
    names: Vec<String>,
    /// Only those that are run with every change
    #[arg(long)]
    quick: bool,
    /// Run nothing: make the page of what there is
    #[arg(long)]
    render: bool,
    /// Rounds of the long run
    #[arg(long, default_value_t = 100)]
    rounds: usize,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let known = |n: &String| n == "soak" || all().iter().any(|s| s.name == n);
    ensure!(args.names.iter().all(known), "there are: soak, {}", names().join(", "));
    let wanted = |name: &str| args.names.is_empty() || args.names.iter().any(|n| n == name);
    // Not in any scenario's time.
    for mib in MIB.into_iter().filter(|_| !args.render) {
        assets::random(mib)?;
    }
    let mut failed = Vec::new();
    for scenario in all().iter().filter(|s| wanted(s.name) && (s.quick || !args.quick) && !args.render) {
        match scenario.run() {
            Ok(outcome) => keep(|record| record.put(outcome))?,
            Err(e) => {
                eprintln!("{e:#}");
                failed.push(scenario.name);
            }
        }
    }
    if wanted("soak") && !args.quick && !args.render {
        let soak = soak::run(args.rounds)?;
        keep(|record| record.soak = Some(soak))?;
    }
    keep(|_| ())?;
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

/// Change the record; another run may have done so meanwhile.
fn keep(change: impl FnOnce(&mut Record)) -> Result<()> {
    let mut record = Record::load()?;
    change(&mut record);
    record.write()
}

fn names() -> Vec<&'static str> {
    all().iter().map(|s| s.name).collect()
}
