// SPDX-License-Identifier: GPL-3.0-or-later
//! The link between two switches.

use std::time::Duration;

/// One direction of the link between two switches.
#[derive(Default)]
pub struct Trunk {
    /// When all that waits for it is through.
    pub full_until: Duration,
    /// Seconds that a byte takes.
    pub byte: f64,
    /// Bytes.
    pub carried: u64,
}
