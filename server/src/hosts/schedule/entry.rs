// SPDX-License-Identifier: GPL-3.0-or-later
//! An entry of the calendar.

use super::text::{Days, TimeOfDay};
use bootspec::{
    ImageRef,
    order::{Action, LONGEST_WINDOW, MAX_MESSAGE},
    text::is_odd,
};
use serde::{Deserialize, Serialize};

/// Entries at most.
pub const MAX_SCHEDULE: usize = 200;
/// Minutes before its time at which machines begin to fetch the image, where nothing else is said.
pub const LEAD: u32 = 30;
/// Minutes after its time in which an entry still counts, where nothing else is said.
pub const WITHIN: u32 = 15;
/// Minutes of either at most.
const MINUTES: u32 = (LONGEST_WINDOW / 60) as u32;
/// Words, days or times of one entry at most, and bytes of a word.
const MANY: usize = 64;
const MAX_WORD: usize = 100;

/// What machines do at which times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct ScheduleEntry {
    /// Machines and groups, as `host set` takes them.
    pub who: Vec<String>,
    /// On which days.
    pub days: Vec<Days>,
    /// At which times of these days, by the server's clock in its time zone.
    pub times: Vec<TimeOfDay>,
    /// What they do.
    #[serde(skip_serializing_if = "is_switch")]
    pub action: Action,
    /// The image to switch to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageRef>,
    /// How many minutes before that the machines begin to fetch it.
    pub lead: u32,
    /// For how many minutes after that it may still be done.
    pub within: u32,
    /// Whether logged-in people are waited for; they are warned in any case.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub wait_for_users: bool,
    /// What they are told.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

fn is_switch(action: &Action) -> bool {
    *action == Action::Switch
}

/// The same, as somebody has written it.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Written {
    who: Vec<String>,
    days: Vec<Days>,
    times: Vec<TimeOfDay>,
    action: Option<Action>,
    image: Option<ImageRef>,
    lead: Option<u32>,
    within: Option<u32>,
    wait_for_users: bool,
    message: String,
}

impl TryFrom<Written> for ScheduleEntry {
    type Error = String;

    fn try_from(w: Written) -> Result<Self, String> {
        let entry = ScheduleEntry {
            who: w.who,
            days: w.days,
            times: w.times,
            action: w.action.unwrap_or(Action::Switch),
            image: w.image,
            lead: w.lead.unwrap_or(LEAD),
            within: w.within.unwrap_or(WITHIN),
            wait_for_users: w.wait_for_users,
            message: w.message,
        };
        entry.check().map(|()| entry)
    }
}

impl ScheduleEntry {
    /// Whether its parts are there and fit together. Errors: one sentence.
    pub fn check(&self) -> Result<(), String> {
        for (what, count) in [("who", self.who.len()), ("days", self.days.len()), ("times", self.times.len())]
        {
            if !(1..=MANY).contains(&count) {
                return Err(format!("an entry of the calendar has 1 to {MANY} {what}, and not {count}"));
            }
        }
        if self.who.iter().any(|w| w.is_empty() || w.len() > MAX_WORD || w.chars().any(is_odd)) {
            return Err(format!("whom an entry is for is written in 1 to {MAX_WORD} printable characters"));
        }
        match (self.action, &self.image) {
            (Action::Switch, None) => return Err("name the image to switch to".into()),
            (Action::Reboot | Action::Poweroff, Some(image)) => {
                return Err(format!("to {} needs no image, and '{image}' was given", self.action));
            }
            _ => {}
        }
        if self.lead > MINUTES {
            return Err(format!("a lead of {} minutes is not allowed: use 0 to {MINUTES}", self.lead));
        }
        if !(1..=MINUTES).contains(&self.within) {
            return Err(format!("{} minutes are not allowed: use 1 to {MINUTES}", self.within));
        }
        match self.message.len() > MAX_MESSAGE || self.message.chars().any(is_odd) {
            true => Err(format!("the message must be one line of at most {MAX_MESSAGE} bytes")),
            false => Ok(()),
        }
    }

    /// What machines do, for people: `switch to exam`.
    pub fn what(&self) -> String {
        match &self.image {
            Some(image) => format!("{} to {image}", self.action),
            None => self.action.to_string(),
        }
    }
}
