// SPDX-License-Identifier: GPL-3.0-or-later
//! The calendar as it is told: each entry, when it is due next, and what keeps it from being done.

use super::request::Orders;
use crate::hosts::{Hosts, Name, ScheduleEntry, schedule::moments::next};
use bootspec::trust::Version;
use chrono::{DateTime, Local};
use serde::{Deserialize, Serialize};

/// An entry of the calendar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleRow {
    /// Its name.
    pub name: Name,
    /// What it says.
    #[serde(flatten)]
    pub entry: ScheduleEntry,
    /// When it is due next, RFC 3339 in UTC. None: it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// What keeps it from being done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// All entries: those that are due first, first.
pub fn agenda(hosts: &Hosts, orders: Option<&Orders<'_>>, now: DateTime<Local>) -> Vec<ScheduleRow> {
    let at = Version(now.timestamp().try_into().unwrap_or_default());
    let row = |(name, entry): (&Name, &ScheduleEntry)| ScheduleRow {
        name: name.clone(),
        entry: entry.clone(),
        next: next(entry, &Local, at).map(|at| at.to_string()),
        problem: orders.and_then(|orders| orders.can_be_done(entry).err()),
    };
    let mut rows: Vec<ScheduleRow> = hosts.schedule.iter().map(row).collect();
    rows.sort_by(|a, b| a.next.is_none().cmp(&b.next.is_none()).then_with(|| a.next.cmp(&b.next)));
    rows
}
