// SPDX-License-Identifier: GPL-3.0-or-later
//! What the admin changes of an image that is there.

use bootspec::{ImageName, Priority};
use serde::{Deserialize, Serialize};

/// What changes of an image. Machines that run it notice nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImageChange {
    /// Its new name. What was said of machines goes along.
    pub name: Option<ImageName>,
    /// Whether machines of which nothing else was said boot it.
    pub default: Option<bool>,
    /// Its share of the server's link.
    pub priority: Option<Priority>,
    /// The kernel parameters that the admin adds; empty: none.
    pub append: Option<String>,
}
