// SPDX-License-Identifier: GPL-3.0-or-later
//! The calendar in hosts.toml: what machines and groups do at which times of which days, such as to switch to an image.
//!
//! | step | module |
//! |---|---|
//! | what an entry says, and its bounds | `entry` |
//! | days and times as people write them | `text` |
//! | the moments at which an entry is due, in a time zone | [`moments`] |

mod entry;
pub mod moments;
mod text;

pub use entry::{LEAD, MAX_SCHEDULE, ScheduleEntry, WITHIN};
pub use text::{Days, TimeOfDay};
