// SPDX-License-Identifier: GPL-3.0-or-later
//! Over HTTP(S): small files, and what servers answer.

use crate::body;
use anyhow::{Context, Result, anyhow};
use reqwest::{
    Client, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER},
};
use std::time::Duration;

/// How long a server may take to be reached, and to send something.
const CONNECT: Duration = Duration::from_secs(20);
const SILENCE: Duration = Duration::from_secs(60);
/// The longest wait between two tries.
const LONGEST: Duration = Duration::from_secs(30);

/// A client.
#[derive(Clone, Debug)]
pub struct Http {
    pub(super) client: Client,
    /// How often in a row it may fail without getting further.
    pub(super) tries: u32,
    /// A checksum or a signature of what was fetched follows.
    pub(super) verified: bool,
}

/// Why a try ended.
pub(super) enum Stop {
    /// Another one would end in the same way.
    Final(anyhow::Error),
    /// Perhaps not.
    Again(anyhow::Error, Option<Duration>),
}

impl Stop {
    pub fn again(e: impl Into<anyhow::Error>) -> Stop {
        Stop::Again(e.into(), None)
    }
}

impl Http {
    /// A client that gives up after `tries` tries in a row that brought nothing.
    pub fn new(tries: u32) -> Result<Http> {
        let builder = || {
            Client::builder()
                .user_agent(concat!("boottorrent/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(CONNECT)
                .read_timeout(SILENCE)
        };
        // A small system has no certificates: http:// needs none, and https:// then says so.
        let client =
            builder().build().or_else(|_| builder().tls_certs_only([]).build()).context("preparing HTTP")?;
        Ok(Http { client, tries: tries.max(1), verified: false })
    }

    /// The same for what is verified afterwards.
    pub fn verified(self, verified: bool) -> Http {
        Http { verified, ..self }
    }

    /// A small file: at most `limit` bytes. `what` it should be is for the error.
    pub async fn small(&self, url: &str, limit: usize, what: &str) -> Result<Vec<u8>> {
        let mut tried = 0;
        loop {
            match self.small_once(url, limit, what).await {
                Ok(bytes) => return Ok(bytes),
                Err(Stop::Final(e)) => return Err(e),
                Err(Stop::Again(e, wait)) => {
                    tried += 1;
                    if tried >= self.tries.min(3) {
                        return Err(e);
                    }
                    tokio::time::sleep(wait.unwrap_or(pause(tried))).await;
                }
            }
        }
    }

    async fn small_once(&self, url: &str, limit: usize, what: &str) -> Result<Vec<u8>, Stop> {
        let answer = self.client.get(url).send().await.map_err(|e| Stop::again(told(e, url)))?;
        refuse_status(&answer, url)?;
        let kind = answer_type(answer.headers()).to_owned();
        let read = body::up_to(reqwest::Body::from(answer), limit, 0).await;
        let Some(bytes) = read.map_err(|e| Stop::again(told(e, url)))? else {
            return Err(Stop::Final(anyhow!("{url} has more than {limit} bytes: it is not a {what}")));
        };
        if is_page(&kind, &bytes) {
            return Err(Stop::Final(anyhow!(
                "{url} is a web page, and no {what}: look at the address in a browser"
            )));
        }
        Ok(bytes)
    }

    /// Its size, where the server tells.
    pub async fn size(&self, url: &str) -> Result<Option<u64>> {
        let answer = self.client.head(url).send().await.map_err(|e| told(e, url))?;
        refuse_status(&answer, url).map_err(|stop| match stop {
            Stop::Final(e) | Stop::Again(e, _) => e,
        })?;
        let length = answer.headers().get(reqwest::header::CONTENT_LENGTH);
        Ok(length.and_then(|l| l.to_str().ok()).and_then(|l| l.parse().ok()))
    }
}

/// The name of the file at an address, with its `%20` and the like decoded.
pub fn file_name(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
    decoded(path.rsplit('/').next().unwrap_or_default())
}

/// `%2B` is `+` (RFC 3986 §2.1).
pub fn decoded(text: &str) -> String {
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, tail @ ..] = rest {
        let hex = (*first == b'%').then(|| std::str::from_utf8(tail.get(..2)?).ok()).flatten();
        match hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = &tail[2..];
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

/// A refusal by the server.
pub(super) fn refuse_status(answer: &Response, url: &str) -> Result<(), Stop> {
    let status = answer.status();
    // Not 204 and the like, which have nothing.
    if matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT) {
        return Ok(());
    }
    let e = anyhow!("{url} answers {status}");
    match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => {
            Err(Stop::Final(anyhow!("there is nothing at {url} ({status}): look for its new address")))
        }
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
            Err(Stop::Again(e, retry_after(answer.headers())))
        }
        s if s.is_server_error() => Err(Stop::Again(e, retry_after(answer.headers()))),
        _ => Err(Stop::Final(e)),
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).clamp(pause(1), LONGEST))
}

/// What the engine says, with its cause: reqwest's own words name the address only.
pub(super) fn told(e: reqwest::Error, url: &str) -> anyhow::Error {
    use std::error::Error;
    let mut cause: &dyn Error = &e;
    while let Some(next) = cause.source() {
        cause = next;
    }
    match (e.is_builder(), e.is_timeout()) {
        (true, _) => anyhow!("'{url}' is not a valid URL: {cause}"),
        (_, true) => anyhow!("{url} does not answer"),
        _ => anyhow!("asking {url}: {cause}"),
    }
}

/// After so many failures: half a second, one, two …
pub(super) fn pause(failed: u32) -> Duration {
    Duration::from_millis(500).saturating_mul(1 << failed.saturating_sub(1).min(10)).min(LONGEST)
}

pub(super) fn answer_type(headers: &HeaderMap) -> &str {
    headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default()
}

/// Whether a person should look at it, and not a program.
pub(super) fn is_page(kind: &str, head: &[u8]) -> bool {
    let start: Vec<u8> = head.iter().copied().skip_while(u8::is_ascii_whitespace).take(15).collect();
    let start = start.to_ascii_lowercase();
    kind.starts_with("text/html") || start.starts_with(b"<!doctype html") || start.starts_with(b"<html")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_addresses() {
        for (url, name) in [
            ("https://x/live%2Bnonfree%20a.iso?x=1", "live+nonfree a.iso"),
            ("https://x/100%.iso", "100%.iso"),
            ("https://x/%ff.iso", "%ff.iso"),
            ("https://x/dir/", "dir"),
        ] {
            assert_eq!(file_name(url), name);
        }
    }

    #[test]
    fn pages() {
        assert!(
            is_page("text/html; charset=utf-8", b"x")
                && is_page("", b"\n <!DOCTYPE html>")
                && is_page("", b"<HTML>")
        );
        assert!(!is_page("application/octet-stream", b"\x7fELF") && !is_page("text/plain", b"<?xml"));
    }

    #[test]
    fn pauses() {
        let ms = |n| pause(n).as_millis();
        assert_eq!((ms(1), ms(2), ms(5), ms(99)), (500, 1000, 8000, 30_000));
    }
}
