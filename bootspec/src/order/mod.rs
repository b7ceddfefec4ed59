// SPDX-License-Identifier: GPL-3.0-or-later
//! What an admin wants of a machine that runs: to switch to another image, to reboot, to power off. An [`Order`] is a text
//! for one machine, written in one way only, so that a minisign signature can cover it. It comes in the answer to a
//! heartbeat, and the machine reports in its heartbeats what becomes of it. No I/O.

mod obey;
mod report;
mod text;

pub use obey::{Obeyed, Refusal};
pub use report::{OrderReport, Remote, Stage, SwitchBy};
pub use text::{
    Action, EARLIEST, LONGEST_WINDOW, MAX_MESSAGE, MAX_ORDER, Order, OrderedImage, SentOrder, USUAL_WINDOW,
};

use serde::{Deserialize, Serialize};

/// Bytes of the answer to a heartbeat at most, as JSON.
pub const MAX_ANSWER: usize = 16 * 1024;

/// What the server answers to a heartbeat, where it has anything to say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Answer {
    /// What the machine is to do; none: nothing, and what it was to do before is taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<SentOrder>,
    /// Why it must not do now what it is about to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<String>,
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
