// SPDX-License-Identifier: GPL-3.0-or-later
//! What goes wrong in a room ends as docs/reliability.md says. The scenarios are in
//! tests/src/reliability; `make reliability` runs them too, and makes the page.

use anyhow::{Context, Result, ensure};
use boottorrent_tests::reliability::{Scenario, all, page::Record};

fn ends_as_the_page_says(which: impl Fn(&Scenario) -> bool) -> Result<()> {
    let record = Record::load()?;
    let mut failed = Vec::new();
    for scenario in all().iter().filter(|s| which(s)) {
        let ended = scenario.run().and_then(|o| {
            let page = record.of(scenario.name).context("docs/reliability.md does not have it")?;
            let (end, told) = (&o.seen.end, &page.seen.end);
            ensure!(end == told, "{} ended so:\n{end}\nand docs/reliability.md says:\n{told}", scenario.name);
            Ok(())
        });
        if let Err(e) = ended {
            eprintln!("{e:#}");
            failed.push(scenario.name);
        }
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

#[test]
#[ignore = "two minutes alone: make test-full"]
fn the_short_scenarios_end_as_the_page_says() -> Result<()> {
    ends_as_the_page_says(|s| s.quick)
}

#[test]
#[ignore = "a quarter of an hour: make test-full"]
fn the_long_scenarios_end_as_the_page_says() -> Result<()> {
    ends_as_the_page_says(|s| !s.quick)
}
