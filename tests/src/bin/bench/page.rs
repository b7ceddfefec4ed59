// SPDX-License-Identifier: GPL-3.0-or-later
//! docs/benchmarks.md and its drawings, made of the results and of nothing else.

use crate::{
    contestants::{self, Contestant},
    must,
    results::{Results, Run, median},
    setup::{self, Setup},
    svg::{self, Bar, Curve},
};
use bootspec::units::human_size;
use std::fmt::Write;

/// What is written.
pub struct Page {
    /// The page.
    pub markdown: String,
    /// The drawings, by what their files' names end with.
    pub drawings: Vec<(&'static str, String)>,
}

const HEAD: &str = "# Benchmarks\n\n<!-- Made by `make bench` from benchmarks.json. Do not edit. -->\n\n\
    Everybody does the same work in the same run on one machine, in turn, and what is shown are medians (of an even number of\n\
    rounds: the worse of the middle two). Seconds compare with each other; only the ratios mean anything on another machine.\n\
    [How it is measured](#how-it-is-measured) is below.\n";

const METHOD: &str = include_str!("method.md");

/// Make the page. `stem` is the name of its file without the extension, which the drawings' names begin with.
pub fn render(results: &Results, stem: &str) -> Page {
    let mut md = String::from(HEAD);
    let mut drawings = Vec::new();
    md.push_str(&figures(results));
    for setup in setup::ALL {
        if !results.runs().iter().any(|r| r.setup == setup.name) {
            continue;
        }
        let _ =
            write!(md, "\n## {}: {}\n\n{}\n\n", setup.name, setup.what, circumstances(results, setup.name));
        let drawing = match setup.name {
            "A" => Some(("a", bars(results, &setup))),
            "B" => Some(("b", curves(results, &setup))),
            _ => None,
        };
        if let Some((end, drawing)) = drawing {
            let _ = writeln!(md, "![{}]({stem}-{end}.svg)\n", setup.what);
            drawings.push((end, drawing));
        }
        md.push_str(&match setup.spread {
            Some(_) => arrivals(results, &setup),
            None if setup.machines.len() > 1 => growth(results, &setup),
            None => race(results, &setup),
        });
    }
    md.push_str(&sizes(results));
    md.push_str(&boots(results));
    md.push_str(&init(results));
    md.push_str(&switch(results));
    md.push_str(METHOD);
    md.push_str("\n| contestant | settings |\n|---|---|\n");
    for c in contestants::ALL {
        let _ = writeln!(md, "| {} | {} |", c.label(), c.settings());
    }
    Page { markdown: md, drawings }
}

/// The figures that must be reached, as a section.
pub fn figures(results: &Results) -> String {
    let mut md = String::from(
        "\n## What must be reached\n\n| figure | must be | measured | reached |\n|---|---|---|---|\n",
    );
    for f in must::figures(results) {
        let measured = shown(f.measured, 3);
        let _ = writeln!(md, "| {} | {} | {measured} | {} |", f.what, f.limit.text(), f.verdict());
    }
    md
}

/// When, where and under which load a part was measured.
fn circumstances(results: &Results, setup: &str) -> String {
    let runs: Vec<&Run> = results.runs().iter().filter(|r| r.setup == setup).collect();
    let list = |of: fn(&Run) -> &str| {
        let mut all: Vec<&str> = runs.iter().map(|r| of(r)).collect();
        all.sort_unstable();
        all.dedup();
        all.join(", ")
    };
    let days = list(|r| r.date.split(' ').next().unwrap_or_default());
    let (commits, machines) = (list(|r| &r.commit), list(|r| &r.machine));
    let load = |pick: fn(f64, f64) -> f64| runs.iter().map(|r| r.load).reduce(pick).unwrap_or_default();
    let rounds = runs.iter().map(|r| r.round).max().unwrap_or_default();
    format!(
        "{days}, commit {commits}, {machines}, load {:.1}–{:.1} before the runs, rounds: {rounds}.",
        load(f64::min),
        load(f64::max)
    )
}

/// A table of a setup with one number of machines: a line for each contestant.
fn race(results: &Results, setup: &Setup) -> String {
    let n = setup.machines[0];
    let bound = must::bound(results, setup.name, n);
    let mut md = match bound {
        Some(bound) => format!("Bound: {bound:.1} s.\n\n"),
        None => String::new(),
    };
    let trunk = setup.trunk.is_some();
    md.push_str("| contestant | time (best–worst) | × bound | MiB/s of each | payload sent by the server / size | bytes on the server's link / size | bytes on a machine's link / size | CPU s/GiB server | CPU s/GiB machine | memory |");
    let more: Vec<&str> = [(trunk, " switch to switch / size |"), (setup.late, " late joiner's own time |")]
        .iter()
        .filter_map(|(has, column)| has.then_some(*column))
        .collect();
    let _ = writeln!(
        md,
        "{}\n|---|---|---|---|---|---|---|---|---|---|{}",
        more.concat(),
        "---|".repeat(more.len())
    );
    for c in contestants::ALL {
        let runs: Vec<&Run> = results.of(setup.name, c.id(), n).collect();
        let Some(first) = runs.first() else { continue };
        let Some(time) = results.seconds(setup.name, c.id(), n) else {
            let _ = writeln!(md, "| {} | {} |", c.label(), failure(&runs));
            continue;
        };
        let figure = |name: &str| shown(results.figure(setup.name, c.id(), n, name), 2);
        let memory = results.figure(setup.name, c.id(), n, "memory");
        let of =
            |pick: fn(f64, f64) -> f64| runs.iter().filter_map(|r| r.seconds).reduce(pick).unwrap_or(time);
        let _ = write!(
            md,
            "| {} | {time:.1} s ({:.1}–{:.1}) | {} | {:.0} | {} | {} | {} | {} | {} | {} |",
            c.label(),
            of(f64::min),
            of(f64::max),
            shown(bound.map(|b| time / b), 2),
            first.size as f64 / f64::from(1 << 20) / time,
            figure("copies"),
            figure("wire copies"),
            figure("wire received"),
            figure("server CPU"),
            figure("machine CPU"),
            memory.map_or(String::new(), |m| human_size(m as u64))
        );
        if trunk {
            let _ = write!(md, " {} |", figure("crossed"));
        }
        if setup.late {
            let own = results.median(setup.name, c.id(), n, |r| r.each.last().copied());
            let _ = write!(md, " {} s |", shown(own, 1));
        }
        md.push('\n');
    }
    md
}

/// A table of a setup with several numbers of machines: times, and copies in brackets.
fn growth(results: &Results, setup: &Setup) -> String {
    let bound = |n: &usize| must::bound(results, setup.name, *n);
    let mut md = match setup.machines.first().and_then(bound) {
        Some(bound) if setup.phase_one.is_none() => format!("Bound: {bound:.1} s. "),
        _ => String::new(),
    };
    md.push_str(
        "Seconds, and in brackets bytes on the server's link / size. Empty: not measured.\n\n| machines |",
    );
    let columns: String = setup.machines.iter().map(|n| format!(" {n} |")).collect();
    let _ = writeln!(md, "{columns}\n|---|{}", "---|".repeat(setup.machines.len()));
    if setup.phase_one.is_some() {
        let bounds: String = setup.machines.iter().map(|n| format!(" {} |", shown(bound(n), 1))).collect();
        let _ = writeln!(md, "| bound |{bounds}");
    }
    for c in contestants::ALL {
        if setup.machines.iter().all(|n| results.of(setup.name, c.id(), *n).next().is_none()) {
            continue;
        }
        let _ = write!(md, "| {} |", c.label());
        for n in setup.machines {
            let runs: Vec<&Run> = results.of(setup.name, c.id(), *n).collect();
            let copies = shown(results.figure(setup.name, c.id(), *n, "wire copies"), 2);
            let _ = match results.seconds(setup.name, c.id(), *n) {
                Some(time) => write!(md, " {time:.1} ({copies}) |"),
                None => write!(md, " {} |", failure(&runs)),
            };
        }
        md.push('\n');
    }
    md
}

/// A table of a setup whose machines come one after another: what the server sends, and each machine's own time.
fn arrivals(results: &Results, setup: &Setup) -> String {
    let mut md = String::from(
        "| machines | contestant | payload sent by the server / size | bytes on the server's link / size | \
         own time / size over the link, median | the same, slowest machine | CPU s/GiB server | CPU s/GiB machine |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for n in setup.machines {
        for c in contestants::ALL {
            let runs: Vec<&Run> = results.of(setup.name, c.id(), *n).collect();
            if runs.is_empty() {
                continue;
            }
            if results.seconds(setup.name, c.id(), *n).is_none() {
                let _ = writeln!(md, "| {n} | {} | {} |", c.label(), failure(&runs));
                continue;
            }
            let figure = |name: &str| shown(results.figure(setup.name, c.id(), *n, name), 2);
            let _ = writeln!(
                md,
                "| {n} | {} | {} | {} | {} | {} | {} | {} |",
                c.label(),
                figure("copies"),
                figure("wire copies"),
                shown(must::own(results, setup.name, c.id(), *n, 0.5), 2),
                shown(must::own(results, setup.name, c.id(), *n, 1.0), 2),
                figure("server CPU"),
                figure("machine CPU"),
            );
        }
    }
    md
}

/// Why all runs failed, in one cell.
fn failure(runs: &[&Run]) -> String {
    let Some(error) = runs.iter().find_map(|r| r.error.as_deref()) else { return String::new() };
    let words: Vec<&str> = error.split_whitespace().collect();
    let short: String = words.join(" ").replace('|', "/").chars().take(160).collect();
    format!("failed: {short}")
}

fn shown(value: Option<f64>, digits: usize) -> String {
    value.map_or(String::new(), |v| format!("{v:.digits$}"))
}

fn colour(c: &dyn Contestant) -> usize {
    contestants::ALL.iter().position(|other| other.id() == c.id()).unwrap_or_default()
}

fn bars(results: &Results, setup: &Setup) -> String {
    let n = setup.machines[0];
    let bar = |c: &dyn Contestant| {
        let value = results.seconds(setup.name, c.id(), n)?;
        Some(Bar { label: c.label().into(), colour: colour(c), value })
    };
    let bars: Vec<Bar> = contestants::ALL.iter().filter_map(|c| bar(*c)).collect();
    svg::bars(
        "256 MiB to 8 machines over a server link of 200 Mbit/s: seconds until the last one has it",
        &bars,
        must::bound(results, setup.name, n).unwrap_or_default(),
    )
}

fn curves(results: &Results, setup: &Setup) -> String {
    let points = |c: &dyn Contestant| {
        let point = |n: &usize| Some((*n as f64, results.seconds(setup.name, c.id(), *n)?));
        setup.machines.iter().filter_map(point).collect::<Vec<_>>()
    };
    let curves: Vec<Curve> = contestants::ALL
        .iter()
        .map(|c| Curve { label: c.label().into(), colour: colour(*c), points: points(*c) })
        .filter(|c| !c.points.is_empty())
        .collect();
    svg::curves(
        "64 MiB over links of 50 Mbit/s: seconds until the last machine has it",
        setup.machines,
        &curves,
        setup.bound(1).unwrap_or(1.0),
    )
}

fn sizes(results: &Results) -> String {
    let Some(run) = results.of("sizes", "ours", 1).last() else { return String::new() };
    let figure = |name: &str| run.figure(name).unwrap_or_default();
    let (kernel, initrd) = (figure("kernel"), figure("initrd"));
    format!(
        "\n## Sizes\n\n{}\n\n| what | bytes | must be |\n|---|---|---|\n| agent, stripped | {} | ≤ 3,000,000 |\n\
         | agent, zstd -19 | {} | ≤ 1,200,000 |\n| phase one: kernel + initrd | {} ({kernel} + {initrd}) | |\n",
        circumstances(results, "sizes"),
        figure("agent"),
        figure("agent, zstd -19"),
        kernel + initrd
    )
}

fn boots(results: &Results) -> String {
    let mut md = String::new();
    for n in crate::boots::MACHINES {
        let all: Vec<f64> = results.of("boots", "ours", n).flat_map(|r| r.each.iter().copied()).collect();
        let worst = all.iter().copied().fold(0.0, f64::max);
        let Some(time) = median(all) else { continue };
        let figure = |name: &str| results.figure("boots", "ours", n, name).unwrap_or_default();
        let memory = results.of("boots", "ours", n).filter_map(|r| r.figure("memory")).fold(0.0, f64::max);
        let _ = writeln!(
            md,
            "| {n} | {time:.1} s ({worst:.1} s) | {:.0} s | {:.0} % | {} |",
            figure("multi-user"),
            figure("from machines") * 100.0,
            human_size(memory as u64)
        );
    }
    if md.is_empty() {
        return md;
    }
    format!(
        "\n## Boots\n\nBy PXE in QEMU, emulated in software (TCG): these seconds do not compare with a real machine's. {}\n\n\
         | machines | agent start to root mounted, median (worst) | switched on to multi-user, last machine | from other machines | agent's memory beyond the image, worst (must be ≤ 48 MiB) |\n\
         |---|---|---|---|---|\n{md}",
        circumstances(results, "boots")
    )
}

fn init(results: &Results) -> String {
    let figure = |name: &str| results.figure("init", "ours", 1, name);
    let (Some(stock), Some(own)) = (figure("initrd of the image"), figure("initrd of the server")) else {
        return String::new();
    };
    format!(
        "\n## Kernel to root\n\nFrom the kernel's start to the mounted root, of a machine that has the image on its disk, in QEMU \
         (TCG). {}\n\n| with the image's own initrd | with the server's | ratio (wanted: ≤ 0.6) |\n|---|---|---|\n\
         | {stock:.1} s | {own:.1} s | {:.2} |\n",
        circumstances(results, "init"),
        own / stock
    )
}

fn switch(results: &Results) -> String {
    let all: Vec<f64> = results.of("switch", "ours", 1).flat_map(|r| r.each.iter().copied()).collect();
    let first = results.figure("switch", "ours", 1, "first root");
    let (Some(time), Some(first)) = (median(all), first) else { return String::new() };
    format!(
        "\n## Switching\n\nA machine with Debian 13 in QEMU (TCG) that is switched to another image by soft-reboot; medians. {}\n\n\
         | kernel to multi-user at the first boot | soft-reboot to multi-user | ratio (wanted: ≤ 0.6) |\n|---|---|---|\n\
         | {first:.1} s | {time:.1} s | {:.2} |\n",
        circumstances(results, "switch"),
        time / first
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Figures;

    fn run(setup: &str, contestant: &str, n: usize, seconds: Option<f64>) -> Run {
        Run {
            setup: setup.into(),
            contestant: contestant.into(),
            n,
            round: 1,
            date: "2026-01-02 03:04".into(),
            commit: "abc".into(),
            machine: "2 cores".into(),
            size: Setup::named(setup).map_or(0, |s| s.size),
            seconds,
            each: seconds.into_iter().collect(),
            figures: Figures::from([("wire copies".into(), 1.05), ("crossed".into(), 1.5)]),
            error: seconds.is_none().then(|| "it\nbroke | off".into()),
            ..Run::default()
        }
    }

    #[test]
    fn an_empty_page_has_figures_and_settings() {
        let page = render(&Results::default(), "benchmarks");
        assert!(page.drawings.is_empty());
        assert!(page.markdown.contains("not measured") && page.markdown.contains("| aria2 |"));
        assert!(!page.markdown.contains("## Boots") && !page.markdown.contains("## A:"));
    }

    #[test]
    fn tables() {
        let mut results = Results::default();
        results.add(run("A", "ours", 8, Some(12.0)));
        results.add(run("A", "ours", 8, Some(11.0)));
        results.add(run("A", "aria2", 8, None));
        results.add(run("B", "ours", 1, Some(11.0)));
        results.add(run("B", "ours", 64, Some(13.0)));
        results.add(run("C", "ours", 16, Some(14.0)));
        results.add(Run { each: vec![0.9, 0.8, 1.0], ..run("S-1G", "ours", 11, Some(31.0)) });
        let page = render(&results, "x");
        let has = |line: &str| assert!(page.markdown.contains(line), "{line}\n{}", page.markdown);
        has("| BootTorrent | 12.0 s (11.0–12.0) | 1.12 | 21 |  | 1.05 |  |  |  |  |\n");
        has("| aria2 | failed: it broke / off |\n");
        has("| BootTorrent | 11.0 (1.05) |  |  |  |  |  | 13.0 (1.05) |\n");
        has("| 1.50 |\n");
        has("| A: time / bound | ≤ 1.15 | 1.118 | yes |\n");
        has("| B: T(64) / T(1) | ≤ 1.35 | 1.182 | yes |\n");
        has("2026-01-02, commit abc, 2 cores, load 0.0–0.0 before the runs, rounds: 1.");
        has("| 11 | BootTorrent |  | 1.05 | 1.11 | 1.23 |  |  |\n");
        has("](x-a.svg)");
        assert_eq!(page.drawings.iter().map(|d| d.0).collect::<Vec<_>>(), ["a", "b"]);
    }
}
