// SPDX-License-Identifier: GPL-3.0-or-later
//! What a process and its children have taken of the machine, from /proc.

use std::fs;

/// `USER_HZ`: what the kernel counts in for programs, on every architecture we run on.
const TICKS: f64 = 100.0;

/// CPU seconds of a process, of its children that have ended, and of those that live.
/// A process that has ended counts until it is waited for; one that is not there is 0.
pub fn cpu_seconds(pid: u32) -> f64 {
    let own = stat(pid).map_or(0.0, |s| s.seconds);
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    own + list.split_ascii_whitespace().filter_map(|c| c.parse().ok()).map(cpu_seconds).sum::<f64>()
}

/// Whether a process has ended and nobody has waited for it yet.
pub fn has_ended(pid: u32) -> bool {
    stat(pid).is_none_or(|s| s.state == 'Z')
}

/// The most memory that a process ever held, in bytes (`VmHWM`).
pub fn peak_memory(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

struct Stat {
    state: char,
    seconds: f64,
}

fn stat(pid: u32) -> Option<Stat> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse(line: &str) -> Option<Stat> {
    // The name in brackets may hold spaces and brackets.
    let mut fields = line.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?.chars().next()?;
    // utime, stime, cutime and cstime are the fields 14 to 17, state is the third.
    let ticks: f64 = fields.skip(10).take(4).filter_map(|t| t.parse::<f64>().ok()).sum();
    Some(Stat { state, seconds: ticks / TICKS })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_proc() {
        let line = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 20 5 20 0 1 0 100 1000 10";
        let stat = parse(line).unwrap();
        assert_eq!((stat.state, stat.seconds), ('S', 3.25));
    }

    #[test]
    fn this_process() {
        let own = std::process::id();
        assert!(!has_ended(own) && peak_memory(own).unwrap() > 1 << 20);
        assert!(has_ended(u32::MAX) && cpu_seconds(u32::MAX) == 0.0);
    }
}
