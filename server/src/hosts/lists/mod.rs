// SPDX-License-Identifier: GPL-3.0-or-later
//! Lists of machines in other programs' files, read and written: spreadsheets, /etc/ethers, dnsmasq.

mod dnsmasq;
mod ethers;
mod listed;
mod sheet;

pub use listed::Listed;

use super::entry::Hosts;

/// Bytes of a list, at most.
pub const MAX_LIST: usize = 8 << 20;

/// How a list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListFormat {
    /// A table with a line of names; with everything that can be said of machines and groups.
    Csv,
    /// ethers(5): addresses and names.
    Ethers,
    /// dnsmasq's dhcp-host lines: addresses, names and a tag, which is the group.
    Dnsmasq,
}

impl ListFormat {
    /// The names of all.
    pub const NAMES: [&str; 3] = ["csv", "ethers", "dnsmasq"];

    /// By its name.
    pub fn named(name: &str) -> Option<ListFormat> {
        match name {
            "csv" => Some(ListFormat::Csv),
            "ethers" => Some(ListFormat::Ethers),
            "dnsmasq" => Some(ListFormat::Dnsmasq),
            _ => None,
        }
    }

    /// What a text seems to be.
    pub fn guess(text: &str) -> ListFormat {
        let lines = || text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
        let first = lines().next().unwrap_or_default();
        match () {
            () if lines().any(|l| l.starts_with("dhcp-host")) => ListFormat::Dnsmasq,
            () if sheet::is_head(first) => ListFormat::Csv,
            () if first.contains(',') => ListFormat::Dnsmasq,
            () => ListFormat::Ethers,
        }
    }

    /// Read a list. Errors: `LINE: ` and one sentence.
    pub fn read(self, text: &str) -> Result<Listed, String> {
        let listed = match self {
            ListFormat::Csv => sheet::read(text),
            ListFormat::Ethers => ethers::read(text),
            ListFormat::Dnsmasq => dnsmasq::read(text),
        }?;
        let mut seen = std::collections::BTreeSet::new();
        match listed.entries.iter().find(|(key, _)| !seen.insert(key)) {
            Some((key, _)) => Err(format!("{key} is there twice")),
            None => Ok(listed),
        }
    }

    /// Write a list, and what it cannot say.
    pub fn write(self, hosts: &Hosts) -> (String, Vec<String>) {
        match self {
            ListFormat::Csv => (sheet::write(hosts), Vec::new()),
            ListFormat::Ethers => ethers::write(hosts),
            ListFormat::Dnsmasq => dnsmasq::write(hosts),
        }
    }
}

#[cfg(test)]
mod tests;
