// SPDX-License-Identifier: GPL-3.0-or-later
//! Getting the .torrent, pinned to the infohash that the kernel command line names.

use crate::{
    ask::{Answer, Get, Patience, SAY},
    fail::{Failure, Step},
    locate::{self, MetainfoSource},
    reach::Reach,
    report::Report,
    store::Spare,
};
use anyhow::Context;
use bootspec::{Exit, InfoHash, Params, units::human_time};
use bytes::Bytes;
use std::time::{Duration, Instant};
use swarm::{MAX_METAINFO, Metainfo, magnet::Wanted};
use tokio::time::timeout;
use url::Url;

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
                let get = Get { client, max: MAX_METAINFO, key: None };
                let patience = Patience { url, relays, limit, report };
                let right = |bytes: &Bytes| match meant(bytes.clone(), self.params.infohash) {
                    Ok(_) => Ok(()),
                    Err((_, why)) => Err(format!("it {why}")),
                };
                let bytes = match patience.ask(async |url| get.once(url).await, right).await? {
                    Answer::Got(bytes) => bytes,
                    Answer::No(why) => return Err(Failure::new(Exit::Metainfo, why)),
                };
                (bytes, shown.to_string())
            }
        };
        meant(bytes, self.params.infohash).map_err(|(exit, why)| Failure::new(exit, format!("{from} {why}")))
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

/// A torrent that may boot, or why not.
fn meant(bytes: Bytes, pin: Option<InfoHash>) -> Result<Metainfo, (Exit, String)> {
    let metainfo = Metainfo::parse(bytes).map_err(|e| (Exit::Metainfo, format!("cannot be used: {e}")))?;
    match pin {
        Some(pin) if pin != metainfo.infohash() => Err((
            Exit::Trust,
            format!(
                "is not the image that this machine may boot: its infohash is {}, but boottorrent.infohash={pin} \
                 was asked for",
                metainfo.infohash()
            ),
        )),
        _ => Ok(metainfo),
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
