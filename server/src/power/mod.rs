// SPDX-License-Identifier: GPL-3.0-or-later
//! Power: machines are switched on and off by their management controllers (BMCs), or woken.
//!
//! | step | module |
//! |---|---|
//! | whom the words of a request mean | [`machines`] |
//! | where a machine's BMC is, and how to log in: power.toml | [`settings`] |
//! | the address of a BMC | [`address`] |
//! | by `ipmitool` | [`ipmi`] |
//! | over HTTPS | [`redfish`] |
//! | many at once | [`switch`] |
//! | what is asked for, and told | [`row`] |
//!
//! Addresses, users and passwords are in a file that the API cannot change: whoever may change machines can switch
//! them, but can neither read a password nor have it sent elsewhere.

mod address;
mod ipmi;
mod machines;
mod redfish;
mod row;
mod settings;
mod switch;

pub use row::{PowerAction, PowerRequest, PowerRow, PowerState, Way};
pub use settings::PowerSettings;
pub use switch::power;
