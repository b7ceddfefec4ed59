// SPDX-License-Identifier: GPL-3.0-or-later
//! The running server's API, as the commands and the screens use it.
//!
//! Everybody may read, over the one TCP port. Changes go over the local socket: who may write to
//! it (its mode and its group say that) may change things. Over TLS they take a token. [`types`] is what crosses.

mod client;
pub mod types;

pub use client::{Api, url};
