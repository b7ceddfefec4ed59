// SPDX-License-Identifier: GPL-3.0-or-later
//! What machines that run are to do: [`OrderRequest`] is what the admin says, [`Orders`] makes an order for each machine
//! of it, and the [`Board`] keeps them until the machines have come for them. Orders also come from the [`Calendar`] in
//! hosts.toml, and [`agenda`] is what is told of it.

pub mod agenda;
mod board;
pub mod calendar;
mod calendar_file;
mod request;
mod time;

pub use agenda::ScheduleRow;
pub use board::{Board, OrderRow, OrdersFile, Placed, TakenBack};
pub use calendar::Calendar;
pub use calendar_file::CalendarFile;
pub use request::{MANY, OrderRequest, Orders};

#[cfg(test)]
mod tests;
