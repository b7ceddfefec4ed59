// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent setup`: makes the site's stock dnsmasq send machines to us.
//! Decided ([`plan`]), shown, checked by dnsmasq itself ([`prepare`](mod@prepare)), written, and taken back again ([`write`](mod@write)).

pub mod dnsmasq;
mod narrow;
pub mod plan;
pub mod prepare;
pub mod survey;
pub mod write;

#[cfg(test)]
mod tests;
