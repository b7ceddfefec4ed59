// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent doctor`: what would stop a boot, what it means, and the command that mends it.

mod calendar;
pub mod dhcp;
mod finding;
pub mod firewall;
mod images;
mod keys;
mod menu;
mod network;
mod offers;
mod power;
mod pxe;

pub use finding::{Finding, Severity, SystemPaths};

use crate::config::Config;

/// Look at everything. Takes a few seconds: an answer by a DHCP server is waited for.
pub fn examine(config: &Config, at: &SystemPaths) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(network::server(config));
    found.extend(images::images(config));
    found.extend(images::machines(config));
    found.extend(images::initrd_of_machines(config));
    found.extend(menu::menu(config));
    found.extend(power::bmcs(config));
    found.extend(calendar::calendar(config));
    found.extend(images::disk(config));
    found.extend(keys::signatures(config));
    found.push(images::clock(config));
    found.extend(network::interfaces());
    found.extend(network::loaders(config, at));
    found.push(firewall::look(config));
    found.extend(dhcp::look(at));
    found
}

/// For people: what is wrong first, with its cure.
pub fn render(found: &[Finding]) -> String {
    let mut out = String::new();
    let mut sorted: Vec<&Finding> = found.iter().collect();
    sorted.sort_by_key(|f| match f.state {
        Severity::Bad => 0,
        Severity::Warning => 1,
        Severity::Skipped => 2,
        Severity::Good => 3,
    });
    for f in sorted {
        let word = match f.state {
            Severity::Bad => "BAD    ",
            Severity::Warning => "WARNING",
            Severity::Skipped => "skipped",
            Severity::Good => "good   ",
        };
        out += &format!("{word}  {}: {}\n", f.check, f.what);
        for (word, text) in [("that means", &f.means), ("how to fix", &f.cure)] {
            if let Some(text) = text {
                out += &format!("         {word}: {text}\n");
            }
        }
    }
    let count = |s: Severity| found.iter().filter(|f| f.state == s).count();
    let (bad, warnings) = (count(Severity::Bad), count(Severity::Warning));
    out += &match (bad, warnings) {
        (0, 0) => "nothing was found that would stop a boot\n".to_owned(),
        (0, w) => format!("nothing found that would stop a boot; warnings: {w}\n"),
        (b, w) => format!("problems that would stop a boot: {b}; warnings: {w}\n"),
    };
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_comes_first() {
        let found = [
            Finding::good("clock", "it is right"),
            Finding::skipped("dhcp", "only root may"),
            Finding::bad("ports", "taken", "no boot", "stop it"),
        ];
        assert_eq!(
            render(&found),
            "\
BAD      ports: taken
         that means: no boot
         how to fix: stop it
skipped  dhcp: only root may
good     clock: it is right
problems that would stop a boot: 1; warnings: 0
"
        );
        assert!(render(&found[..1]).ends_with("nothing was found that would stop a boot\n"));
    }
}
