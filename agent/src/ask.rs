// SPDX-License-Identifier: GPL-3.0-or-later
//! Asking servers for something small: bounded, and waited for while the server is not there. Then the others are asked that
//! the machine was told of (`boottorrent.relays=`), whose answers count only if they are right: none of them can end a boot.

use crate::{
    fail::{Failure, cause},
    locate,
    report::Report,
    web,
};
use anyhow::{anyhow, bail};
use bootspec::{Exit, units::human_time};
use bytes::Bytes;
use reqwest::StatusCode;
use std::time::{Duration, Instant};
use tokio::time::timeout;
use url::Url;

/// Between two tries to reach a server that is not there yet.
const RETRY: Duration = Duration::from_secs(2);
/// No byte for this long: the try has failed.
const IDLE: Duration = Duration::from_secs(10);
/// How often a line says that it is still waited.
pub const SAY: Duration = Duration::from_secs(10);

/// What a server answered.
pub enum Answer<T = Bytes> {
    /// What was asked for.
    Got(T),
    /// The server is there and says no: waiting does not help.
    No(String),
}

/// Whom to ask, and for how long.
#[derive(Clone, Copy)]
pub struct Patience<'a> {
    /// The server.
    pub url: &'a Url,
    /// Servers that have it too.
    pub relays: &'a [Url],
    /// How long the server is waited for.
    pub limit: Option<Duration>,
    /// Hears of it.
    pub report: &'a Report,
}

impl Patience<'_> {
    /// Ask. The server is waited for, while the others are asked as well. `once` asks one of them; its errors can heal.
    /// `right`: whether what another has answered is what was meant, or why not.
    pub async fn ask<T>(
        &self,
        once: impl AsyncFn(&Url) -> anyhow::Result<Answer<T>>,
        right: impl Fn(&T) -> Result<(), String>,
    ) -> Result<Answer<T>, Failure> {
        let Patience { url, relays, limit, report } = *self;
        let started = Instant::now();
        let mut said: Option<Instant> = None;
        let host = url.authority();
        if let Some(why) = web::unspoken(url) {
            return Ok(Answer::No(why));
        }
        loop {
            let error = match once(url).await {
                Ok(answer) => return Ok(answer),
                Err(e) => match web::distrusted(&e, url) {
                    Some(why) => return Ok(Answer::No(why)),
                    None => cause(&e),
                },
            };
            let is_time = said.is_none_or(|t| t.elapsed() >= SAY);
            for other in locate::elsewhere(url, relays) {
                let at = other.authority();
                match once(&other).await {
                    Ok(Answer::Got(answer)) => match right(&answer) {
                        Ok(()) => {
                            report.warn(&format!("the server {host} does not answer ({error}): {at} did"));
                            return Ok(Answer::Got(answer));
                        }
                        Err(why) if is_time => report.warn(&format!("what {at} sent is not used: {why}")),
                        Err(_) => {}
                    },
                    Ok(Answer::No(why)) => report.debug(&why),
                    Err(e) => report.debug(&format!("{at}: {}", cause(&e))),
                }
            }
            let waited = started.elapsed();
            if limit.is_some_and(|l| waited >= l) {
                return Err(Failure::new(
                    Exit::Metainfo,
                    format!(
                        "the server {host} did not answer within {} ({error}): check that `boottorrent serve` \
                         runs there and that no firewall is between",
                        human_time(limit.unwrap_or(waited))
                    ),
                ));
            }
            if is_time {
                said = Some(Instant::now());
                let until = limit.map(|l| format!("; giving up after {}", human_time(l))).unwrap_or_default();
                report.warn(&format!(
                    "waiting for the server {host} ({error}), {} so far{until}",
                    human_time(waited)
                ));
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// One file.
#[derive(Clone, Copy)]
pub struct Get<'a> {
    /// Asks.
    pub client: &'a reqwest::Client,
    /// Its bytes at most.
    pub max: usize,
    /// The machine's key, for what only this machine may have.
    pub key: Option<&'a str>,
}

impl Get<'_> {
    /// Ask once. Errors: what can heal.
    pub async fn once(&self, url: &Url) -> anyhow::Result<Answer> {
        let Get { client, max, key } = *self;
        let mut request = client.get(url.clone());
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        let mut response = timeout(IDLE, request.send()).await.map_err(|_| anyhow!("no answer"))??;
        let status = response.status();
        if status.is_client_error()
            && status != StatusCode::REQUEST_TIMEOUT
            && status != StatusCode::TOO_MANY_REQUESTS
        {
            return Ok(Answer::No(refused(url, status)));
        }
        if !status.is_success() {
            bail!("status {status}");
        }
        let mut bytes = Vec::new();
        while let Some(chunk) =
            timeout(IDLE, response.chunk()).await.map_err(|_| anyhow!("it stopped sending"))??
        {
            if bytes.len() + chunk.len() > max {
                return Ok(Answer::No(format!("{url} is larger than the {max} bytes that it may have")));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Answer::Got(bytes.into()))
    }
}

/// Why the server gives nothing.
fn refused(url: &Url, status: StatusCode) -> String {
    let host = url.authority();
    match (status, image_of(url)) {
        (StatusCode::NOT_FOUND, Some(image)) => {
            format!(
                "the server {host} has no image '{image}': see `boottorrent image list` there, and boottorrent.image="
            )
        }
        (StatusCode::NOT_FOUND, None) if url.path().ends_with(".torrent") => {
            format!("there is nothing at {url}: check boottorrent.torrent=")
        }
        (StatusCode::NOT_FOUND, None) => format!("there is nothing at {url}"),
        _ => format!("the server {host} refuses {url} with {status}"),
    }
}

fn image_of(url: &Url) -> Option<&str> {
    crate::locate::payload_url(url)?;
    url.path_segments()?.nth(1)
}
