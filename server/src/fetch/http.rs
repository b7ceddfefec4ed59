// SPDX-License-Identifier: GPL-3.0-or-later
//! Over HTTP(S): a download that goes on where it was interrupted, by a cable, a server or a ^C.

use super::{
    part::{Part, beside, date, etag},
    watch::Watch,
};
use crate::{body, catalogue::room::Room};
use anyhow::{Context, Result, anyhow};
use bootspec::units::human_size;
use reqwest::{
    Client, Response, StatusCode,
    header::{
        ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, IF_RANGE, RANGE,
        RETRY_AFTER,
    },
};
use std::{path::Path, time::Duration};
use tokio::{
    fs::{File, OpenOptions},
    io::{AsyncSeekExt, AsyncWriteExt, SeekFrom},
};

/// How long a server may take to be reached, and to send something.
const CONNECT: Duration = Duration::from_secs(20);
const SILENCE: Duration = Duration::from_secs(60);
/// The longest wait between two tries.
const LONGEST: Duration = Duration::from_secs(30);
/// The free disk space is looked at again after so many bytes, where nobody said how many come.
const LOOK: u64 = 64 << 20;

/// A client.
#[derive(Clone, Debug)]
pub struct Http {
    client: Client,
    /// How often in a row it may fail without getting further.
    tries: u32,
    /// A checksum or a signature of what was fetched follows.
    verified: bool,
}

/// Why a try ended.
enum Stop {
    /// Another one would end in the same way.
    Final(anyhow::Error),
    /// Perhaps not.
    Again(anyhow::Error, Option<Duration>),
}

impl Stop {
    fn again(e: impl Into<anyhow::Error>) -> Stop {
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
            return Err(Stop::Final(anyhow!("{url} has more than {limit} bytes: it is no {what}")));
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

    /// Fetch `url` into `to`; what is there of an earlier try is gone on with.
    pub async fn download(&self, url: &str, to: &Path, room: &Room<'_>, watch: &Watch) -> Result<()> {
        let (mut failed, mut furthest) = (0, length(to).await);
        loop {
            let e = match self.attempt(url, to, room, watch).await {
                Ok(()) => {
                    // A cache of little use now.
                    let _ = tokio::fs::remove_file(beside(to)).await;
                    return Ok(());
                }
                Err(Stop::Final(e)) => return Err(e),
                Err(Stop::Again(e, wait)) => {
                    let have = length(to).await;
                    failed = if have > furthest { 1 } else { failed + 1 };
                    furthest = furthest.max(have);
                    if failed < self.tries {
                        watch.note(format!("{e:#}; trying again"));
                        tokio::time::sleep(wait.unwrap_or(pause(failed))).await;
                        continue;
                    }
                    e
                }
            };
            let seen = watch.seen();
            let of = seen.total.map(|t| format!(" of {}", human_size(t))).unwrap_or_default();
            let kept = if furthest > 0 {
                format!(
                    "; {}{of} are here, and are gone on with when it is fetched again",
                    human_size(furthest)
                )
            } else {
                String::new()
            };
            return Err(e.context(format!("gave up after {failed} tries{kept}")));
        }
    }

    async fn attempt(&self, url: &str, to: &Path, room: &Room<'_>, watch: &Watch) -> Result<(), Stop> {
        let part = noted(to).await.filter(|p| p.url == url).unwrap_or_default();
        let mirror = part.at.clone().filter(|_| !part.leave);
        let moved = part.at.is_some() && part.leave;
        let at = mirror.as_deref().unwrap_or(url);
        let condition = part.condition(moved, self.verified);
        // Without a condition it cannot be told whether what is there is of the same file.
        let have = if condition.is_some() { length(to).await } else { 0 };
        let mut request = self.client.get(at).header(ACCEPT_ENCODING, "identity");
        if let (Some(condition), 1..) = (condition, have) {
            request = request.header(RANGE, format!("bytes={have}-")).header(IF_RANGE, condition);
        }
        let asked = request.send().await.map_err(|e| Stop::again(told(e, url)));
        let answer = match asked.and_then(|answer| refuse(answer, url, have)) {
            Ok(answer) => answer,
            // Perhaps that mirror alone is out of order: the next try asks the first address.
            Err(stop) if mirror.is_some() => {
                note(to, &Part { leave: true, ..part }).await?;
                let (Stop::Final(e) | Stop::Again(e, _)) = stop;
                return Err(Stop::Again(e, None));
            }
            Err(stop) => return Err(stop),
        };
        if answer.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            if part.total == Some(have) {
                return Ok(());
            }
            return Err(anew(to, anyhow!("{url} is shorter than what is here")).await);
        }
        let headers = answer.headers();
        refuse_encoding(headers, url)?;
        let range = content_range(headers);
        let now = Part {
            url: url.to_owned(),
            at: Some(answer.url().to_string()).filter(|a| a != url),
            leave: false,
            etag: etag(headers),
            date: date(headers),
            total: match (answer.status(), range) {
                (StatusCode::PARTIAL_CONTENT, Some((_, total))) => total,
                _ => answer.content_length(),
            },
        };
        let from = match (answer.status() == StatusCode::PARTIAL_CONTENT, range) {
            // Some servers answer with the part and call it 200.
            (partial, Some((from, total))) if from == have && (partial || have > 0) => {
                let now = Part { total, ..now.clone() };
                if have > 0 && !part.is_same(&now, moved) {
                    return Err(anew(to, anyhow!("{url} is another file since")).await);
                }
                have
            }
            (true, _) if have > 0 => {
                return Err(anew(
                    to,
                    anyhow!("{url} answers with another part than the one that was asked for"),
                )
                .await);
            }
            (true, _) => {
                return Err(Stop::Final(anyhow!(
                    "{url} answers with a part, though all of it was asked for"
                )));
            }
            (false, _) => 0,
        };
        let total = if from > 0 { now.total.or(part.total) } else { now.total };
        if let Some(total) = total {
            room.refuse_without(total.saturating_sub(from)).map_err(Stop::Final)?;
        }
        let page = answer_type(headers).to_owned();
        let mut file = open(to, from).await.map_err(|e| writing(e, to))?;
        note(to, &Part { total, ..now }).await?;
        watch.have(from, total);
        let ended = copy(answer, &mut file, url, from, total, &page, room, watch).await;
        // What came is kept, whatever ended it.
        let done = file.flush().await.map_err(|e| writing(e, to));
        let done = done.and(file.sync_all().await.map_err(|e| writing(e, to)));
        ended.and(done)
    }
}

/// What was noted of a part.
async fn noted(to: &Path) -> Option<Part> {
    serde_json::from_slice(&tokio::fs::read(beside(to)).await.ok()?).ok()
}

async fn note(to: &Path, part: &Part) -> Result<(), Stop> {
    let text = serde_json::to_vec(part).map_err(|e| Stop::Final(e.into()))?;
    tokio::fs::write(beside(to), text).await.map_err(|e| writing(e, to))
}

/// What is here is of another file: from its beginning, at once.
async fn anew(to: &Path, why: anyhow::Error) -> Stop {
    let gone = async {
        tokio::fs::remove_file(to).await?;
        tokio::fs::remove_file(beside(to)).await
    };
    match gone.await {
        Ok(()) => Stop::Again(why, Some(Duration::ZERO)),
        Err(e) => writing(e, to),
    }
}

/// A refusal by the server; that it has no more than what is here is none.
fn refuse(answer: Response, url: &str, have: u64) -> Result<Response, Stop> {
    match answer.status() {
        StatusCode::RANGE_NOT_SATISFIABLE if have > 0 => Ok(answer),
        _ => refuse_status(&answer, url).map(|()| answer),
    }
}

/// Refuse what is encoded although that was not asked for. Servers call a file that is compressed itself so, too.
fn refuse_encoding(headers: &HeaderMap, url: &str) -> Result<(), Stop> {
    let encoding = headers.get(CONTENT_ENCODING).and_then(|v| v.to_str().ok()).unwrap_or("identity").trim();
    let file = file_name(url);
    let own = match encoding {
        "identity" | "" => true,
        "gzip" | "x-gzip" => [".gz", ".tgz"].iter().any(|end| file.ends_with(end)),
        "xz" | "x-xz" => [".xz", ".txz"].iter().any(|end| file.ends_with(end)),
        "zstd" => [".zst", ".tzst"].iter().any(|end| file.ends_with(end)),
        _ => false,
    };
    match own {
        true => Ok(()),
        false => Err(Stop::Final(anyhow!(
            "{url} comes with the Content-Encoding {encoding:?}, which was not asked for: use another mirror"
        ))),
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

#[allow(clippy::too_many_arguments)]
async fn copy(
    mut answer: Response,
    file: &mut File,
    url: &str,
    from: u64,
    total: Option<u64>,
    page: &str,
    room: &Room<'_>,
    watch: &Watch,
) -> Result<(), Stop> {
    let (mut have, mut looked) = (from, from);
    loop {
        let chunk = match answer.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            Err(e) => return Err(cut(url, have, total, Some(e))),
        };
        if have == 0 && is_page(page, &chunk) {
            return Err(Stop::Final(anyhow!(
                "{url} is a web page, and no image: give the address of the image itself (in a browser, copy the link behind \
                 the download button)"
            )));
        }
        file.write_all(&chunk).await.map_err(|e| match e.kind() {
            std::io::ErrorKind::StorageFull => Stop::Final(anyhow!(
                "no room for '{}' in the catalogue: the disk with {} is full; free some, or choose another one with --dir",
                room.name,
                room.dir.display()
            )),
            _ => Stop::Final(anyhow!(e).context("writing what came")),
        })?;
        have += chunk.len() as u64;
        watch.have(have, total);
        if total.is_none() && have - looked > LOOK {
            looked = have;
            // As much again may come.
            room.refuse_without(LOOK).map_err(Stop::Final)?;
        }
    }
    match total {
        Some(total) if have < total => Err(cut(url, have, Some(total), None)),
        _ if have == 0 => Err(Stop::Final(anyhow!("{url} is empty"))),
        _ => Ok(()),
    }
}

fn cut(url: &str, have: u64, total: Option<u64>, e: Option<reqwest::Error>) -> Stop {
    let of = total.map(|t| format!(" of {}", human_size(t))).unwrap_or_default();
    let why =
        e.filter(reqwest::Error::is_timeout).map(|_| " (it was silent for a minute)").unwrap_or_default();
    Stop::again(anyhow!("{url}: the server ended the connection after {}{of}{why}", human_size(have)))
}

/// A refusal by the server.
fn refuse_status(answer: &Response, url: &str) -> Result<(), Stop> {
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
fn told(e: reqwest::Error, url: &str) -> anyhow::Error {
    use std::error::Error;
    let mut cause: &dyn Error = &e;
    while let Some(next) = cause.source() {
        cause = next;
    }
    match (e.is_builder(), e.is_timeout()) {
        (true, _) => anyhow!("'{url}' is no URL: {cause}"),
        (_, true) => anyhow!("{url} does not answer"),
        _ => anyhow!("asking {url}: {cause}"),
    }
}

fn writing(e: std::io::Error, to: &Path) -> Stop {
    Stop::Final(anyhow!(e).context(format!("writing {}", to.display())))
}

/// After so many failures: half a second, one, two …
fn pause(failed: u32) -> Duration {
    Duration::from_millis(500).saturating_mul(1 << failed.saturating_sub(1).min(10)).min(LONGEST)
}

async fn length(path: &Path) -> u64 {
    tokio::fs::metadata(path).await.map_or(0, |m| m.len())
}

async fn open(to: &Path, from: u64) -> std::io::Result<File> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(to).await?;
    file.set_len(from).await?;
    file.seek(SeekFrom::Start(from)).await?;
    Ok(file)
}

/// `bytes 5-9/10`: the first byte, and how many there are.
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
    let (range, total) = text.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, total.parse().ok()))
}

fn answer_type(headers: &HeaderMap) -> &str {
    headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default()
}

/// Whether a person should look at it, and not a program.
fn is_page(kind: &str, head: &[u8]) -> bool {
    let start: Vec<u8> = head.iter().copied().skip_while(u8::is_ascii_whitespace).take(15).collect();
    let start = start.to_ascii_lowercase();
    kind.starts_with("text/html") || start.starts_with(b"<!doctype html") || start.starts_with(b"<html")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        let of = |pairs: &[(reqwest::header::HeaderName, &str)]| {
            pairs.iter().map(|(n, v)| (n.clone(), v.parse().unwrap())).collect::<HeaderMap>()
        };
        assert_eq!(content_range(&of(&[(CONTENT_RANGE, "bytes 5-9/10")])), Some((5, Some(10))));
        assert_eq!(content_range(&of(&[(CONTENT_RANGE, "bytes 5-9/*")])), Some((5, None)));
        assert_eq!(content_range(&of(&[(CONTENT_RANGE, "lines 5-9/10")])), None);
    }

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
