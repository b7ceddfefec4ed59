// SPDX-License-Identifier: GPL-3.0-or-later
//! The decisions of a swarm, without its I/O: which piece is fetched next and from
//! whom ([`Picker`]), what a seeder shows to whom ([`Deal`]) and who needs its help ([`Pace`]), how many are served at
//! once ([`Slots`]), how much work a peer may make us ([`Effort`]). All run on the caller's clock, a time since any
//! beginning, so that unit tests and the simulator (`examples/flashcrowd`) decide what time it is.

mod bits;
mod blame;
mod budget;
mod deal;
mod effort;
mod flight;
mod given;
mod layout;
mod meter;
mod pace;
mod peer_key;
mod picker;
mod record;
mod seats;
mod slots;
mod wanted;

pub use bits::Bits;
pub use blame::{Blame, Sent, Sum};
pub use deal::Deal;
pub use effort::Effort;
pub use given::Given;
pub use layout::{BLOCK, Layout};
pub use meter::Meter;
pub use pace::Pace;
pub use peer_key::PeerKey;
pub use picker::{Changes, Landed, Order, Picker, Reserved};
pub use record::Record;
pub use seats::{Seat, displaced};
pub use slots::{Asker, Slots, Ticket};
