// SPDX-License-Identifier: GPL-3.0-or-later
//! The flash crowd simulator (`examples/flashcrowd`), against what it promises and against
//! what was measured.

#[path = "../examples/flashcrowd/clock.rs"]
mod clock;
#[path = "../examples/flashcrowd/graph.rs"]
mod graph;
#[path = "../examples/flashcrowd/links.rs"]
mod links;
#[path = "../examples/flashcrowd/node.rs"]
mod node;
#[path = "../examples/flashcrowd/params.rs"]
mod params;
#[path = "../examples/flashcrowd/sim.rs"]
mod sim;
#[path = "../examples/flashcrowd/trunk.rs"]
mod trunk;

use params::Params;
use serde_json::Value;
use sim::{Outcome, run};
use std::{path::Path, time::Duration};

/// The median of three crowds.
fn predict(params: Params) -> Outcome {
    let mut crowds: Vec<_> = (1..=3).map(|seed| run(Params { seed, ..params })).collect();
    crowds.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    crowds[1]
}

#[test]
fn one_machine_takes_what_its_link_takes() {
    let alone = run(Params::b(1));
    let bound = 64.0 * 8.0 * 1.048_576 / 50.0;
    assert!((1.04 * bound..1.06 * bound).contains(&alone.seconds), "{alone:?}");
    assert_eq!((alone.copies, alone.received), (1.0, 1.0));
}

#[test]
fn a_crowd_takes_little_longer_than_one_and_dealing_is_no_worse() {
    // All at once: that is what a power cut makes.
    let crowd = |n| Params { spread: Duration::from_millis(1), ..Params::b(n) };
    let alone = run(Params::b(1)).seconds;
    for n in [8, 16, 64] {
        let (dealing, open) = (run(crowd(n)), run(Params { dealing: false, ..crowd(n) }));
        assert!(dealing.seconds <= open.seconds, "{n}: {dealing:?} {open:?}");
        assert!(dealing.copies <= open.copies, "{n}: {dealing:?} {open:?}");
        assert!(dealing.seconds <= 1.35 * alone, "{n}: {dealing:?}, alone {alone}");
        assert!(dealing.received <= 1.1, "{n}: {dealing:?}");
    }
}

#[test]
fn a_server_that_is_the_bottleneck_sends_each_piece_once() {
    let crowd = run(Params { layout: swarm::plan::Layout::new(64 << 20, 64 << 10), ..Params::a(8) });
    assert!(crowd.copies <= 1.05, "{crowd:?}");
}

#[test]
fn machines_that_come_and_go_all_get_everything() {
    let spread = Duration::from_secs(10);
    let quiet = Params { spread, even: true, server: 300.0, machine: 300.0, ..Params::s(8) };
    // Each is gone before the next one comes: all comes from the server.
    let lonely = run(Params { stay: Some(Duration::ZERO), spread: spread * 4, ..quiet });
    assert!(lonely.seconds.is_finite() && lonely.copies >= 8.0, "{lonely:?}");
    let busy = run(Params { stay: Some(Duration::from_secs(3)), ..quiet });
    assert!(busy.seconds.is_finite() && busy.copies < 5.0, "{busy:?}");
}

#[test]
fn phase_one_takes_its_share_of_the_servers_link() {
    let alone = Params { phase_one: 64 << 20, ..Params::b(1) };
    let (with, without) = (run(alone), run(Params::b(1)));
    let link = alone.link() * (1.0 + alone.overhead);
    assert!((with.seconds - without.seconds - link).abs() < 0.1, "{with:?} {without:?}");
    assert!((with.own.1 - without.own.1).abs() < 0.1, "and the machine's own time begins after it");
}

#[test]
fn what_crosses_between_two_switches_takes_its_time() {
    let crowd = run(Params::c(16));
    let link = 64.0 * 8.0 * 1.048_576 / 50.0;
    assert!(crowd.crossed >= 1.0 && crowd.seconds >= link * crowd.crossed, "{crowd:?}");
}

/// The median of what was measured in setup B with `n` of our machines.
fn measured(runs: &[Value], n: usize) -> Option<f64> {
    let ours = runs.iter().filter(|r| r["setup"] == "B" && r["contestant"] == "ours" && r["n"] == n);
    let mut seconds: Vec<f64> = ours.filter_map(|r| r["seconds"].as_f64()).collect();
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied()
}

/// Where there are results of `make bench`. All machines shared two cores there, so the
/// prediction may be lower.
#[test]
fn the_prediction_is_near_what_was_measured() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/benchmarks.json");
    let Ok(text) = std::fs::read_to_string(file) else { return };
    let runs: Vec<Value> = serde_json::from_str(&text).expect("an array of runs");
    for n in [1, 2, 4, 8, 16, 32, 64] {
        let Some(measured) = measured(&runs, n) else { continue };
        let predicted = predict(Params::b(n)).seconds;
        assert!(
            (0.7 * measured..=1.1 * measured).contains(&predicted),
            "{n} machines: {predicted:.1} s predicted, {measured:.1} s measured"
        );
    }
}
