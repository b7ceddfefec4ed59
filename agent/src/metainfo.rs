// SPDX-License-Identifier: GPL-3.0-or-later
//! Getting the .torrent: bounded, waited for while the server is not there,
//! pinned to the infohash that the kernel command line names.

use crate::{
    fail::{Failure, Step, cause},
    locate::{self, MetainfoSource},
    reach::Reach,
    report::Report,
    store::Spare,
    web,
};
use anyhow::{Context, anyhow, bail};
use bootspec::{Exit, Params, units::human_time};
use bytes::Bytes;
use reqwest::StatusCode;
use std::time::{Duration, Instant};
use swarm::{MAX_METAINFO, Metainfo, magnet::Wanted};
use tokio::time::timeout;
use url::Url;

/// Between two tries to reach a server that is not there yet.
const RETRY: Duration = Duration::from_secs(2);
/// No byte for this long: the try has failed.
const IDLE: Duration = Duration::from_secs(10);
/// How often a line says that it is still waited.
const SAY: Duration = Duration::from_secs(10);

/// What asking for the metainfo takes.
pub struct Asking<'a> {
    /// Asks.
    pub client: &'a reqwest::Client,
    /// Where it is.
    pub reach: &'a Reach,
    /// What it must be.
    pub params: &'a Params,
    /// The port for peers.
    pub port: u16,
    /// Hears of it.
    pub report: &'a Report,
}

impl Asking<'_> {
    /// Obtain, parse and pin the metainfo.
    pub async fn obtain(&self, limit: Option<Duration>) -> Result<Metainfo, Failure> {
        let Asking { client, reach, port, report, .. } = *self;
        let (bytes, from) = match &reach.torrent {
            MetainfoSource::Magnet(magnet) => {
                let magnet = magnet.clone();
                let client = client.clone();
                let wanted = Wanted { magnet, servers: reach.servers.clone(), port, client };
                return from_peers(wanted, limit, report).await;
            }
            MetainfoSource::File(path) => {
                let from = path.display().to_string();
                let bytes =
                    std::fs::read(path).with_context(|| format!("reading {from}")).step(Exit::Metainfo)?;
                (Bytes::from(bytes), from)
            }
            MetainfoSource::Url(url) => {
                let mut shown = url.clone();
                shown.set_query(None);
                // Only what was named by its infohash may come from anybody.
                let relays = if self.params.infohash.is_some() { &reach.relays[..] } else { &[] };
                let get = Get { client, url, relays, max: MAX_METAINFO, key: None };
                let bytes = match get.wait(limit, report).await? {
                    Answer::Bytes(bytes) => bytes,
                    Answer::No(why) => return Err(Failure::new(Exit::Metainfo, why)),
                };
                (bytes, shown.to_string())
            }
        };
        let metainfo = Metainfo::parse(bytes)
            .map_err(|e| Failure::new(Exit::Metainfo, format!("{from} cannot be used: {e}")))?;
        match self.params.infohash {
            Some(pin) if pin != metainfo.infohash() => Err(Failure::new(
                Exit::Trust,
                format!(
                    "{from} is not the image that this machine may boot: its infohash is {}, \
                     but boottorrent.infohash={pin} was asked for",
                    metainfo.infohash()
                ),
            )),
            _ => Ok(metainfo),
        }
    }

    /// Obtain the metainfo; when nobody answers, or the server has none, `None`: `spare` is here.
    pub async fn obtain_or(&self, spare: Option<&Spare>) -> Result<Option<Metainfo>, Failure> {
        let Asking { reach, params, report, .. } = *self;
        let Some(spare) = spare else {
            return self.obtain(params.timeout).await.map(Some);
        };
        if reach.torrent == MetainfoSource::File(Default::default()) {
            return Ok(None);
        }
        let limit = params.timeout.unwrap_or(SHORT).min(SHORT);
        let asked = tokio::time::timeout(limit, self.obtain(None));
        match asked.await {
            // A server that is there and has not got the image (its disk is not mounted, somebody has renamed it) is as
            // good as none: what is kept here was verified. Another image than the pinned one never boots.
            Ok(Err(failure)) if failure.exit == Exit::Metainfo && params.infohash.is_none() => {
                report.warn(&format!("{:#}: booting {}", failure.error, spare.what()));
                Ok(None)
            }
            Ok(answer) => answer.map(Some),
            Err(_) => {
                let host = if let MetainfoSource::Url(url) = &reach.torrent { url.authority() } else { "" };
                let limit = human_time(limit);
                report.warn(&format!(
                    "the server {host} did not answer within {limit}: booting {}",
                    spare.what()
                ));
                Ok(None)
            }
        }
    }
}

/// Ask peers, until one has it.
async fn from_peers(wanted: Wanted, limit: Option<Duration>, report: &Report) -> Result<Metainfo, Failure> {
    let (infohash, started) = (wanted.magnet.infohash, Instant::now());
    let mut found = std::pin::pin!(swarm::magnet::obtain(wanted));
    report.info(&format!("asking other machines for the metainfo of {infohash}"));
    loop {
        if let Ok(metainfo) = timeout(SAY.min(limit.unwrap_or(SAY)), &mut found).await {
            return Ok(metainfo);
        }
        let waited = human_time(started.elapsed());
        if limit.is_some_and(|l| started.elapsed() >= l) {
            return Err(Failure::new(
                Exit::Metainfo,
                format!(
                    "nobody has sent the metainfo of {infohash} within {waited}: name a tracker (tr= in the magnet \
                     link, boottorrent.tracker=) or a machine that has it (boottorrent.peers=)"
                ),
            ));
        }
        report.warn(&format!("waiting for somebody who has the metainfo of {infohash}, {waited} so far"));
    }
}

/// Which of the torrent's files boots.
pub fn pick(metainfo: Metainfo, params: &Params) -> Result<Metainfo, Failure> {
    let (name, file) = (metainfo.name().to_owned(), params.file.as_deref());
    metainfo
        .pick(file)
        .map_err(|e| Failure::new(Exit::Metainfo, format!("the torrent '{name}' cannot be used: {e}")))
}

/// How long the server is waited for when the machine could boot without it.
pub const SHORT: Duration = Duration::from_secs(20);

/// The same torrent with the tracker of the server as it is reached now: the one that was kept may have moved.
pub fn announced(metainfo: Metainfo, server: Option<&Url>) -> Metainfo {
    match server.and_then(locate::tracker) {
        Some(url) => metainfo.with_announce(url.as_str()),
        None => metainfo,
    }
}

/// What a server answered.
pub enum Answer {
    /// All of it.
    Bytes(Bytes),
    /// The server is there and says no: waiting does not help.
    No(String),
}

/// Something small that is wanted of a server.
#[derive(Clone, Copy)]
pub struct Get<'a> {
    /// Asks.
    pub client: &'a reqwest::Client,
    /// Where it is.
    pub url: &'a Url,
    /// Servers that have it too.
    pub relays: &'a [Url],
    /// Its bytes at most.
    pub max: usize,
    /// The machine's key, for what only this machine may have.
    pub key: Option<&'a str>,
}

impl Get<'_> {
    /// Get it. The server is waited for, while the others are asked as well.
    pub async fn wait(&self, limit: Option<Duration>, report: &Report) -> Result<Answer, Failure> {
        let url = self.url;
        let started = Instant::now();
        let mut said: Option<Instant> = None;
        let host = url.authority();
        if let Some(why) = web::unspoken(url) {
            return Ok(Answer::No(why));
        }
        loop {
            let error = match self.once(url).await {
                Ok(answer) => return Ok(answer),
                Err(e) => match web::distrusted(&e, url) {
                    Some(why) => return Ok(Answer::No(why)),
                    None => cause(&e),
                },
            };
            for other in locate::elsewhere(url, self.relays) {
                match self.once(&other).await {
                    Ok(Answer::Bytes(bytes)) => {
                        let other = other.authority();
                        report.warn(&format!("the server {host} does not answer ({error}): {other} did"));
                        return Ok(Answer::Bytes(bytes));
                    }
                    Ok(Answer::No(why)) => report.debug(&why),
                    Err(e) => report.debug(&format!("{}: {}", other.authority(), cause(&e))),
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
            if said.is_none_or(|t| t.elapsed() >= SAY) {
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

    /// Ask once. Errors: what can heal.
    async fn once(&self, url: &Url) -> anyhow::Result<Answer> {
        let Get { client, max, key, .. } = *self;
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
        Ok(Answer::Bytes(bytes.into()))
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
