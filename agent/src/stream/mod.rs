// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent.target=stream`: the root is in use before the image is complete.
//!
//! The payload lies in a tmpfs as with `ram`. Below the loop device that is mounted lies another file, which we serve
//! ourselves (FUSE): a read of a piece that is not here waits for it, and goes before all others in the swarm. When all is
//! here, the loop device gets the plain file, and from then on the root depends on no process. Until then a second process, the
//! keeper, starts this one again if it dies (`resume`); reads that wait are remembered for it.

#[cfg(test)]
mod asked_tests;
mod file;
mod guard;
mod keeper;
mod kernel;
mod reads;
mod serve;
mod watch;
mod wire;

pub use file::{Stream, change};
pub use keeper::{Held, Keeper, keep};
pub use watch::{Streaming, Watch};
