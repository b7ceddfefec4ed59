// SPDX-License-Identifier: GPL-3.0-or-later
//! Heartbeats to the server. Never fatal, never in the way.

use crate::report::Report;
use bootspec::{Heartbeat, Phase};
use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};
use url::Url;

/// While booting, and once booted: N machines must not become a load.
const BOOTING: Duration = Duration::from_secs(2);
const BOOTED: Duration = Duration::from_secs(10);
/// How often a change of phase is looked for.
const LOOK: Duration = Duration::from_millis(250);
/// A server that does not answer is not waited for.
const PATIENCE: Duration = Duration::from_secs(3);

static TARGET: OnceLock<(reqwest::Client, Url)> = OnceLock::new();

/// Begin to tell the server, if there is one and it is wanted.
pub fn start(report: &Report, client: &reqwest::Client, server: Option<&Url>, wanted: bool) {
    let Some(url) = server.filter(|_| wanted).and_then(|s| s.join("api/v1/heartbeat").ok()) else { return };
    if TARGET.set((client.clone(), url)).is_err() {
        return;
    }
    let report = report.clone();
    tokio::spawn(async move {
        let mut sent: Option<(Instant, Phase)> = None;
        loop {
            let beat = report.heartbeat();
            let every = if beat.phase == Phase::Seed { BOOTED } else { BOOTING };
            if sent.is_none_or(|(at, phase)| phase != beat.phase || at.elapsed() >= every) {
                sent = Some((Instant::now(), beat.phase));
                send(&beat).await;
            }
            tokio::time::sleep(if beat.phase == Phase::Seed { BOOTED } else { LOOK }).await;
        }
    });
}

/// One more before the end, so that the server knows how it ended.
pub async fn last(report: &Report) {
    send(&report.heartbeat()).await;
}

async fn send(beat: &Heartbeat) {
    let Some((client, url)) = TARGET.get() else { return };
    let body = serde_json::to_vec(beat).expect("a heartbeat is JSON");
    let request = client.post(url.clone()).header("content-type", "application/json").body(body);
    if let Err(e) = request.timeout(PATIENCE).send().await {
        tracing::debug!("heartbeat: {e}");
    }
}
