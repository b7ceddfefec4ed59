// SPDX-License-Identifier: GPL-3.0-or-later
//! What machines that run are to do: [`OrderRequest`] is what the admin says, [`Orders`] makes an order for each machine
//! of it, and the [`Board`] keeps them until the machines have come for them.

mod board;
mod request;
mod time;

pub use board::{Board, OrderRow, OrdersFile, Placed};
pub use request::{MANY, OrderRequest, Orders};

#[cfg(test)]
mod tests;
