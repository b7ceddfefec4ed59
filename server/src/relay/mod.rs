// SPDX-License-Identifier: GPL-3.0-or-later
//! Relays: servers that serve what another one, the first server, has.
//!
//! | what | module |
//! |---|---|
//! | what crosses between a relay and the first server | [`told`] |
//! | which relays the first server knows: `relays.toml` | [`known`] |
//! | which of them are there, and who is sent to them | [`present`] |
//! | machines that give kernels and initrds to their group | [`node`] |
//! | a relay's questions to the first server | [`client`] |
//! | what a relay knows of the first server, and has for it | [`here`] |
//! | what machines behind a relay have said, until the first server has it | [`queue`] |

pub mod client;
pub mod here;
pub mod known;
pub mod node;
pub mod present;
pub mod queue;
pub mod told;

pub use here::Here;
pub use known::{KnownRelay, RelaysFile};
pub use present::{Presence, Present};
