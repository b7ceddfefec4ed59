// SPDX-License-Identifier: GPL-3.0-or-later
//! Heartbeats to the server, and what it answers. Never fatal, never in the way.

use crate::report::Report;
use bootspec::{
    Heartbeat, Phase,
    order::{Answer, MAX_ANSWER},
};
use std::{
    sync::{LazyLock, OnceLock},
    time::{Duration, Instant},
};
use tokio::sync::watch;
use url::Url;

/// While booting, and once booted: N machines must not become a load.
const BOOTING: Duration = Duration::from_secs(2);
const BOOTED: Duration = Duration::from_secs(10);
/// How often a change of phase is looked for.
const LOOK: Duration = Duration::from_millis(250);
/// A server that does not answer is not waited for.
const PATIENCE: Duration = Duration::from_secs(3);

static TARGET: OnceLock<(reqwest::Client, Url)> = OnceLock::new();
static HEARD: LazyLock<watch::Sender<Option<Answer>>> = LazyLock::new(|| watch::Sender::new(None));

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

/// What the server has answered last, and whatever it answers from now on. None: it has not answered yet.
pub fn answers() -> watch::Receiver<Option<Answer>> {
    HEARD.subscribe()
}

/// One more now. None: the server did not answer.
pub async fn ask(report: &Report) -> Option<Answer> {
    send(&report.heartbeat()).await
}

async fn send(beat: &Heartbeat) -> Option<Answer> {
    let (client, url) = TARGET.get()?;
    let body = serde_json::to_vec(beat).expect("a heartbeat is JSON");
    let request = client.post(url.clone()).header("content-type", "application/json").body(body);
    match request.timeout(PATIENCE).send().await {
        Ok(response) => {
            let answer = read(response).await?;
            HEARD.send_replace(Some(answer.clone()));
            Some(answer)
        }
        Err(e) => {
            tracing::debug!("heartbeat: {e}");
            None
        }
    }
}

/// Only a server that has taken the heartbeat answers it: nothing, or so many bytes at most.
async fn read(mut response: reqwest::Response) -> Option<Answer> {
    match response.status().as_u16() {
        204 => return Some(Answer::default()),
        200 => {}
        _ => return None,
    }
    let mut json = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        json.extend_from_slice(&chunk);
        if json.len() > MAX_ANSWER {
            return None;
        }
    }
    serde_json::from_slice(&json).ok()
}
