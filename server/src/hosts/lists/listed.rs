// SPDX-License-Identifier: GPL-3.0-or-later
//! What was read of a list.

use crate::hosts::{entry::HostEntry, key::EntryKey};

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// The entries, in the order of the file.
    pub entries: Vec<(EntryKey, HostEntry)>,
    /// What was left out, and why.
    pub notes: Vec<String>,
}

/// What a list of addresses leaves out.
pub fn left_out(n: usize, why: &str) -> Vec<String> {
    match n {
        0 => Vec::new(),
        1 => vec![format!("1 entry is left out: {why}")],
        n => vec![format!("{n} entries are left out: {why}")],
    }
}
