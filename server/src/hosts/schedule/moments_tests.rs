// SPDX-License-Identifier: GPL-3.0-or-later
use super::*;
use chrono::{FixedOffset, MappedLocalTime, Utc};
use proptest::prelude::*;

/// Berlin in 2026: clocks go from 02:00 to 03:00 on 29 March, and from 03:00 back to 02:00 on 25 October.
#[derive(Clone)]
struct Berlin;

impl Berlin {
    fn is_summer(utc: &NaiveDateTime) -> bool {
        let at =
            |month, day| NaiveDate::from_ymd_opt(2026, month, day).unwrap().and_hms_opt(1, 0, 0).unwrap();
        *utc >= at(3, 29) && *utc < at(10, 25)
    }

    fn offset(hours: i32) -> FixedOffset {
        FixedOffset::east_opt(hours * 3600).unwrap()
    }
}

impl TimeZone for Berlin {
    type Offset = FixedOffset;

    fn from_offset(_: &FixedOffset) -> Self {
        Berlin
    }

    fn offset_from_local_date(&self, local: &NaiveDate) -> MappedLocalTime<FixedOffset> {
        self.offset_from_local_datetime(&local.and_hms_opt(12, 0, 0).unwrap())
    }

    fn offset_from_local_datetime(&self, local: &NaiveDateTime) -> MappedLocalTime<FixedOffset> {
        let is = |hours: i32| {
            let utc = *local - TimeDelta::try_hours(hours.into()).unwrap();
            (Berlin::is_summer(&utc) == (hours == 2)).then(|| Berlin::offset(hours))
        };
        match (is(2), is(1)) {
            (Some(a), Some(b)) => MappedLocalTime::Ambiguous(a, b),
            (Some(a), None) | (None, Some(a)) => MappedLocalTime::Single(a),
            (None, None) => MappedLocalTime::None,
        }
    }

    fn offset_from_utc_date(&self, utc: &NaiveDate) -> FixedOffset {
        self.offset_from_utc_datetime(&utc.and_hms_opt(12, 0, 0).unwrap())
    }

    fn offset_from_utc_datetime(&self, utc: &NaiveDateTime) -> FixedOffset {
        Berlin::offset(if Berlin::is_summer(utc) { 2 } else { 1 })
    }
}

fn entry(days: &str, times: &str) -> ScheduleEntry {
    let list = |s: &str| s.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let value =
        serde_json::json!({"who": ["lab"], "days": list(days), "times": list(times), "image": "exam"});
    serde_json::from_value(value).unwrap()
}

fn at(text: &str) -> Version {
    text.parse().unwrap()
}

fn all(days: &str, times: &str, from: &str, until: &str) -> Vec<String> {
    between(&entry(days, times), &Berlin, at(from), at(until)).iter().map(ToString::to_string).collect()
}

#[test]
fn the_first_is_not_due_any_more_and_the_last_is() {
    let due = |from, until| all("mon-fri", "09:55 13:30", from, until);
    // A Friday, and the Monday after it.
    let want = ["2026-11-27T08:55:00Z", "2026-11-27T12:30:00Z", "2026-11-30T08:55:00Z"];
    assert_eq!(due("2026-11-27T08:54:59Z", "2026-11-30T08:55:00Z"), want);
    assert_eq!(due("2026-11-27T08:55:00Z", "2026-11-30T08:54:59Z"), want[1..2]);
    // The day changes at midnight there, not in Greenwich.
    assert_eq!(all("sat", "00:10", "2026-11-27T23:00:00Z", "2026-11-28T22:00:00Z"), ["2026-11-27T23:10:00Z"]);
}

#[test]
fn clocks_that_are_set() {
    // 02:30 does not exist on that day: it is when the clocks are put forward; so is 02:00.
    let spring = |times| all("daily", times, "2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z");
    assert_eq!(spring("02:30"), ["2026-03-29T01:00:00Z"]);
    assert_eq!(spring("02:00 02:59 03:00"), ["2026-03-29T01:00:00Z"], "the same moment, once");
    assert_eq!(spring("01:59 03:01"), ["2026-03-29T00:59:00Z", "2026-03-29T01:01:00Z"]);
    // 02:30 comes twice: the first time counts.
    let autumn = |times| all("daily", times, "2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z");
    assert_eq!(autumn("02:30"), ["2026-10-25T00:30:00Z"]);
    assert_eq!(autumn("03:00"), ["2026-10-25T02:00:00Z"]);
    // The wall's clock counts on both sides.
    assert_eq!(
        all("daily", "09:55", "2026-10-24T00:00:00Z", "2026-10-26T00:00:00Z"),
        ["2026-10-24T07:55:00Z", "2026-10-25T08:55:00Z"]
    );
}

#[test]
fn the_next_one() {
    let next = |days, times, now| next(&entry(days, times), &Berlin, at(now)).map(|v| v.to_string());
    assert_eq!(
        next("mon", "09:55", "2026-11-23T08:55:00Z"),
        Some("2026-11-30T08:55:00Z".into()),
        "a week on"
    );
    assert_eq!(next("2027-06-01", "08:00", "2026-11-27T08:00:00Z"), Some("2027-06-01T07:00:00Z".into()));
    assert_eq!(next("2026-11-26", "08:00", "2026-11-27T08:00:00Z"), None, "it is over");
}

proptest! {
    /// Each moment is that of one of the days and times, none is missed, and none comes twice, whatever the clocks do.
    #[test]
    fn every_day_has_its_moments(
        from in 1_767_225_600u64..1_798_761_600, hours in 1u64..100, minute in 0u32..1440, days in 0usize..4,
    ) {
        let time = format!("{:02}:{:02}", minute / 60, minute % 60);
        let entry = entry(["daily", "mon-fri", "sat-mon", "2026-03-29"][days], &time);
        let (from, until) = (Version(from), Version(from + hours * 3600));
        let found = between(&entry, &Berlin, from, until);
        prop_assert!(found.windows(2).all(|w| w[0] < w[1]), "{:?}", found);
        prop_assert!(found.iter().all(|m| *m > from && *m <= until));
        // By going through all minutes: those in which a clock shows the time for the first time that day, or jumps over it.
        let shows = |at: u64| {
            let local = DateTime::<Utc>::from_timestamp(at as i64, 0).unwrap().with_timezone(&Berlin).naive_local();
            (local.date(), local.time())
        };
        let mut want = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        // From a day before: what has been shown already that day is not shown for the first time.
        for at in (from.0 / 60 * 60 - 86_400..=until.0).step_by(60) {
            let (day, clock) = shows(at);
            let (before, earlier) = shows(at - 60);
            let due = entry.times[0].0;
            let comes = clock == due || (before == day && earlier < due && clock > due);
            if comes && entry.days[0].has(day) && seen.insert(day) && at > from.0 {
                want.push(Version(at));
            }
        }
        prop_assert_eq!(found, want);
    }

    /// The next moment is the first of those to come.
    #[test]
    fn the_next_is_the_first(now in 1_767_225_600u64..1_798_000_000, minute in 0u32..1440, days in 0usize..3) {
        let time = format!("{:02}:{:02}", minute / 60, minute % 60);
        let entry = entry(["daily", "mon-fri", "sun"][days], &time);
        let now = Version(now);
        let all = between(&entry, &Berlin, now, Version(now.0 + 9 * 86_400));
        prop_assert_eq!(next(&entry, &Berlin, now), all.first().copied());
    }
}
