// SPDX-License-Identifier: GPL-3.0-or-later
//! The swarm step: from metainfo to a complete, verified file.

use crate::{
    fail::{Failure, Step},
    locate::{self, MetainfoSource, payload_url},
    reach::{Reach, address},
    report::Report,
    store::Payload,
};
use anyhow::Context;
use bootspec::{Exit, PEER_PORT, Params, Progress, units::human_size, units::human_time};
use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};
use swarm::{Fetch, Head, HttpSource, Metainfo, Session, SessionConfig, Torrent};
use url::Url;

/// Nothing has come for this long: say so.
const SAY_STALLED: Duration = Duration::from_secs(15);

/// Everything that joining takes.
pub struct Join<'a> {
    /// What to fetch.
    pub metainfo: Metainfo,
    /// How.
    pub params: &'a Params,
    /// Tracker URLs: see [`trackers`].
    pub trackers: Vec<String>,
    /// How long to wait without any progress.
    pub patience: Option<Duration>,
    /// From where.
    pub reach: Reach,
    /// For pieces and trackers over HTTP.
    pub client: reqwest::Client,
    /// The port for peers.
    pub port: u16,
    /// The image's name, for people.
    pub image: &'a str,
}

impl Join<'_> {
    /// Join the swarm, and return when the payload is complete in `into`.
    pub async fn fetch(self, into: &mut Payload, report: &Report) -> Result<(Session, Torrent), Failure> {
        let (patience, image) = (self.patience, self.image);
        let (session, torrent) = self.begin(into).await?;
        if let Err(failure) = wait(&torrent, patience, image, report).await {
            // Its port is free then, for another try.
            session.stop();
            return Err(failure);
        }
        Ok((session, torrent))
    }

    /// Join the swarm: pieces come into `into` from now on.
    pub async fn begin(self, into: &mut Payload) -> Result<(Session, Torrent), Failure> {
        let config = SessionConfig {
            port: self.port,
            up: self.params.up,
            down: self.params.down,
            lsd: !self.metainfo.private(),
            ..SessionConfig::default()
        };
        let session = Session::start(config).await.step(Exit::Swarm)?;
        let torrent = self.join(&session, into, None).await?;
        Ok((session, torrent))
    }

    /// The same in a session that is there, with `down` bytes a second at most.
    pub async fn join(
        self,
        session: &Session,
        into: &mut Payload,
        down: Option<u64>,
    ) -> Result<Torrent, Failure> {
        let Join { metainfo, params, trackers, reach, client, .. } = self;
        let file = into.file.try_clone().context("sharing the payload's file").step(Exit::Storage)?;
        let head = into.head.as_ref().map(Head::try_clone).transpose();
        let head = head.context("sharing the payload's beginning").step(Exit::Storage)?;
        let (have, begun) = (into.known.clone(), std::mem::take(&mut into.begun));
        let payload = match &reach.torrent {
            MetainfoSource::Url(url) if params.fallback => payload_url(url),
            _ => None,
        };
        // Those that a magnet link names, ours among them.
        let mut peers = match reach.torrent {
            MetainfoSource::Magnet(magnet) => magnet.peers,
            _ => params.peers.clone(),
        };
        // The server's own seeder, where it usually listens: that needs no tracker.
        let server = reach.servers.first().filter(|_| reach.server.is_some());
        peers.extend(server.map(|ip| SocketAddr::new(*ip, PEER_PORT)));
        let torrent = session
            .fetch(Fetch {
                metainfo,
                file,
                head,
                have,
                begun,
                trackers,
                peers,
                servers: reach.servers,
                http: payload.map(|url| {
                    let others = locate::elsewhere(&url, &reach.relays);
                    HttpSource::new(client.clone(), url).or(others)
                }),
                client,
                down,
            })
            .await
            .context("joining the swarm")
            .step(Exit::Swarm)?;
        Ok(torrent)
    }
}

/// The trackers of a torrent, and those that were asked for, with addresses instead of names.
pub async fn trackers(metainfo: &Metainfo, params: &Params, report: &Report) -> Vec<String> {
    let mut trackers = Vec::new();
    for text in metainfo.trackers().iter().chain(&params.tracker) {
        match text.parse::<Url>() {
            Ok(mut url) => {
                if let Some(address) = address(&url, params.timeout).await {
                    let _ = url.set_ip_host(address);
                }
                trackers.push(url.to_string());
            }
            Err(_) => report.warn(&format!("the tracker '{text}' is not a valid URL: ignored")),
        }
    }
    trackers
}

/// Nobody has sent anything for so long.
pub fn nobody_sends(image: &str, still: Duration, progress: &Progress) -> String {
    format!(
        "nobody has sent a piece of {image} for {} ({} of {} are here, {} peers): \
         check that `boottorrent serve` seeds it and that port 6981 is open between machines",
        human_time(still),
        human_size(progress.have),
        human_size(progress.total),
        progress.peers
    )
}

/// Wait for the last piece. Gives up when nothing comes for so long.
pub async fn wait(
    torrent: &Torrent,
    patience: Option<Duration>,
    image: &str,
    report: &Report,
) -> Result<(), Failure> {
    let started = Instant::now();
    let (mut have, mut since, mut said) = (0, Instant::now(), false);
    let mut wrong = Wrong::default();
    while !torrent.complete() {
        if let Some(error) = torrent.error() {
            let last = error.lines().next().unwrap_or_default().to_owned();
            return Err(Failure::new(Exit::Storage, format!("the image could not be written: {last}")));
        }
        let progress = torrent.next_progress().await;
        report.progress(&progress, image);
        wrong.tell(torrent, image, report);
        if progress.have != have {
            (have, since, said) = (progress.have, Instant::now(), false);
        }
        let still = since.elapsed();
        if patience.is_some_and(|limit| still >= limit) {
            return Err(Failure::new(Exit::Swarm, nobody_sends(image, still, &progress)));
        }
        if still >= SAY_STALLED && !said {
            said = true;
            report.warn(&format!(
                "nothing has come for {}, {} peers: waiting",
                human_time(still),
                progress.peers
            ));
        }
    }
    let p = torrent.progress();
    report.progress(&p, image);
    let seconds = started.elapsed().as_secs_f64();
    report.info(&format!(
        "{image}: {} verified in {seconds:.1} s; {} from the server, {} over HTTP, {} from other machines",
        human_size(p.total),
        human_size(p.from_server),
        human_size(p.from_http),
        human_size(p.from_peers)
    ));
    Ok(())
}

/// Who has sent wrong pieces: each is said once.
#[derive(Default)]
pub struct Wrong {
    banned: Vec<IpAddr>,
    /// It may be this machine itself.
    doubted: bool,
}

impl Wrong {
    /// Say what has not been said.
    pub fn tell(&mut self, torrent: &Torrent, image: &str, report: &Report) {
        for host in torrent.banned() {
            if !self.banned.contains(&host) {
                report.warn(&format!(
                    "{host} has sent wrong pieces of {image}: it is asked for nothing more; check that machine's memory and disk"
                ));
                self.banned.push(host);
            }
        }
        if torrent.doubtful() && !self.doubted {
            self.doubted = true;
            report.warn(&format!(
                "pieces of {image} are wrong whoever sends them: check this machine's own memory and disk"
            ));
        }
    }
}
