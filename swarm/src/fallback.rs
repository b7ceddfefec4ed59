// SPDX-License-Identifier: GPL-3.0-or-later
//! The server's HTTP as one more source: of what no peer sends, and of what a reader waits for too long.

use crate::{
    http::HttpSource,
    plan::{BLOCK, Reserved},
    torrent::Shared,
};
use anyhow::Context;
use std::{
    ops::Range,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{
    task::spawn_blocking,
    time::{sleep, timeout},
};

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
    let Some(http) = shared.setup.http.clone() else { return };
    let workers = async {
        let all: [_; AT_A_TIME] = std::array::from_fn(|_| worker(&shared, &http));
        let [a, b] = all;
        tokio::join!(a, b)
    };
    tokio::select! {
        _ = workers => {}
        () = shared.until_done() => {}
        () = shared.setup.end.cancelled() => {}
    }
}

async fn worker(shared: &Arc<Shared>, http: &HttpSource) {
    loop {
        let moved = Duration::from_millis(shared.moved.load(Ordering::Relaxed));
        let limit = if shared.state().conns.is_empty() { ALONE } else { DRY };
        let dry = shared.now().saturating_sub(moved) >= limit;
        let reserved = {
            let (mut state, now) = (shared.state(), shared.now());
            let urgent = state.picker.overdue(now);
            urgent.or_else(|| if dry { state.picker.reserve(now) } else { None })
        };
        let Some(Reserved { piece, here, sent }) = reserved else {
            let _ = timeout(LOOK, shared.wanted_now.notified()).await;
            continue;
        };
        // What is here of it is a hint: if it is wrong, the piece is fetched whole.
        if !here.is_empty() && shared.setup.metainfo.is_whole() {
            match rest(shared, http, piece, &here).await {
                Ok(true) => {
                    shared.have(piece);
                    continue;
                }
                Ok(false) => {
                    tracing::debug!("piece {piece} was here in part, and wrong");
                    shared.doubt(piece, &sent);
                }
                Err(e) => tracing::debug!("{e:#}"),
            }
        }
        match http.piece(&shared.setup.metainfo, piece).await {
            Ok(data) => {
                let this = shared.clone();
                let written = spawn_blocking(move || this.store.write_piece(piece, &data)).await;
                match written.expect("no panic while writing") {
                    Ok(()) => shared.have(piece),
                    Err(e) => return shared.fail(&e),
                }
            }
            Err(e) => {
                tracing::debug!("{e:#}");
                shared.state().picker.failed(piece);
                sleep(RETRY).await;
            }
        }
    }
}

/// Fetch what is missing of a piece, into its place. Whether it is whole and right then.
async fn rest(shared: &Arc<Shared>, http: &HttpSource, piece: u32, here: &[u32]) -> anyhow::Result<bool> {
    let (layout, mut parts) = (shared.store.layout(), Vec::new());
    for run in missing(layout.blocks(piece), here) {
        let at = |block: u32| layout.offset(piece) + u64::from(block * BLOCK).min(layout.len(piece).into());
        let data = http.range(at(run.start)..at(run.end)).await?;
        parts.push((run, data));
    }
    let this = shared.clone();
    let written = spawn_blocking(move || -> std::io::Result<bool> {
        for (run, data) in parts {
            for (block, part) in run.zip(data.chunks(BLOCK as usize)) {
                this.store.write_block(piece, block, part)?;
            }
        }
        this.store.verify(piece)
    });
    Ok(written.await.context("writing a piece")??)
}

/// The blocks that are not here, as runs.
fn missing(blocks: u32, here: &[u32]) -> Vec<Range<u32>> {
    let mut runs: Vec<Range<u32>> = Vec::new();
    for block in (0..blocks).filter(|b| !here.contains(b)) {
        match runs.last_mut() {
            Some(run) if run.end == block => run.end += 1,
            _ => runs.push(block..block + 1),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_what_is_missing() {
        let runs = |blocks, here: &[u32]| -> Vec<(u32, u32)> {
            missing(blocks, here).into_iter().map(|r| (r.start, r.end)).collect()
        };
        assert_eq!(runs(4, &[]), [(0, 4)]);
        assert_eq!(runs(4, &[1]), [(0, 1), (2, 4)]);
        assert_eq!(runs(4, &[0, 3]), [(1, 3)]);
        assert_eq!(runs(3, &[2, 0]), [(1, 2)]);
        assert_eq!(runs(1, &[0]), []);
    }
}
