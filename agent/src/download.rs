// SPDX-License-Identifier: GPL-3.0-or-later
//! The swarm step: from metainfo to a complete, verified file.

use crate::{
    fail::{Failure, Step},
    locate::{self, Located, Place, payload_url},
    report::Report,
    store::Payload,
};
use anyhow::Context;
use bootspec::{Exit, ImageName, PEER_PORT, Params, units::human_size, units::human_time};
use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};
use swarm::{Fetch, Head, HttpSource, Metainfo, Session, SessionConfig, Torrent};
use url::{Host, Url};

/// Nothing has come for this long: say so.
const SAY_STALLED: Duration = Duration::from_secs(15);

/// How long a name may take.
const LOOKUP: Duration = Duration::from_secs(10);

/// Where things are, with addresses instead of names: after switch_root there is no resolver.
#[derive(Clone)]
pub struct Reach {
    /// The .torrent.
    pub torrent: Place,
    /// `boottorrent serve`.
    pub server: Option<Url>,
    /// Where the server's own bytes come from.
    pub servers: Vec<IpAddr>,
    /// Names whose address is known: what a certificate is for is asked for by its name.
    pub names: Vec<(String, IpAddr)>,
}

impl Reach {
    /// There is no network: only what peers find us by, should one come later.
    pub fn nowhere() -> Self {
        Self {
            torrent: Place::File(Default::default()),
            server: None,
            servers: Vec::new(),
            names: Vec::new(),
        }
    }

    /// Look names up. One that is not found stays as it is: the fetch then says what is wrong.
    pub async fn resolve(located: &Located, params: &Params) -> Self {
        let mut reach =
            Self { torrent: located.torrent.clone(), server: located.server.clone(), ..Self::nowhere() };
        let torrent = if let Place::Url(url) = &mut reach.torrent { Some(url) } else { None };
        for url in reach.server.iter_mut().chain(torrent) {
            let Some(address) = address(url, params.timeout).await else { continue };
            reach.servers.push(address);
            match url.domain() {
                Some(name) if url.scheme() == "https" => reach.names.push((name.to_owned(), address)),
                _ => drop(url.set_ip_host(address)),
            }
        }
        reach
    }
}

/// The address of a URL's host, if that can be found.
async fn address(url: &Url, limit: Option<Duration>) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(ip) => Some(ip.into()),
        Host::Ipv6(ip) => Some(ip.into()),
        Host::Domain(name) => {
            let limit = limit.unwrap_or(LOOKUP).min(LOOKUP);
            let lookup = tokio::time::timeout(limit, tokio::net::lookup_host((name, 0))).await;
            Some(lookup.ok()?.ok()?.next()?.ip())
        }
    }
}

/// What the image is called: as it was asked for, else by the torrent. (On the server it may have another name than when
/// its torrent was made.)
pub fn image_name(metainfo: &Metainfo, params: &Params) -> String {
    let names = locate::asked(params).into_iter().chain([metainfo.name()]);
    let mut names = names.filter(|name| name.parse::<ImageName>().is_ok());
    names.next().unwrap_or("image").to_owned()
}

/// Everything that joining takes.
pub struct Join<'a> {
    /// What to fetch.
    pub metainfo: Metainfo,
    /// How.
    pub params: &'a Params,
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
        let Join { metainfo, params, patience, reach, client, port, image } = self;
        let file = into.file.try_clone().context("sharing the payload's file").step(Exit::Storage)?;
        let head = into.head.as_ref().map(Head::try_clone).transpose();
        let head = head.context("sharing the payload's beginning").step(Exit::Storage)?;
        let (have, begun) = (into.known.clone(), std::mem::take(&mut into.begun));
        let mut trackers = Vec::new();
        for text in metainfo.trackers().iter().chain(&params.tracker) {
            match text.parse::<Url>() {
                Ok(mut url) => {
                    if let Some(address) = address(&url, params.timeout).await {
                        let _ = url.set_ip_host(address);
                    }
                    trackers.push(url.to_string());
                }
                Err(_) => report.warn(&format!("the tracker '{text}' is no URL: ignored")),
            }
        }
        let payload = match &reach.torrent {
            Place::Url(url) if params.fallback => payload_url(url),
            _ => None,
        };
        // Those that a magnet link names, ours among them.
        let mut peers = match reach.torrent {
            Place::Magnet(magnet) => magnet.peers,
            _ => params.peers.clone(),
        };
        // The server's own seeder, where it usually listens: that needs no tracker.
        let server = reach.servers.first().filter(|_| reach.server.is_some());
        peers.extend(server.map(|ip| SocketAddr::new(*ip, PEER_PORT)));
        let config = SessionConfig {
            port,
            up: params.up,
            down: params.down,
            lsd: !metainfo.private(),
            ..SessionConfig::default()
        };
        let session = Session::start(config).await.step(Exit::Swarm)?;
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
                http: payload.map(|url| HttpSource::new(client.clone(), url)),
                client,
            })
            .await
            .context("joining the swarm")
            .step(Exit::Swarm)?;
        if let Err(failure) = wait(&torrent, patience, image, report).await {
            // Its port is free then, for another try.
            session.stop();
            return Err(failure);
        }
        Ok((session, torrent))
    }
}

/// Wait for the last piece. Gives up when nothing comes for so long.
async fn wait(
    torrent: &Torrent,
    patience: Option<Duration>,
    image: &str,
    report: &Report,
) -> Result<(), Failure> {
    let started = Instant::now();
    let (mut have, mut since, mut said) = (0, Instant::now(), false);
    let (mut banned, mut doubted) = (Vec::new(), false);
    while !torrent.complete() {
        if let Some(error) = torrent.error() {
            let last = error.lines().next().unwrap_or_default().to_owned();
            return Err(Failure::new(Exit::Storage, format!("the image could not be written: {last}")));
        }
        let progress = torrent.next_progress().await;
        report.progress(&progress, image);
        for host in torrent.banned() {
            if !banned.contains(&host) {
                report.warn(&format!(
                    "{host} has sent wrong pieces of {image}: it is asked for nothing more; check that machine's memory and disk"
                ));
                banned.push(host);
            }
        }
        if torrent.doubtful() && !doubted {
            doubted = true;
            report.warn(&format!(
                "pieces of {image} are wrong whoever sends them: check this machine's own memory and disk"
            ));
        }
        if progress.have != have {
            (have, since, said) = (progress.have, Instant::now(), false);
        }
        let still = since.elapsed();
        if patience.is_some_and(|limit| still >= limit) {
            return Err(Failure::new(
                Exit::Swarm,
                format!(
                    "nobody has sent a piece of {image} for {} ({} of {} are here, {} peers): \
                     check that `boottorrent serve` seeds it and that port 6981 is open between machines",
                    human_time(still),
                    human_size(progress.have),
                    human_size(progress.total),
                    progress.peers
                ),
            ));
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

#[cfg(test)]
mod tests {
    use super::*;

    /// An image that was renamed on the server has the torrent of its first name.
    #[test]
    fn an_image_is_called_as_it_was_asked_for() {
        let options = swarm::CreateOptions { name: "lab-new".into(), ..Default::default() };
        let torrent = swarm::create(&mut &[7; 100][..], 100, &options, &mut |_| {}).unwrap();
        let metainfo = Metainfo::parse(torrent.bytes().to_vec()).unwrap();
        for (line, name) in [
            ("boottorrent.image=lab", "lab"),
            ("boottorrent.torrent=http://s/lab.torrent", "lab"),
            ("boottorrent.torrent=http://s/get%20it?file=lab.torrent", "lab-new"),
            ("boottorrent.torrent=magnet:?xt=urn:btih:0123456789abcdef0123456789abcdef01234567", "lab-new"),
        ] {
            assert_eq!(image_name(&metainfo, &Params::parse(line).0), name, "{line}");
        }
    }
}
