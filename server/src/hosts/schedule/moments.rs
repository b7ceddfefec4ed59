// SPDX-License-Identifier: GPL-3.0-or-later
//! When an entry is due. Days and times are those of a clock on the wall; moments are the same everywhere.

use super::entry::ScheduleEntry;
use bootspec::trust::Version;
use chrono::{DateTime, Days, NaiveDate, NaiveDateTime, TimeDelta, TimeZone};

/// Minutes that clocks are put forward at once, at most.
const LONGEST_GAP: i64 = 180;

/// The moments of an entry that are after `from` and not after `until`, in order. They are not far apart.
pub fn between<Tz: TimeZone>(
    entry: &ScheduleEntry,
    zone: &Tz,
    from: Version,
    until: Version,
) -> Vec<Version> {
    let (Some(first), Some(last)) = (day(zone, from), day(zone, until)) else { return Vec::new() };
    let days = first.iter_days().take_while(|day| *day <= last);
    let mut all: Vec<Version> =
        days.flat_map(|day| on(entry, zone, day)).filter(|at| *at > from && *at <= until).collect();
    // Two times may be the same moment, where clocks were put forward over both.
    all.sort_unstable();
    all.dedup();
    all
}

/// The first moment after `now`. None: there is none any more.
pub fn next<Tz: TimeZone>(entry: &ScheduleEntry, zone: &Tz, now: Version) -> Option<Version> {
    let today = day(zone, now)?;
    // Weekdays come back within a week; a date may be far away.
    let week = (0..=8).filter_map(|n| today.checked_add_days(Days::new(n)));
    let dates = entry.days.iter().filter_map(|d| match d {
        super::text::Days::Date(date) => Some(*date),
        _ => None,
    });
    week.chain(dates).flat_map(|day| on(entry, zone, day)).filter(|at| *at > now).min()
}

/// The day that it is then.
fn day<Tz: TimeZone>(zone: &Tz, at: Version) -> Option<NaiveDate> {
    let at = DateTime::from_timestamp(at.0.try_into().ok()?, 0)?;
    Some(at.with_timezone(zone).date_naive())
}

fn on<Tz: TimeZone>(entry: &ScheduleEntry, zone: &Tz, day: NaiveDate) -> Vec<Version> {
    if !entry.days.iter().any(|days| days.has(day)) {
        return Vec::new();
    }
    entry.times.iter().filter_map(|time| moment(zone, day.and_time(time.0))).collect()
}

/// When a clock on the wall shows this: the first time, where it does so twice. Where clocks are put forward over it: when
/// they are.
fn moment<Tz: TimeZone>(zone: &Tz, shown: NaiveDateTime) -> Option<Version> {
    let later = |minutes| shown.checked_add_signed(TimeDelta::try_minutes(minutes)?);
    let at = (0..=LONGEST_GAP).filter_map(later).find_map(|shown| first(zone, shown))?;
    at.timestamp().try_into().ok().map(Version)
}

/// The first moment at which a clock shows this. chrono 0.4.45 gives the two in either order, its `earliest` too.
pub fn first<Tz: TimeZone>(zone: &Tz, shown: NaiveDateTime) -> Option<DateTime<Tz>> {
    let both = zone.from_local_datetime(&shown);
    both.clone().earliest().into_iter().chain(both.latest()).min_by_key(DateTime::timestamp)
}

#[cfg(test)]
#[path = "moments_tests.rs"]
mod tests;
