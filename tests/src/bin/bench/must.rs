// SPDX-License-Identifier: GPL-3.0-or-later
//! The figures that must be reached.

use crate::{results::Results, setup::Setup};

/// On which side of the limit a figure must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// As small as this.
    AtMost(f64),
    /// As large as this.
    AtLeast(f64),
    /// Smaller than this.
    Below(f64),
}

/// One figure.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What it is of.
    pub what: String,
    /// What it must be.
    pub limit: Limit,
    /// What it is, if it was measured.
    pub measured: Option<f64>,
}

impl Limit {
    /// As it is read.
    pub fn text(self) -> String {
        match self {
            Limit::AtMost(x) => format!("≤ {x:.2}"),
            Limit::AtLeast(x) => format!("≥ {x:.2}"),
            Limit::Below(x) => format!("< {x:.2}"),
        }
    }

    /// Whether a value is on the right side.
    pub fn met(self, value: f64) -> bool {
        match self {
            Limit::AtMost(x) => value <= x,
            Limit::AtLeast(x) => value >= x,
            Limit::Below(x) => value < x,
        }
    }
}

impl Figure {
    /// `yes`, `no`, or that it was not measured.
    pub fn verdict(&self) -> &'static str {
        match self.measured {
            None => "not measured",
            Some(value) if self.limit.met(value) => "yes",
            Some(_) => "**no**",
        }
    }
}

/// The bound for what was really sent: in the quick mode that is less.
pub fn bound(results: &Results, setup: &str, n: usize) -> Option<f64> {
    let size = results.runs().iter().find(|r| r.setup == setup && r.n == n)?.size;
    Setup { size, ..Setup::named(setup).ok()? }.bound(n)
}

/// A machine's own time over what its payload takes over its link, where links are limited: of the machine that this
/// share of all are no slower than (0.5: the median, 1: the slowest).
pub fn own(results: &Results, setup: &str, who: &str, n: usize, share: f64) -> Option<f64> {
    let link = bound(results, setup, n)?;
    results.median(setup, who, n, |r| {
        let mut each = r.each.clone();
        each.sort_by(f64::total_cmp);
        let at = (each.len().checked_sub(1)? as f64 * share).round() as usize;
        each.get(at).map(|own| own / link)
    })
}

/// Kernels, initrds and payload that the server has sent, over once the payload and for each machine once the others.
fn all_sent(results: &Results, setup: &str, n: usize) -> Option<f64> {
    let size = results.runs().iter().find(|r| r.setup == setup && r.n == n)?.size as f64;
    let first = Setup::named(setup).ok()?.phase_one() as f64 * n as f64;
    Some((results.figure(setup, "ours", n, "copies")? * size + first) / (size + first))
}

/// All of them.
pub fn figures(results: &Results) -> Vec<Figure> {
    use Limit::{AtLeast, AtMost, Below};
    let time = |setup, who, n| results.seconds(setup, who, n);
    let ours = |setup, n| time(setup, "ours", n);
    let figure = |setup, n, name| results.figure(setup, "ours", n, name);
    let ratio = |a: Option<f64>, b: Option<f64>| Some(a? / b?);
    let bound = |setup, n| bound(results, setup, n);
    let mut all = Vec::new();
    let mut add = |what: &str, limit, measured| all.push(Figure { what: what.into(), limit, measured });

    add("A: time / bound", AtMost(1.15), ratio(ours("A", 8), bound("A", 8)));
    add("A: sent by the server / size", AtMost(1.10), figure("A", 8, "copies"));
    add("A: received / size", AtMost(1.10), figure("A", 8, "received"));
    for (id, label) in [("libtorrent", "libtorrent"), ("aria2", "aria2"), ("transmission", "Transmission")] {
        add(&format!("A: time / {label}'s"), Below(1.0), ratio(ours("A", 8), time("A", id, 8)));
    }
    add("B: T(32) / T(1)", AtMost(1.30), ratio(ours("B", 32), ours("B", 1)));
    add("B: T(64) / T(1)", AtMost(1.35), ratio(ours("B", 64), ours("B", 1)));
    add("B: time / bound, N = 32", AtMost(1.30), ratio(ours("B", 32), bound("B", 32)));
    for n in [8, 16] {
        let faster = ratio(time("B", "http", n), ours("B", n));
        add(&format!("B: times faster than HTTP, N = {n}"), AtLeast(0.7 * n as f64), faster);
    }
    add("B: time / udpcast's, N = 16", AtMost(1.35), ratio(ours("B", 16), time("B", "udpcast", 16)));
    let late = results.median("B-late", "ours", 16, |r| r.each.last().copied());
    add("B: a late joiner's own time / T(1), N = 16", AtMost(1.10), ratio(late, ours("B", 1)));
    let memory = figure("B", 64, "memory").map(|m| m / f64::from(1 << 20));
    add("B: an agent's memory beyond the payload, MiB, N = 64", AtMost(48.0), memory);
    for (setup, n) in [("A", 8), ("B", 8), ("B", 32)] {
        let what = format!("{setup}: time / that with librqbit as the seeder, N = {n}");
        add(&what, AtMost(1.0), ratio(ours(setup, n), time(setup, "librqbit", n)));
    }
    add("C: sent from switch to switch / size", AtMost(2.0), figure("C", 16, "crossed"));
    for n in [11, 32] {
        let what = format!("S over 1 Gbit/s: sent by the server / size, N = {n}");
        add(&what, AtMost(1.3), figure("S-1G", n, "copies"));
    }
    let own = own(results, "S-1G", "ours", 11, 1.0);
    add("S over 1 Gbit/s: slowest machine's own time / size over its link, N = 11", AtMost(1.15), own);
    for (setup, n) in [("E-own-100", 23), ("E-own-20", 64), ("E-own-100", 64), ("E-own-1G", 64)] {
        let what = |figure: &str| format!("{setup}: {figure}, N = {n}");
        add(&what("sent by the server / (N × phase one + size)"), AtMost(1.05), all_sent(results, setup, n));
        add(&what("time / those bytes over its link"), AtMost(1.15), ratio(ours(setup, n), bound(setup, n)));
    }
    for (setup, most) in [("E-relays-20", 2.5), ("E-relays-100", 2.5), ("E-relays-1G", 1.5)] {
        add(&format!("{setup}: T(64) / T(1)"), AtMost(most), ratio(ours(setup, 64), ours(setup, 1)));
    }
    add("E-own-100: T(23) / T(1)", AtMost(3.8), ratio(ours("E-own-100", 23), ours("E-own-100", 1)));
    add("D: MiB/s / libtorrent's", AtLeast(0.8), ratio(time("D", "libtorrent", 1), ours("D", 1)));
    add("D: CPU seconds for a GiB, agent", AtMost(2.9), figure("D", 1, "machine CPU"));
    add("D: CPU seconds for a GiB, server", AtMost(1.0), figure("D", 1, "server CPU"));
    let http = time("D-1G", "http", 1);
    add("D over 1 Gbit/s: time / that of nginx + curl", AtMost(1.05), ratio(ours("D-1G", 1), http));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Figures, Run};

    #[test]
    fn limits() {
        assert!(Limit::AtMost(1.1).met(1.1) && !Limit::AtMost(1.1).met(1.11));
        assert!(Limit::AtLeast(5.6).met(5.6) && !Limit::AtLeast(5.6).met(5.5));
        assert!(Limit::Below(1.0).met(0.99) && !Limit::Below(1.0).met(1.0));
    }

    #[test]
    fn nothing_measured_is_nothing_met() {
        let all = figures(&Results::default());
        assert!(all.len() > 20 && all.iter().all(|f| f.verdict() == "not measured"));
    }

    #[test]
    fn ratios_of_what_was_measured() {
        let mut results = Results::default();
        for (contestant, n, seconds) in [("ours", 8, 12.0), ("http", 8, 84.0)] {
            let figures = Figures::from([("memory".into(), 1e6)]);
            let (setup, contestant) = ("B".into(), contestant.into());
            results.add(Run { setup, contestant, n, seconds: Some(seconds), figures, ..Run::default() });
        }
        let all = figures(&results);
        let faster = all.iter().find(|f| f.what.ends_with("HTTP, N = 8")).unwrap();
        assert_eq!((faster.measured, faster.verdict()), (Some(7.0), "yes"));
    }
}
