// SPDX-License-Identifier: GPL-3.0-or-later
//! Times as people type them.

use crate::hosts::schedule::moments::first;
use bootspec::{text::printable, trust::Version};
use chrono::{DateTime, Days, Local, NaiveTime};

/// `now`, `09:55` (the next one, in this machine's time zone) or RFC 3339. Errors: one sentence.
pub fn parse(text: &str, now: DateTime<Local>) -> Result<Version, String> {
    let text = text.trim();
    let at = match text {
        "" | "now" => now,
        _ => match (NaiveTime::parse_from_str(text, "%H:%M"), DateTime::parse_from_rfc3339(text)) {
            (Ok(time), _) => next(time, now).ok_or_else(|| bad(text))?,
            (_, Ok(at)) if at < now => return Err(format!("{text} is over: give a time to come")),
            (_, Ok(at)) => at.with_timezone(&Local),
            _ => return Err(bad(text)),
        },
    };
    u64::try_from(at.timestamp()).map(Version).map_err(|_| bad(text))
}

/// The next time that a clock on the wall shows it. On the day on which clocks are put forward it may not do so.
fn next(time: NaiveTime, now: DateTime<Local>) -> Option<DateTime<Local>> {
    let on = |days| {
        let day = now.date_naive().checked_add_days(Days::new(days))?;
        first(&Local, day.and_time(time))
    };
    (0..=2).filter_map(on).find(|at| *at > now)
}

fn bad(text: &str) -> String {
    let text = printable(text, 80);
    format!("'{text}' is not a valid time: write 09:55, 2026-11-27T09:55:00+01:00 or now")
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeZone;

    #[test]
    fn times_as_people_write_them() {
        let now = Local.with_ymd_and_hms(2026, 11, 27, 9, 30, 20).unwrap();
        let seconds = |text: &str| parse(text, now).map(|v| v.0 as i64 - now.timestamp());
        assert_eq!((seconds("now"), seconds("")), (Ok(0), Ok(0)));
        assert_eq!(seconds("09:55"), Ok(25 * 60 - 20));
        assert_eq!(seconds("9:31"), Ok(40));
        assert_eq!(seconds("09:30"), Ok(24 * 3600 - 20), "tomorrow");
        let later = now + chrono::Duration::seconds(90);
        assert_eq!(seconds(&later.to_rfc3339()), Ok(90));
        let before = "2026-11-01T09:55:00Z";
        assert_eq!(seconds(before), Err(format!("{before} is over: give a time to come")));
        for text in ["soon", "25:00", "9", "09:55:61x"] {
            let why = format!("'{text}' is not a valid time: write 09:55, 2026-11-27T09:55:00+01:00 or now");
            assert_eq!(seconds(text), Err(why));
        }
    }
}
