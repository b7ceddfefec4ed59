// SPDX-License-Identifier: GPL-3.0-or-later
//! Machines and groups: which image a machine boots, with which parameters.
//!
//! | step | module |
//! |---|---|
//! | what is said of a machine or a group | `entry` |
//! | whom an entry is for | [`key`] |
//! | what the admin changes in it | [`change`] |
//! | and in many at once | [`bulk`] |
//! | whom a word means that somebody types | [`select`](mod@select) |
//! | the files that machines get over their image | [`files`] |
//! | lists of machines in other programs' files | [`lists`] |
//! | machines whose own key should be accepted | [`waiting`] |
//! | what they do at which times: the calendar | [`schedule`] |
//! | where it is kept: `hosts.toml` in the catalogue's folder | [`store`], `text` |
//! | what a machine that asks will boot | [`choose`](mod@choose) |

pub mod bulk;
pub mod change;
pub mod choose;
mod entry;
pub mod files;
pub mod key;
pub mod lists;
pub mod schedule;
pub mod select;
pub mod store;
mod text;
pub mod waiting;

pub use bulk::HostChanges;
pub use change::{Bootable, Field, HostChange};
pub use choose::{Asker, BootChoice, choose};
pub use entry::{HostEntry, Hosts};
pub use key::{EntryKey, Mac, Name};
pub use schedule::ScheduleEntry;
pub use select::select;
pub use store::HostsFile;
