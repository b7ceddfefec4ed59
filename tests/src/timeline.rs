// SPDX-License-Identifier: GPL-3.0-or-later
//! How long a machine spent in each phase of its boot, from its console and its heartbeats.

use crate::{Client, Line, MULTI_USER};
use bootspec::Phase;

/// Seconds in each phase; `None`: not there yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timeline {
    /// Power-on to the first byte of the kernel: firmware, DHCP, TFTP, iPXE.
    pub firmware: Option<f64>,
    /// Kernel and initrd over HTTP.
    pub load: Option<f64>,
    /// Kernel start to agent start: drivers, udev, DHCP again.
    pub kernel: Option<f64>,
    /// Agent start to the swarm: metainfo, the decision where the image goes.
    pub metainfo: Option<f64>,
    /// In the swarm.
    pub download: Option<f64>,
    /// Loop device, mount, overlay.
    pub mount: Option<f64>,
    /// Root mounted to multi-user.target.
    pub systemd: Option<f64>,
    /// Power-on to multi-user.target.
    pub total: Option<f64>,
}

impl Timeline {
    /// The phases' names, as a table's head.
    pub const HEAD: [&str; 8] =
        ["firmware+iPXE", "kernel+initrd", "initramfs", "metainfo", "download", "mount", "systemd", "total"];

    /// What console and heartbeats tell.
    pub fn of(console: &[Line], client: Option<&Client>) -> Self {
        let seen = |text: &str| console.iter().find(|l| l.text.contains(text)).map(|l| l.at.as_secs_f64());
        let (fetch, linux, up) = (seen("/vmlinuz... "), seen("Linux version"), seen(MULTI_USER));
        let agent = client.and_then(|c| Some(linux? + c.kernel_uptime));
        let phase = |phase: Phase| {
            let at = client?.phases.iter().find(|p| p.phase == phase)?.at;
            Some(agent? + at)
        };
        let (download, root, seed) = (phase(Phase::Download), phase(Phase::Root), phase(Phase::Seed));
        let between = |from: Option<f64>, to: Option<f64>| Some(to? - from?);
        Self {
            firmware: fetch,
            load: between(fetch, linux),
            kernel: between(linux, agent),
            metainfo: between(agent, download),
            download: between(download, root),
            mount: between(root, seed),
            systemd: between(seed, up),
            total: up,
        }
    }

    /// The values in [`Timeline::HEAD`]'s order.
    pub fn columns(&self) -> [Option<f64>; 8] {
        [
            self.firmware,
            self.load,
            self.kernel,
            self.metainfo,
            self.download,
            self.mount,
            self.systemd,
            self.total,
        ]
    }
}

/// Lines of a table with aligned columns: the first to the left, the others to the right.
pub fn table(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |i: usize| rows.iter().filter_map(|r| r.get(i)).map(|c| c.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(i, (cell, &w))| match i {
            0 => format!("{cell:<w$}"),
            _ => format!("{cell:>w$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bootspec::heartbeat::PhaseStart;
    use std::time::Duration;

    #[test]
    fn phases_add_up_to_the_total() {
        let line = |at, text: &str| Line { at: Duration::from_secs(at), text: text.into() };
        let console = [
            line(6, "http://10.77.0.1:6980/images/debian/vmlinuz... ok"),
            line(10, "[    0.000000] Linux version 6.1.0"),
            line(90, &format!("[   80.1] {MULTI_USER}")),
        ];
        let at = |phase, at| PhaseStart { phase, at };
        let client = Client {
            kernel_uptime: 12.0,
            phases: vec![at(Phase::Download, 1.5), at(Phase::Root, 30.0), at(Phase::Seed, 30.5)],
            ..Client::default()
        };
        let t = Timeline::of(&console, Some(&client));
        assert_eq!(t.columns(), [6.0, 4.0, 12.0, 1.5, 28.5, 0.5, 37.5, 90.0].map(Some));
        let early = Timeline::of(&console[..2], None);
        assert_eq!((early.load, early.kernel, early.total), (Some(4.0), None, None));
    }

    #[test]
    fn columns_are_aligned() {
        let row = |a: &str, b: &str| vec![a.to_owned(), b.to_owned()];
        assert_eq!(table(&[row("machine", "s"), row("a", "10")]), ["machine   s", "a        10"]);
    }
}
