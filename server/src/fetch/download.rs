// SPDX-License-Identifier: GPL-3.0-or-later
//! A download over HTTP(S) that goes on where it was interrupted, by a cable, a server or a ^C.

use super::{
    http::{Http, Stop, answer_type, file_name, is_page, pause, refuse_status, told},
    part::{Part, beside, date, etag},
    watch::Watch,
};
use crate::catalogue::free_space::FreeSpace;
use anyhow::{Result, anyhow};
use bootspec::units::human_size;
use reqwest::{
    Response, StatusCode,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_RANGE, HeaderMap, IF_RANGE, RANGE},
};
use std::{path::Path, time::Duration};
use tokio::{
    fs::{File, OpenOptions},
    io::{AsyncSeekExt, AsyncWriteExt, SeekFrom},
};

/// The free disk space is looked at again after so many bytes, where nobody said how many come.
const LOOK: u64 = 64 << 20;

/// One file on its way.
pub struct Download<'a> {
    /// The client.
    pub http: &'a Http,
    /// Where it is.
    pub url: &'a str,
    /// Where it goes.
    pub to: &'a Path,
    /// The disk that it goes to.
    pub room: FreeSpace<'a>,
    /// Who watches.
    pub watch: &'a Watch,
}

impl Download<'_> {
    /// Fetch it; what is there of an earlier try is gone on with.
    pub async fn run(&self) -> Result<()> {
        let (mut failed, mut furthest) = (0, length(self.to).await);
        loop {
            let e = match self.attempt().await {
                Ok(()) => {
                    // A cache of little use now.
                    let _ = tokio::fs::remove_file(beside(self.to)).await;
                    return Ok(());
                }
                Err(Stop::Final(e)) => return Err(e),
                Err(Stop::Again(e, wait)) => {
                    let have = length(self.to).await;
                    failed = if have > furthest { 1 } else { failed + 1 };
                    furthest = furthest.max(have);
                    if failed < self.http.tries {
                        self.watch.note(format!("{e:#}; trying again"));
                        tokio::time::sleep(wait.unwrap_or(pause(failed))).await;
                        continue;
                    }
                    e
                }
            };
            let seen = self.watch.seen().progress;
            let of = seen.total.map(|t| format!(" of {}", human_size(t))).unwrap_or_default();
            let kept = if furthest > 0 {
                format!("; {}{of} are here; fetch it again to resume", human_size(furthest))
            } else {
                String::new()
            };
            return Err(e.context(format!("gave up after {failed} tries{kept}")));
        }
    }

    async fn attempt(&self) -> Result<(), Stop> {
        let Download { url, to, .. } = *self;
        let part = noted(to).await.filter(|p| p.url == url).unwrap_or_default();
        let moved = part.at.is_some() && part.leave;
        let condition = part.condition(moved, self.http.verified);
        // Without a condition it cannot be told whether what is there is of the same file.
        let have = if condition.is_some() { length(to).await } else { 0 };
        let answer = self.ask(&part, condition, have).await?;
        if answer.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            return match part.total == Some(have) {
                true => Ok(()),
                false => Err(anew(to, anyhow!("{url} is shorter than what is here")).await),
            };
        }
        refuse_encoding(answer.headers(), url)?;
        let (from, now) = match begins_at(&answer, have) {
            Begin::Afresh => (0, self.described(&answer, answer.content_length())),
            Begin::GoesOn(total) => {
                let now = self.described(&answer, total);
                if have > 0 && !part.is_same(&now, moved) {
                    return Err(anew(to, anyhow!("{url} is another file since")).await);
                }
                (have, Part { total: now.total.or(part.total.filter(|_| have > 0)), ..now })
            }
            Begin::Elsewhere if have > 0 => {
                let why = anyhow!("{url} answers with another part than the one that was asked for");
                return Err(anew(to, why).await);
            }
            Begin::Elsewhere => {
                let why = anyhow!("{url} answers with a part, though all of it was asked for");
                return Err(Stop::Final(why));
            }
        };
        let total = now.total;
        if let Some(total) = total {
            self.room.refuse_without(total.saturating_sub(from)).map_err(Stop::Final)?;
        }
        let mut file = open(to, from).await.map_err(|e| writing(e, to))?;
        note(to, &now).await?;
        self.watch.have(from, total);
        let ended = self.copy(answer, &mut file, from, total).await;
        // What came is kept, whatever ended it.
        let done = file.flush().await.map_err(|e| writing(e, to));
        let done = done.and(file.sync_all().await.map_err(|e| writing(e, to)));
        ended.and(done)
    }

    /// Ask for what is not here: of the mirror that sent the rest, as long as that one answers.
    async fn ask(&self, part: &Part, condition: Option<&str>, have: u64) -> Result<Response, Stop> {
        let Download { url, to, .. } = *self;
        let mirror = part.at.as_deref().filter(|_| !part.leave);
        let mut request = self.http.client.get(mirror.unwrap_or(url)).header(ACCEPT_ENCODING, "identity");
        if let (Some(condition), 1..) = (condition, have) {
            request = request.header(RANGE, format!("bytes={have}-")).header(IF_RANGE, condition);
        }
        let asked = request.send().await.map_err(|e| Stop::again(told(e, url)));
        match asked.and_then(|answer| refuse(answer, url, have)) {
            // Perhaps that mirror alone is out of order: the next try asks the first address.
            Err(stop) if mirror.is_some() => {
                note(to, &Part { leave: true, ..part.clone() }).await?;
                let (Stop::Final(e) | Stop::Again(e, _)) = stop;
                Err(Stop::Again(e, None))
            }
            answer => answer,
        }
    }

    /// What tells this file from later ones.
    fn described(&self, answer: &Response, total: Option<u64>) -> Part {
        Part {
            url: self.url.to_owned(),
            at: Some(answer.url().to_string()).filter(|at| at != self.url),
            leave: false,
            etag: etag(answer.headers()),
            date: date(answer.headers()),
            total,
        }
    }

    /// Write what comes. `from`: how much is here already.
    async fn copy(
        &self,
        mut answer: Response,
        file: &mut File,
        from: u64,
        total: Option<u64>,
    ) -> Result<(), Stop> {
        let url = self.url;
        let kind = answer_type(answer.headers()).to_owned();
        let (mut have, mut looked) = (from, from);
        loop {
            let chunk = match answer.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(e) => return Err(cut(url, have, total, Some(e))),
            };
            if have == 0 && is_page(&kind, &chunk) {
                return Err(Stop::Final(anyhow!(
                    "{url} is a web page, and no image: give the address of the image itself (in a browser, copy the link behind \
                     the download button)"
                )));
            }
            file.write_all(&chunk).await.map_err(|e| {
                Stop::Final(match e.kind() {
                    std::io::ErrorKind::StorageFull => self.room.full(),
                    _ => anyhow!(e).context("writing what came"),
                })
            })?;
            have += chunk.len() as u64;
            self.watch.have(have, total);
            if total.is_none() && have - looked > LOOK {
                looked = have;
                // As much again may come.
                self.room.refuse_without(LOOK).map_err(Stop::Final)?;
            }
        }
        match total {
            Some(total) if have < total => Err(cut(url, have, Some(total), None)),
            _ if have == 0 => Err(Stop::Final(anyhow!("{url} is empty"))),
            _ => Ok(()),
        }
    }
}

/// Where an answer begins.
enum Begin {
    /// At the file's beginning.
    Afresh,
    /// Where the part that is here ends; how long the file is.
    GoesOn(Option<u64>),
    /// Somewhere that nobody asked for.
    Elsewhere,
}

fn begins_at(answer: &Response, have: u64) -> Begin {
    let partial = answer.status() == StatusCode::PARTIAL_CONTENT;
    match content_range(answer.headers()) {
        // Some servers answer with the part and call it 200.
        Some((from, total)) if from == have && (partial || have > 0) => Begin::GoesOn(total),
        _ if partial => Begin::Elsewhere,
        _ => Begin::Afresh,
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

fn cut(url: &str, have: u64, total: Option<u64>, e: Option<reqwest::Error>) -> Stop {
    let of = total.map(|t| format!(" of {}", human_size(t))).unwrap_or_default();
    let why =
        e.filter(reqwest::Error::is_timeout).map(|_| " (it was silent for a minute)").unwrap_or_default();
    Stop::again(anyhow!("{url}: the server ended the connection after {}{of}{why}", human_size(have)))
}

fn writing(e: std::io::Error, to: &Path) -> Stop {
    Stop::Final(anyhow!(e).context(format!("writing {}", to.display())))
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
}
