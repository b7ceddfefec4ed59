// SPDX-License-Identifier: GPL-3.0-or-later
//! The LAN session: one port for all torrents, and what they share.

use crate::{
    account::Account,
    demand::Demand,
    discover::{self, Search},
    fallback,
    gate::{Bucket, Gate},
    greeting::Greetings,
    http::HttpSource,
    metainfo::Metainfo,
    networks::canonical,
    peer,
    plan::Bits,
    socket,
    store::{Head, Store},
    torrent::{Setup, Shared},
    wire,
};
use anyhow::{Context, ensure};
use bootspec::{InfoHash, PEER_PORT, Progress, units::MIN_RATE};
use librqbit_core::hash_id::Id20;
use librqbit_lsd::LocalServiceDiscovery;
use parking_lot::{Mutex, MutexGuard};
use std::{
    collections::HashMap,
    fs::File,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// How a session listens and how fast it may be.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// The TCP port for peers; 0: any.
    pub port: u16,
    /// Bytes a second sent at most.
    pub up: Option<u64>,
    /// Bytes a second received at most.
    pub down: Option<u64>,
    /// Local service discovery by multicast.
    pub lsd: bool,
    /// Connections of one torrent at most. About as many for each machine, so that all have as much to do.
    pub peers: usize,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self { port: PEER_PORT, up: None, down: None, lsd: true, peers: 32 }
    }
}

/// How often HAVEs go out, which wait for company.
const FLUSH: Duration = Duration::from_millis(25);
/// How often everybody looks whether there is more to ask for, or to show.
const LOOK: Duration = Duration::from_millis(100);
/// How often those are looked for who have nothing and want nothing.
const CLEAR: Duration = Duration::from_secs(10);
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(250);

/// A BitTorrent session. Cheap to clone.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    config: SessionConfig,
    port: u16,
    peer_id: Id20,
    gate: Arc<Gate>,
    torrents: Mutex<HashMap<InfoHash, Arc<Shared>>>,
    lsd: Option<LocalServiceDiscovery>,
    /// Held by the one torrent that is hashed in the background.
    hashing: tokio::sync::Mutex<()>,
    end: CancellationToken,
}

/// What to fetch, where to, and from whom.
pub struct Fetch {
    /// What.
    pub metainfo: Metainfo,
    /// The file to write to, as long as the payload.
    pub file: File,
    /// Where the payload's beginning goes instead, if apart.
    pub head: Option<Head>,
    /// Pieces that are in the file already, verified: see [`crate::survey()`].
    pub have: Bits,
    /// Blocks of 16 KiB of other pieces that are in the file as well, not verified: piece, block.
    pub begun: Vec<(u32, u32)>,
    /// Tracker URLs.
    pub trackers: Vec<String>,
    /// Peers to start with.
    pub peers: Vec<SocketAddr>,
    /// Addresses of the server, so that its share can be told from that of other machines.
    pub servers: Vec<IpAddr>,
    /// The server's payload endpoint.
    pub http: Option<HttpSource>,
    /// For trackers that speak HTTP.
    pub client: reqwest::Client,
    /// Bytes a second received of this payload at most, besides what the session says.
    pub down: Option<u64>,
}

/// How to seed.
#[derive(Clone, Copy, Debug)]
pub struct Seeding {
    /// Show each piece to one machine first (the server's seeder), or everything to everybody.
    pub deal: bool,
    /// The share of this torrent when several are wanted at once.
    pub weight: u8,
}

/// A torrent in a session. It goes on when this is dropped, until the session ends.
pub struct Torrent {
    shared: Arc<Shared>,
    account: Mutex<Account>,
}

impl Session {
    /// Listen. Errors: the port is taken.
    pub async fn start(config: SessionConfig) -> anyhow::Result<Self> {
        let listener = socket::listen(config.port)
            .await
            .with_context(|| format!("listening for peers on port {}", config.port))?;
        let port = listener.local_addr().context("asking for the port")?.port();
        let end = CancellationToken::new();
        let lsd = match config.lsd {
            true => discover::local(end.clone()).await,
            false => None,
        };
        let limited = |rate: u64| rate.max(MIN_RATE);
        let inner = Arc::new(Inner {
            port,
            peer_id: peer_id(),
            gate: Gate::new(config.up.map(limited), config.down.map(limited)),
            torrents: Mutex::default(),
            lsd,
            hashing: tokio::sync::Mutex::default(),
            end,
            config,
        });
        tokio::spawn(accept(inner.clone(), listener));
        Ok(Self(inner))
    }

    /// The port for peers.
    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// Seed a complete payload, at once: it is hashed as it is asked for. If it turns out not to be what the torrent
    /// says, nothing more is seeded, and [`Torrent::error`] says so. No tracker is told: the server's own tracker knows
    /// its own seeder. Errors: its length is not the torrent's.
    pub async fn seed(&self, metainfo: &Metainfo, file: File, how: Seeding) -> anyhow::Result<Torrent> {
        let (len, size) = (file.metadata().context("reading the payload")?.len(), metainfo.size());
        ensure!(len == size, "the payload does not match its torrent: it has {len} bytes instead of {size}");
        let store = Store::new(file, None, metainfo.clone())?;
        let have = Bits::all(store.layout().pieces());
        let setup = self.setup(metainfo.clone(), how);
        let shared = self.add(Shared::new(setup, store, have.clone(), have));
        let (inner, this) = (self.0.clone(), shared.clone());
        tokio::spawn(async move {
            // One after another: machines that boot need the disk and the processor more.
            let _turn = inner.hashing.lock().await;
            this.vouch_for_all().await;
        });
        Ok(Torrent { shared, account: Mutex::default() })
    }

    /// Fetch a payload, then go on seeding it.
    pub async fn fetch(&self, fetch: Fetch) -> anyhow::Result<Torrent> {
        let Fetch { metainfo, file, head, have, begun, trackers, peers, servers, http, client, down } = fetch;
        let store = Store::new(file, head, metainfo.clone())?;
        let how = Seeding { deal: false, weight: 1 };
        // Ranges over HTTP are those of a payload that is all of its torrent.
        let http = http.filter(|_| metainfo.is_whole());
        let nothing = Bits::none(have.len());
        let slow = down.map(|rate| Bucket::new(rate.max(MIN_RATE)));
        let setup = Setup { servers, http, slow, ..self.setup(metainfo.clone(), how) };
        let shared = self.add(Shared::new(setup, store, have, nothing));
        begun.into_iter().for_each(|(piece, block)| shared.state().picker.begun(piece, block));
        shared.known.configured(peers.into_iter());
        let lsd = if metainfo.private() { None } else { self.0.lsd.clone() };
        let (peer_id, port) = (shared.setup.peer_id, shared.setup.port);
        let search = Search { infohash: metainfo.infohash(), peer_id, port, trackers, lsd, client };
        let (stats, end, found) = (discover::stats(&shared), shared.setup.end.clone(), shared.clone());
        tokio::spawn(async move { discover::listen(search, stats, end, &found.known).await });
        tokio::spawn(discover::call(shared.clone()));
        tokio::spawn(fallback::run(shared.clone()));
        Ok(Torrent { shared, account: Mutex::default() })
    }

    /// What all torrents of the session are told, and this one of itself.
    fn setup(&self, metainfo: Metainfo, how: Seeding) -> Setup {
        Setup {
            metainfo,
            deal: how.deal,
            gate: self.0.gate.clone(),
            slow: None,
            servers: Vec::new(),
            http: None,
            peer_id: self.0.peer_id,
            port: self.0.port,
            weight: AtomicU64::new(how.weight.into()),
            limit: self.0.config.peers,
            end: self.0.end.child_token(),
        }
    }

    fn add(&self, shared: Arc<Shared>) -> Arc<Shared> {
        tokio::spawn(tick(shared.clone()));
        self.torrents().insert(shared.setup.metainfo.infohash(), shared.clone());
        shared
    }

    fn torrents(&self) -> MutexGuard<'_, HashMap<InfoHash, Arc<Shared>>> {
        self.0.torrents.lock()
    }

    /// Leave a swarm.
    pub fn remove(&self, infohash: InfoHash) {
        if let Some(shared) = self.torrents().remove(&infohash) {
            shared.setup.end.cancel();
        }
    }

    /// Leave all swarms and stop listening.
    pub fn stop(&self) {
        self.0.end.cancel();
    }
}

/// BEP 20: who we are, then chance.
pub(crate) fn peer_id() -> Id20 {
    let mut id = *b"-BT0100-            ";
    id[8..].copy_from_slice(&rand::random::<[u8; 12]>());
    Id20::new(id)
}

async fn accept(inner: Arc<Inner>, listener: TcpListener) {
    let greetings = Greetings::new();
    let all = async {
        loop {
            let Ok((stream, address)) = listener.accept().await else {
                // Out of file descriptors: others end meanwhile.
                sleep(Duration::from_millis(100)).await;
                continue;
            };
            let address = canonical(address);
            let Some(greeting) = greetings.begin(address.ip()) else { continue };
            let inner = inner.clone();
            tokio::spawn(async move {
                let greeted = tokio::select! {
                    greeted = greet(&inner, stream) => greeted,
                    () = greeting.end.cancelled() => Err(anyhow::anyhow!("it has not greeted us, and others call")),
                };
                drop(greeting);
                let ended = match greeted {
                    Ok((shared, stream, id)) => peer::run(&shared, stream, address, id, true).await,
                    Err(e) => Err(e),
                };
                if let Err(e) = ended {
                    tracing::debug!("{address}, which called: {e:#}");
                }
            });
        }
    };
    tokio::select! {
        () = all => {}
        () = inner.end.cancelled() => {}
    }
}

async fn greet(inner: &Inner, mut stream: TcpStream) -> anyhow::Result<(Arc<Shared>, TcpStream, Id20)> {
    let theirs = wire::read_handshake(&mut stream).await?;
    let infohash = InfoHash(theirs.info_hash.0);
    let shared = inner.torrents.lock().get(&infohash).cloned();
    let shared = shared.with_context(|| format!("no torrent {infohash}"))?;
    let hello = wire::write_handshake(&mut stream, theirs.info_hash, inner.peer_id);
    timeout(Duration::from_secs(5), hello).await.context("it does not listen")??;
    Ok((shared, stream, theirs.peer_id))
}

/// What happens by the clock.
async fn tick(shared: Arc<Shared>) {
    let (mut looked, mut cleared, dealing) = (shared.now(), shared.now(), shared.state().deal.is_some());
    while !shared.setup.end.is_cancelled() {
        shared.flush();
        let now = shared.now();
        let busy = !shared.complete() || (dealing && !shared.state().conns.is_empty());
        if busy && now.saturating_sub(looked) >= LOOK {
            looked = now;
            let conns: Vec<_> = shared.state().conns.values().cloned().collect();
            for conn in conns {
                shared.want_from(&conn);
                shared.show(&conn);
            }
        }
        if now.saturating_sub(cleared) >= CLEAR {
            cleared = now;
            shared.dismiss(now);
        }
        if busy {
            sleep(FLUSH).await;
        } else {
            // Nothing is fetched or shown: somebody may come, and those who are here may have to go.
            tokio::select! {
                () = sleep(CLEAR) => {}
                () = shared.joined.notified() => {}
                () = shared.setup.end.cancelled() => {}
            }
        }
    }
}

impl Torrent {
    /// The torrent's identity.
    pub fn infohash(&self) -> InfoHash {
        self.shared.setup.metainfo.infohash()
    }

    /// The share of this torrent when several are wanted at once.
    pub fn set_weight(&self, weight: u8) {
        self.shared.setup.weight.store(weight.into(), Ordering::Relaxed);
    }

    /// For who reads the payload before it is complete.
    pub fn demand(&self) -> Demand {
        Demand(self.shared.clone())
    }

    /// Bytes, rates and peers, now.
    pub fn progress(&self) -> Progress {
        self.account.lock().take(&self.shared)
    }

    /// Progress as a stream: the next state, a quarter of a second from now or at completion.
    pub async fn next_progress(&self) -> Progress {
        if self.complete() {
            sleep(TELL_EVERY).await;
        } else {
            let _ = timeout(TELL_EVERY, self.shared.until_done()).await;
        }
        self.progress()
    }

    /// A handle to the file of a payload that is complete, with what is known of it. None too where the payload is only a
    /// part of its torrent, or its beginning lies apart.
    pub fn payload(&self) -> Option<(File, Metainfo)> {
        let whole = self.shared.store.whole().filter(|_| self.complete())?;
        Some((whole.try_clone().ok()?, self.shared.setup.metainfo.clone()))
    }

    /// Whether every piece is here and verified.
    pub fn complete(&self) -> bool {
        self.shared.complete()
    }

    /// Who has sent wrong pieces, and is asked for nothing more.
    pub fn banned(&self) -> Vec<IpAddr> {
        self.shared.state().record.banned(self.shared.now())
    }

    /// Whether wrong pieces come from everybody, so that our own memory or disk is in doubt.
    pub fn doubtful(&self) -> bool {
        self.shared.state().record.doubtful()
    }

    /// Pieces that peers have sent and that were wrong.
    pub fn wrong(&self) -> u64 {
        self.shared.counters.wrong.load(Ordering::Relaxed)
    }

    /// Why nothing more will come, if so: the payload could not be written or read.
    pub fn error(&self) -> Option<String> {
        self.shared.error()
    }
}
