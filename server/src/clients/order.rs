// SPDX-License-Identifier: GPL-3.0-or-later
//! In which order people see machines, and under what name.

use super::Client;
use std::cmp::Ordering;

/// How a machine is called: by the admin, by itself, or by its address.
pub fn name(c: &Client) -> String {
    let words = [&c.name, &c.heartbeat.hostname];
    let named = words.into_iter().flatten().find(|n| !n.is_empty());
    named.unwrap_or(&c.heartbeat.id).clone()
}

/// Failed, silent in the middle, under way (least done first), booted, switched off; then by name.
pub fn by_need(a: &Client, b: &Client) -> Ordering {
    let done = |c: &Client| (c.heartbeat.progress.percent() * 10.0) as u64;
    let under_way = if rank(a) == 2 { done(a).cmp(&done(b)) } else { Ordering::Equal };
    rank(a).cmp(&rank(b)).then(under_way).then_with(|| natural(&name(a), &name(b)))
}

fn rank(c: &Client) -> u8 {
    let booted = c.heartbeat.phase == bootspec::Phase::Seed;
    match c.phase() {
        "failed" => 0,
        "gone" if !booted => 1,
        "gone" => 4,
        "booted" => 3,
        _ => 2,
    }
}

/// How many machines are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All of them.
    pub all: usize,
    /// Those that run their image.
    pub booted: usize,
    /// Those that boot.
    pub under_way: usize,
    /// Those that said why they cannot.
    pub failed: usize,
    /// Those that are silent.
    pub gone: usize,
}

impl Counts {
    /// Count them.
    pub fn of(machines: &[Client]) -> Counts {
        let mut n = Counts { all: machines.len(), ..Counts::default() };
        for c in machines {
            let state = match c.phase() {
                "gone" => &mut n.gone,
                "failed" => &mut n.failed,
                "booted" => &mut n.booted,
                _ => &mut n.under_way,
            };
            *state += 1;
        }
        n
    }
}

/// In the order that people expect: pc2 before pc10: digits count as numbers.
pub fn natural(a: &str, b: &str) -> Ordering {
    let parts = |s: &str| -> Vec<(u64, String)> {
        let mut out = vec![(0u64, String::new())];
        for c in s.chars() {
            let last = out.len() - 1;
            match c.to_digit(10) {
                Some(d) if out[last].1.is_empty() => {
                    out[last].0 = out[last].0.saturating_mul(10).saturating_add(d.into())
                }
                Some(d) => out.push((d.into(), String::new())),
                None => out[last].1.push(c),
            }
        }
        out
    };
    // Two that differ only in leading zeros are still two.
    parts(a).cmp(&parts(b)).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_count_as_numbers() {
        let mut names = ["pc10", "pc2", "pc1", "a", "pc02", "lab2-pc3", "lab10-pc1"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["a", "lab2-pc3", "lab10-pc1", "pc1", "pc02", "pc2", "pc10"]);
    }
}
