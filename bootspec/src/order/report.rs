// SPDX-License-Identifier: GPL-3.0-or-later
//! What a machine reports of orders.

use super::text::{Action, Order};
use crate::text::printable;
use serde::{Deserialize, Serialize};

/// Bytes of a sentence at most.
const MAX_SENTENCE: usize = 400;
/// Bytes of a name at most.
const MAX_WORD: usize = 100;

/// How far a machine has come with an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// It fetches the image.
    #[default]
    Fetching,
    /// It could do it now, and waits for the time.
    Ready,
    /// It is time, and somebody is logged in.
    Waiting,
    /// It does it now.
    Going,
    /// It has switched, and runs the new image.
    Done,
    /// It must not, or cannot; the sentence says why.
    Refused,
}

/// How a machine switches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SwitchBy {
    /// The kernel stays: systemctl soft-reboot.
    SoftReboot,
    /// Firmware and all: a reboot into the image that was set for one time.
    Reboot,
}

impl SwitchBy {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            SwitchBy::SoftReboot => "soft-reboot",
            SwitchBy::Reboot => "reboot",
        }
    }
}

/// What became of the order that a machine was given last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderReport {
    /// Its id.
    pub id: String,
    /// What it asks for: `switch to exam`.
    pub what: String,
    /// How far it is.
    pub stage: Stage,
    /// Percent of the image that is here.
    #[serde(default)]
    pub percent: u8,
    /// How it will switch, or does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<SwitchBy>,
    /// Why it is refused, whom it waits for, or why it is not done by soft-reboot. Empty: nothing to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

impl OrderReport {
    /// Of an order that was just taken.
    pub fn of(order: &Order) -> Self {
        Self {
            id: order.id.clone(),
            what: order.what(),
            stage: Stage::default(),
            percent: 0,
            by: None,
            why: String::new(),
        }
    }

    /// Of something that is not an order.
    pub fn unknown() -> Self {
        let what = "an order".into();
        Self { id: String::new(), what, stage: Stage::Refused, percent: 0, by: None, why: String::new() }
    }

    /// For people: `switch to exam: ready (soft-reboot)`.
    pub fn sentence(&self) -> String {
        format!("{}: {}", self.what, self.state())
    }

    /// The same without what is ordered.
    pub fn state(&self) -> String {
        let by = self.by.map(|by| format!(" ({})", by.as_str())).unwrap_or_default();
        let state = match self.stage {
            Stage::Fetching => format!("fetching, {} %", self.percent),
            Stage::Ready => format!("ready{by}"),
            Stage::Waiting => "waiting".into(),
            Stage::Going => format!("in progress{by}"),
            Stage::Done => format!("done{by}"),
            Stage::Refused => "refused".into(),
        };
        match self.why.as_str() {
            "" => state,
            why => format!("{state}: {why}"),
        }
    }
}

/// What a machine reports besides its boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Remote {
    /// What its kernel command line allows.
    pub allows: Vec<Action>,
    /// What became of the last order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderReport>,
}

impl Remote {
    /// Bounded, and without what would upset a terminal.
    pub fn clean(&mut self) {
        self.allows.sort_unstable();
        self.allows.dedup();
        if let Some(order) = &mut self.order {
            order.id = printable(&order.id, MAX_WORD);
            order.what = printable(&order.what, MAX_WORD);
            order.why = printable(&order.why, MAX_SENTENCE);
            order.percent = order.percent.min(100);
        }
    }
}
