// SPDX-License-Identifier: GPL-3.0-or-later
//! Different machines want different pieces first.
//!
//! librqbit asks for pieces in file order, so that machines which boot
//! together all ask the server for the same one. But what a [`FileStream`]
//! stands at goes first: a stream that is never read, moved to a random
//! missing piece many times a second, makes the order random. (Measured in a
//! flash crowd: a fixed plan per machine was worse than random.)

use crate::storage::Payload;
use librqbit::ManagedTorrent;
use std::{io::SeekFrom, sync::Arc, time::Duration};
use tokio::io::AsyncSeekExt;

/// How often the stream moves. Faster spreads a little better and costs CPU and pieces fetched twice.
const EVERY: Duration = Duration::from_millis(25);

/// Steer until the payload is complete.
pub(crate) async fn run(torrent: Arc<ManagedTorrent>, payload: Arc<Payload>, piece_length: u32) {
    let Ok(mut stream) = torrent.stream(0).await else { return };
    while let Some(piece) = payload.missing(1).first() {
        let position = u64::from(*piece) * u64::from(piece_length);
        if stream.seek(SeekFrom::Start(position)).await.is_err() {
            return;
        }
        tokio::time::sleep(EVERY).await;
    }
}
