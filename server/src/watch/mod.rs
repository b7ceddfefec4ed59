// SPDX-License-Identifier: GPL-3.0-or-later
//! What the running server can be watched by.
//!
//! | module | what it has |
//! |---|---|
//! | [`sent`] | what this server has sent itself |
//! | [`process`] | what this server's process uses |
//! | [`stats`] | all of it, and the state of each image, as `GET /api/v1/stats` tells it |
//! | [`metrics`] | the same for Prometheus |
//! | [`live`] | each second's changes, for the web page; and the rates of the last minutes |

pub mod live;
pub mod metrics;
pub mod process;
pub mod sent;
pub mod stats;
