// SPDX-License-Identifier: GPL-3.0-or-later
//! Heartbeats to the server, and what it answers. Never fatal, never in the way.

use crate::{reach::Reach, report::Report};
use bootspec::{
    Heartbeat, Phase,
    order::{Answer, MAX_ANSWER},
};
use std::{
    sync::{LazyLock, Mutex, OnceLock, PoisonError},
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

/// The server was away: it is asked again before the others after so long.
const HOME: Duration = Duration::from_secs(30);

static TARGET: OnceLock<(reqwest::Client, Mutex<Listeners>)> = OnceLock::new();
static HEARD: LazyLock<watch::Sender<Option<Answer>>> = LazyLock::new(|| watch::Sender::new(None));

/// Who may be told: the server, and others for when it does not answer.
struct Listeners {
    urls: Vec<Url>,
    at: usize,
    /// When the server was found away.
    left: Instant,
}

impl Listeners {
    fn next(&mut self) -> Url {
        if self.at != 0 && self.left.elapsed() >= HOME {
            self.at = 0;
        }
        self.urls[self.at].clone()
    }

    fn failed(&mut self, url: &Url) {
        if self.urls[self.at] == *url {
            self.at = (self.at + 1) % self.urls.len();
            self.left = Instant::now();
        }
    }
}

/// Begin to tell the server, if there is one and it is wanted.
pub fn start(report: &Report, client: &reqwest::Client, reach: &Reach, wanted: bool) {
    let Some(server) = reach.server.as_ref().filter(|_| wanted) else { return };
    let urls: Vec<Url> =
        [server].into_iter().chain(&reach.relays).filter_map(|s| s.join("api/v1/heartbeat").ok()).collect();
    let listeners = Listeners { urls, at: 0, left: Instant::now() };
    if listeners.urls.is_empty() || TARGET.set((client.clone(), Mutex::new(listeners))).is_err() {
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
    let (client, listeners) = TARGET.get()?;
    let listeners = || listeners.lock().unwrap_or_else(PoisonError::into_inner);
    let url = listeners().next();
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
            listeners().failed(&url);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_answers_is_told_and_the_server_is_asked_again() {
        let urls = ["http://a/", "http://b/"].map(|u| u.parse::<Url>().unwrap());
        let mut listeners = Listeners { urls: urls.to_vec(), at: 0, left: Instant::now() };
        assert_eq!(listeners.next(), urls[0]);
        listeners.failed(&urls[0]);
        // The same beat told twice that it had failed.
        listeners.failed(&urls[0]);
        assert_eq!(listeners.next(), urls[1]);
        listeners.left -= HOME;
        assert_eq!(listeners.next(), urls[0]);
    }
}
