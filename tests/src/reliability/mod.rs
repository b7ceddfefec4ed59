// SPDX-License-Identifier: GPL-3.0-or-later
//! What goes wrong in a room, each as a scenario with a name: `make reliability` runs them all and makes
//! docs/reliability.md of how they ended, and tests/tests/reliability.rs fails when one ends otherwise.

mod crowd;
mod hostile;
mod network;
pub mod page;
mod power;
mod process;
mod room;
mod scenario;
mod sources;
mod storage;
mod vm;

pub use room::{IDENTICAL, RUNS_ON};
pub use scenario::{Outcome, Scenario, Seen};

/// All of them, in the order of the table.
pub fn all() -> Vec<Scenario> {
    let first = sources::ALL.into_iter().chain(network::ALL).chain(power::ALL);
    first.chain(crowd::ALL).chain(hostile::ALL).chain(storage::ALL).chain(vm::ALL).collect()
}
