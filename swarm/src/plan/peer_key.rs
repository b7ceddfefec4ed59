// SPDX-License-Identifier: GPL-3.0-or-later
//! Who a peer is to the decisions.

/// A peer, for as long as its connection lasts.
pub type PeerKey = u64;
