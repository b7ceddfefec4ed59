// SPDX-License-Identifier: GPL-3.0-or-later
//! Days and times as people write them.

use bootspec::text::printable;
use chrono::{Datelike, NaiveDate, NaiveTime, Weekday};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Days: a weekday, weekdays from one to another, every day, or one date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Days {
    /// `daily`
    All,
    /// `mon`, `mon-fri`, `sat-mon`
    Week(Weekday, Weekday),
    /// `2026-12-24`
    Date(NaiveDate),
}

impl Days {
    /// Whether this day is one of them.
    pub fn has(self, day: NaiveDate) -> bool {
        let number = |d: Weekday| d.num_days_from_monday();
        match self {
            Days::All => true,
            Days::Date(date) => date == day,
            Days::Week(from, to) => {
                let since = |d: Weekday| (number(d) + 7 - number(from)) % 7;
                since(day.weekday()) <= since(to)
            }
        }
    }
}

impl FromStr for Days {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let bad = || {
            let s = printable(s, 40);
            format!("'{s}' is not a valid day: write mon, mon-fri, daily or 2026-12-24")
        };
        let day = |s: &str| s.trim().parse::<Weekday>().map_err(|_| bad());
        let lower = s.trim().to_ascii_lowercase();
        if lower == "daily" {
            return Ok(Days::All);
        }
        if let Ok(date) = NaiveDate::parse_from_str(&lower, "%Y-%m-%d") {
            return Ok(Days::Date(date));
        }
        match lower.split_once('-') {
            Some((from, to)) => Ok(Days::Week(day(from)?, day(to)?)),
            None => day(&lower).map(|d| Days::Week(d, d)),
        }
    }
}

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |d: &Weekday| d.to_string().to_ascii_lowercase();
        match self {
            Days::All => f.write_str("daily"),
            Days::Date(date) => write!(f, "{}", date.format("%Y-%m-%d")),
            Days::Week(from, to) if from == to => f.write_str(&name(from)),
            Days::Week(from, to) => write!(f, "{}-{}", name(from), name(to)),
        }
    }
}

/// A time of day, to the minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeOfDay(pub NaiveTime);

impl FromStr for TimeOfDay {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let time = NaiveTime::parse_from_str(s.trim(), "%H:%M").map(TimeOfDay);
        time.map_err(|_| format!("'{}' is not a valid time of day: write it as in 09:55", printable(s, 40)))
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.format("%H:%M"))
    }
}

macro_rules! as_text {
    ($type:ty) => {
        impl TryFrom<String> for $type {
            type Error = String;
            fn try_from(s: String) -> Result<Self, String> {
                s.parse()
            }
        }
        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.to_string()
            }
        }
    };
}
as_text!(Days);
as_text!(TimeOfDay);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_times_are_read_and_written() {
        for (given, shown) in [
            ("Mon", "mon"),
            ("monday-fri", "mon-fri"),
            ("sat-mon", "sat-mon"),
            (" daily", "daily"),
            ("2026-12-24", "2026-12-24"),
        ] {
            assert_eq!(given.parse::<Days>().map(|d| d.to_string()), Ok(shown.to_owned()));
        }
        assert_eq!("9:05".parse::<TimeOfDay>().map(|t| t.to_string()), Ok("09:05".into()));
        for bad in ["", "weekday", "mon-", "2026-02-30", "mon,tue", "\u{1b}[2J"] {
            let why = bad.parse::<Days>().unwrap_err();
            assert!(why.ends_with("is not a valid day: write mon, mon-fri, daily or 2026-12-24"), "{why}");
        }
        for bad in ["", "24:00", "9", "09:55:01", "noon"] {
            let why = bad.parse::<TimeOfDay>().unwrap_err();
            assert!(why.ends_with("is not a valid time of day: write it as in 09:55"), "{why}");
        }
    }

    #[test]
    fn weekdays_go_over_the_end_of_the_week() {
        let of = |text: &str| {
            let days: Days = text.parse().unwrap();
            // 2026-11-23 is a Monday.
            let day = |n| NaiveDate::from_ymd_opt(2026, 11, 23 + n).unwrap();
            (0..7u32).map(|n| if days.has(day(n)) { 'x' } else { '.' }).collect::<String>()
        };
        assert_eq!(of("mon-fri"), "xxxxx..");
        assert_eq!(of("sat-mon"), "x....xx");
        assert_eq!(of("wed"), "..x....");
        assert_eq!(of("tue-mon"), "xxxxxxx");
        assert_eq!(of("2026-11-26"), "...x...");
    }
}
