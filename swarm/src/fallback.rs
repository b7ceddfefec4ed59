// SPDX-License-Identifier: GPL-3.0-or-later
//! The server's HTTP as one more source: of what no peer sends.

use crate::{http::HttpSource, torrent::Shared};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::time::sleep;

/// No new piece from a peer for so long: HTTP is asked, until one comes again.
const DRY: Duration = Duration::from_secs(3);
/// The same, when nobody is there who could send one.
const ALONE: Duration = Duration::from_secs(1);
/// Pieces at a time, so that one is always under way.
const AT_A_TIME: usize = 2;
/// How often is looked.
const LOOK: Duration = Duration::from_millis(100);
/// HTTP has failed: it is tried again after so long.
const RETRY: Duration = Duration::from_secs(3);

/// Fetch pieces over HTTP while the swarm is dry, until the torrent is complete.
pub(crate) async fn run(shared: Arc<Shared>) {
    let Some(http) = shared.http.clone() else { return };
    let workers = async {
        let all: [_; AT_A_TIME] = std::array::from_fn(|_| worker(&shared, &http));
        let [a, b] = all;
        tokio::join!(a, b)
    };
    tokio::select! {
        _ = workers => {}
        () = shared.until_done() => {}
        () = shared.end.cancelled() => {}
    }
}

async fn worker(shared: &Shared, http: &HttpSource) {
    loop {
        let moved = Duration::from_millis(shared.moved.load(Ordering::Relaxed));
        let limit = if shared.state().conns.is_empty() { ALONE } else { DRY };
        let dry = shared.now().saturating_sub(moved) >= limit;
        let piece = if dry { shared.state().picker.reserve(shared.now()) } else { None };
        let Some(piece) = piece else {
            sleep(LOOK).await;
            continue;
        };
        match http.piece(&shared.metainfo, piece).await {
            Ok(data) => match shared.store.write_piece(piece, &data) {
                Ok(()) => shared.have(piece),
                Err(e) => return shared.fail(&e),
            },
            Err(e) => {
                tracing::debug!("{e:#}");
                shared.state().picker.failed(piece);
                sleep(RETRY).await;
            }
        }
    }
}
