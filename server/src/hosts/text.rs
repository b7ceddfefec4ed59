// SPDX-License-Identifier: GPL-3.0-or-later
//! hosts.toml as text: a table for each entry, and `[schedule.NAME]` for each entry of the calendar.

use super::{
    entry::{HostEntry, Hosts},
    key::{EntryKey, Name},
    schedule::ScheduleEntry,
};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
    ser::SerializeMap,
};
use std::{collections::BTreeMap, fmt};

/// The table that is not a machine's or a group's.
const SCHEDULE: &str = "schedule";

/// A table's name.
#[derive(Deserialize)]
#[serde(try_from = "String")]
enum Table {
    Schedule,
    Entry(EntryKey),
}

impl TryFrom<String> for Table {
    type Error = String;

    fn try_from(s: String) -> Result<Self, String> {
        if s == SCHEDULE { Ok(Table::Schedule) } else { s.parse().map(Table::Entry) }
    }
}

impl Serialize for Hosts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (key, entry) in &self.entries {
            map.serialize_entry(key, entry)?;
        }
        if !self.schedule.is_empty() {
            map.serialize_entry(SCHEDULE, &self.schedule)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Hosts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Tables)
    }
}

struct Tables;

impl<'de> Visitor<'de> for Tables {
    type Value = Hosts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tables of machines and groups")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Hosts, M::Error> {
        let mut hosts = Hosts::default();
        while let Some(table) = map.next_key()? {
            match table {
                Table::Schedule => hosts.schedule = map.next_value::<BTreeMap<Name, ScheduleEntry>>()?,
                Table::Entry(key) => drop(hosts.entries.insert(key, map.next_value::<HostEntry>()?)),
            }
        }
        Ok(hosts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calendar_is_read_and_written() {
        let text = "[default]\nimage = \"lesson\"\n\n[schedule.exams]\nwho = [\"group:lab\"]\ndays = [\"mon-fri\"]\n\
                    times = [\"09:55\", \"13:30\"]\nimage = \"exam@2\"\nlead = 30\nwithin = 15\n";
        let hosts: Hosts = toml::from_str(text).unwrap();
        assert_eq!((hosts.entries.len(), hosts.schedule.len()), (1, 1));
        assert_eq!(hosts.schedule.values().next().unwrap().what(), "switch to exam@2");
        assert_eq!(toml::to_string(&hosts).unwrap(), text);
        // What is left out is filled in, and a default is not written where it says nothing.
        let short = text.replace("lead = 30\nwithin = 15\n", "");
        assert_eq!(toml::from_str::<Hosts>(&short).unwrap(), hosts);
        assert_eq!(toml::to_string(&Hosts::default()).unwrap(), "");
    }

    #[test]
    fn mistakes_in_it_are_one_sentence() {
        let whole =
            "[schedule.exams]\nwho = [\"lab\"]\ndays = [\"mon\"]\ntimes = [\"09:55\"]\nimage = \"exam\"\n";
        for (from, to, why) in [
            ("\"mon\"", "\"monn\"", "'monn' is not a valid day: write mon, mon-fri, daily or 2026-12-24"),
            ("09:55", "9.55", "'9.55' is not a valid time of day: write it as in 09:55"),
            ("[\"09:55\"]", "[]", "an entry of the calendar has 1 to 64 times, and not 0"),
            ("image = \"exam\"", "", "name the image to switch to"),
            (
                "image = \"exam\"",
                "action = \"poweroff\"\nimage = \"exam\"",
                "to poweroff needs no image, and 'exam' was given",
            ),
            ("image", "room = 1\nimage", "unknown field `room`"),
            ("image", "within = 0\nimage", "0 minutes are not allowed: use 1 to 1440"),
            ("image", "lead = 1441\nimage", "a lead of 1441 minutes is not allowed: use 0 to 1440"),
            ("schedule.exams", "schedule.'a b'", "'a b' is not a valid name for a machine or a group"),
        ] {
            let text = whole.replacen(from, to, 1);
            let told = toml::from_str::<Hosts>(&text).unwrap_err();
            assert!(told.message().starts_with(why), "{}", told.message());
        }
    }
}
