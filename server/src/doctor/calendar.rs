// SPDX-License-Identifier: GPL-3.0-or-later
//! The calendar in hosts.toml, beside what is on the disk.

use super::finding::Finding;
use crate::{config::Config, operations::Disk, orders::agenda::agenda};

/// Images that are missing, and entries that are over. Nothing is found without a calendar.
pub fn calendar(config: &Config) -> Vec<Finding> {
    let disk = Disk::of(config);
    let Ok(hosts) = disk.hosts.load() else { return Vec::new() };
    let rows = agenda(&hosts, None, chrono::Local::now());
    let mut found = Vec::new();
    for row in &rows {
        if let Some(image) = row.entry.image.as_ref().filter(|image| !disk.has_image(image)) {
            found.push(Finding::warning(
                "calendar",
                format!("'{}' switches to '{image}', and there is no such image", row.name),
                "machines are not switched at its times",
                format!("boottorrent image add, or: boottorrent host schedule remove {}", row.name),
            ));
        }
        if row.next.is_none() {
            found.push(Finding::warning(
                "calendar",
                format!("'{}' is over: all its dates have passed", row.name),
                "it has no effect any more",
                format!("boottorrent host schedule remove {}", row.name),
            ));
        }
    }
    if !rows.is_empty() && found.is_empty() {
        let next = rows.iter().find_map(|row| Some(format!("'{}' at {}", row.name, row.next.as_ref()?)));
        found.push(Finding::good("calendar", format!("next: {}", next.unwrap_or_default())));
    }
    found
}
