// SPDX-License-Identifier: GPL-3.0-or-later
//! Payloads come by the swarm, with the agent's engine: relays that fetch one image at the same time send it to each other,
//! and the first server need not send it to each. What has come is kept over restarts.

use crate::{
    config,
    relay::{
        Here,
        told::{ImageCopy, Snapshot},
    },
};
use anyhow::{Context, Result, bail, ensure};
use bootspec::{InfoHash, PEER_PORT, units::human_time};
use reqwest::{Client, Url};
use std::{
    collections::HashSet,
    fs::{self, File},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use swarm::{Fetch, HttpSource, Metainfo, Session, SessionConfig, Torrent};

/// How long nothing may come.
const SILENCE: Duration = Duration::from_secs(120);
/// Relays talk to each other on the port behind those for HTTPS and machines' peers.
const PORT: u16 = PEER_PORT + 2;

/// The session in which they come.
pub struct Payloads {
    session: Session,
    client: Client,
    there: HashSet<InfoHash>,
}

impl Payloads {
    /// Listen for other relays.
    pub async fn start(serve: &config::Serve) -> Result<Payloads> {
        let port = if serve.peer_port == PEER_PORT { PORT } else { 0 };
        let settings = SessionConfig { port, lsd: false, up: serve.up, ..SessionConfig::default() };
        let session = match Session::start(settings.clone()).await {
            // It only matters where a firewall lets in no other port.
            Err(_) => Session::start(SessionConfig { port: 0, ..settings }).await,
            started => started,
        };
        let client = Client::builder()
            .user_agent(concat!("boottorrent-relay/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(5))
            .read_timeout(Duration::from_secs(15))
            .tls_certs_only([])
            .no_proxy()
            .build()
            .context("preparing HTTP")?;
        Ok(Payloads { session: session?, client, there: HashSet::new() })
    }

    /// Fetch a payload. Where it is, verified.
    pub async fn fetch(
        &mut self,
        copy: &ImageCopy,
        metainfo: Metainfo,
        here: &Here,
        snapshot: &Snapshot,
        work: &Path,
    ) -> Result<PathBuf> {
        let m = &copy.manifest;
        fs::create_dir_all(work).with_context(|| format!("creating {}", work.display()))?;
        let path = part(work, m.infohash);
        let file = open(&path, m.size)?;
        let (look, of) = (file.try_clone().context("sharing a file")?, metainfo.clone());
        let have = tokio::task::spawn_blocking(move || swarm::survey(&look, &of, |_| {})).await?;
        let have = have.with_context(|| format!("reading {}", path.display()))?;
        let host = here.first();
        let servers: Vec<IpAddr> =
            tokio::net::lookup_host(&host).await.map(|all| all.map(|a| a.ip()).collect()).unwrap_or_default();
        let payload: Url = format!("http://{host}/images/{}/payload?infohash={}", m.name, m.infohash)
            .parse()
            .context("the address of a payload")?;
        tracing::info!("image {}@{} is fetched from the swarm", m.name, m.version);
        let fetch = Fetch {
            metainfo,
            file: file.try_clone().context("sharing a file")?,
            head: None,
            have,
            begun: Vec::new(),
            trackers: vec![format!("http://{host}/announce")],
            peers: servers.iter().map(|ip| SocketAddr::new(*ip, snapshot.peers)).collect(),
            servers,
            http: Some(HttpSource::new(self.client.clone(), payload)),
            client: self.client.clone(),
            down: None,
        };
        let torrent = self.session.fetch(fetch).await.context("joining the swarm")?;
        let done = match whole(&torrent, m.infohash, here).await {
            Ok(()) => check(copy, file, &path).await,
            stopped => stopped,
        };
        match done {
            // It goes on sending to other relays, and to machines of the first server.
            Ok(()) => drop(self.there.insert(m.infohash)),
            Err(_) => self.session.remove(m.infohash),
        }
        done.map(|()| path)
    }

    /// A copy has it: the file's other name goes.
    pub fn landed(&self, infohash: InfoHash, work: &Path) {
        let _ = fs::remove_file(part(work, infohash));
    }

    /// Send no others any more, and keep no part of others.
    pub fn keep(&mut self, kept: &[InfoHash], work: &Path) {
        let gone: Vec<InfoHash> = self.there.iter().filter(|h| !kept.contains(h)).copied().collect();
        gone.into_iter().for_each(|infohash| self.stop(infohash));
        remove_parts(work, kept);
    }

    /// Send this one no more: its file is closed.
    pub fn stop(&mut self, infohash: InfoHash) {
        self.session.remove(infohash);
        self.there.remove(&infohash);
    }
}

impl Drop for Payloads {
    fn drop(&mut self) {
        self.session.stop();
    }
}

/// Remove what has come of others than these.
pub fn remove_parts(work: &Path, kept: &[InfoHash]) {
    let kept: Vec<PathBuf> = kept.iter().map(|infohash| part(work, *infohash)).collect();
    let files = fs::read_dir(work).into_iter().flatten().flatten().map(|f| f.path());
    for old in files.filter(|f| f.extension().is_some_and(|e| e == "part") && !kept.contains(f)) {
        let _ = fs::remove_file(old);
    }
}

fn part(work: &Path, infohash: InfoHash) -> PathBuf {
    work.join(format!("{infohash}.part"))
}

fn open(path: &Path, size: u64) -> Result<File> {
    let opening = || format!("opening {}", path.display());
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
    let file = file.with_context(opening)?;
    file.set_len(size).with_context(opening)?;
    Ok(file)
}

/// Wait for the last piece. Errors: nobody sends it, or it is not wanted any more.
async fn whole(torrent: &Torrent, infohash: InfoHash, here: &Here) -> Result<()> {
    let (mut have, mut since) = (0, Instant::now());
    while !torrent.complete() {
        if let Some(error) = torrent.error() {
            bail!("it cannot be written: {}", error.lines().next().unwrap_or_default());
        }
        let progress = torrent.next_progress().await;
        if progress.have != have {
            (have, since) = (progress.have, Instant::now());
        }
        ensure!(
            since.elapsed() < SILENCE,
            "nobody has sent any of it for {}: check that the first server seeds it and that its port 6981 can be reached",
            human_time(SILENCE)
        );
        let wanted =
            here.snapshot().is_some_and(|s| s.images.iter().any(|c| c.manifest.infohash == infohash));
        ensure!(wanted, "the first server has it no more");
    }
    Ok(())
}

/// Whether all of it is what the first server's manifest says, and a signature with it.
async fn check(copy: &ImageCopy, file: File, path: &Path) -> Result<()> {
    let (size, Some(said)) = (copy.manifest.size, copy.manifest.sha256) else { return Ok(()) };
    let sum = tokio::task::spawn_blocking(move || swarm::sha256(&file, None, size, |_| {})).await?;
    let sum = sum.with_context(|| format!("reading {}", path.display()))?;
    if sum != said {
        let _ = fs::remove_file(path);
        bail!("the SHA-256 of its payload is {sum}, and the first server says {said}: it is not served");
    }
    Ok(())
}
