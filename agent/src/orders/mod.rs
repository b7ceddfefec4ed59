// SPDX-License-Identifier: GPL-3.0-or-later
//! Orders of the admin's for a machine that has booted: they come in the answers to heartbeats, are judged
//! ([`bootspec::order`]), prepared, and carried out at their time.

mod follow;
pub mod host;
pub mod next;
mod prepare;
mod warm;

pub use follow::Follower;
