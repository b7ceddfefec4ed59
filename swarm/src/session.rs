// SPDX-License-Identifier: GPL-3.0-or-later
//! The LAN session: one port, no DHT, no public tracker; tracker, local
//! service discovery (BEP 14) and peer exchange (BEP 11) together.

use crate::{
    account::Account,
    http::HttpSource,
    metainfo::Metainfo,
    steer,
    storage::{Payload, Storage},
    webseed,
};
use anyhow::Context;
use bootspec::{InfoHash, PEER_PORT, Progress};
use librqbit::{
    AddTorrent, AddTorrentOptions, ConnectionOptions, ListenerMode, ListenerOptions, ManagedTorrent,
    PeerConnectionOptions, SessionOptions, api::TorrentIdOrHash, limits::LimitsConfig,
};
use librqbit_core::hash_id::Id20;
use std::{
    fs::File,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

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
    /// Connections at most.
    pub peers: usize,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self { port: PEER_PORT, up: None, down: None, lsd: true, peers: 512 }
    }
}

/// Bytes a second: a block.
const MIN_RATE: u64 = bootspec::units::MIN_RATE;
/// Blocks of 16 KiB asked for ahead of each peer. Few, so that a slow server's
/// queue stays short and little is fetched twice when a faster peer takes over.
const REQUEST_WINDOW: usize = 32;
/// Pieces from which the first one is picked, over HTTP. Random, so that machines
/// have something to give each other; among the first, because the engine hashes all before it.
const FIRST_PIECES: u32 = 16;
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(250);

/// A BitTorrent session. Cheap to clone.
#[derive(Clone)]
pub struct Session {
    inner: Arc<librqbit::Session>,
    port: u16,
}

/// What to fetch, where to, and from whom.
pub struct Fetch {
    /// What.
    pub metainfo: Metainfo,
    /// An empty file (sparse, as long as the payload) to write to.
    pub file: File,
    /// Tracker URLs.
    pub trackers: Vec<String>,
    /// Peers to start with.
    pub peers: Vec<SocketAddr>,
    /// Addresses of the server, so that its share can be told from that of other machines.
    pub servers: Vec<IpAddr>,
    /// The server's payload endpoint.
    pub http: Option<HttpSource>,
}

/// A torrent in a session. It goes on when this is dropped, until the session ends.
pub struct Torrent {
    inner: Arc<ManagedTorrent>,
    payload: Arc<Payload>,
    account: Mutex<Account>,
    size: u64,
    http: Option<HttpSource>,
}

impl Session {
    /// Listen. Errors: the port is taken.
    pub async fn start(config: SessionConfig) -> anyhow::Result<Self> {
        let limit = |rate: Option<u64>| {
            // The engine's limiter never lets a block through that is larger than a second's worth.
            rate.and_then(|r| NonZeroU32::new(r.clamp(MIN_RATE, u32::MAX.into()) as u32))
        };
        let ipv4_only = !Path::new("/proc/net/if_inet6").exists();
        let options = SessionOptions {
            dht: None,
            listen: Some(ListenerOptions {
                mode: ListenerMode::TcpOnly,
                listen_addr: (Ipv6Addr::UNSPECIFIED, config.port).into(),
                ipv4_only,
                ..Default::default()
            }),
            connect: Some(ConnectionOptions {
                peer_opts: Some(PeerConnectionOptions {
                    connect_timeout: Some(Duration::from_secs(3)),
                    // A seeder that is limited serves many in turn: silence is no death. Who is really
                    // gone loses its pieces to faster peers long before.
                    read_write_timeout: Some(Duration::from_secs(60)),
                    keep_alive_interval: Some(Duration::from_secs(20)),
                    max_request_window: Some(REQUEST_WINDOW),
                }),
                ..Default::default()
            }),
            // Blocking file I/O permits; a steering stream holds one all the time.
            runtime_worker_threads: Some(16),
            ratelimits: LimitsConfig { upload_bps: limit(config.up), download_bps: limit(config.down) },
            peer_limit: Some(config.peers),
            disable_local_service_discovery: !config.lsd,
            ipv4_only,
            client_name_and_version: Some(concat!("boottorrent ", env!("CARGO_PKG_VERSION")).into()),
            ..Default::default()
        };
        let inner = librqbit::Session::new_with_opts(PathBuf::from("/nonexistent"), options)
            .await
            .with_context(|| format!("listening for peers on port {}", config.port))?;
        let port = inner.listen_addr().map_or(config.port, |a| a.port());
        Ok(Self { inner, port })
    }

    /// The port for peers.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Seed a complete payload. It is hashed first. No tracker is told: the
    /// server's own tracker knows its own seeder.
    pub async fn seed(&self, metainfo: &Metainfo, file: File) -> anyhow::Result<Torrent> {
        let have = vec![true; metainfo.pieces() as usize];
        let payload = Payload::new(file, metainfo.size(), metainfo.piece_length(), have);
        let inner = self.add(metainfo, &payload, Vec::new(), Vec::new()).await?;
        let checked = inner.wait_until_initialized().await;
        if checked.is_err() || !inner.stats().finished {
            self.remove(metainfo.infohash()).await?;
            anyhow::bail!("the payload does not match its torrent");
        }
        Ok(self.tend(inner, payload, metainfo, Vec::new(), None))
    }

    /// Fetch a payload, then go on seeding it.
    pub async fn fetch(&self, fetch: Fetch) -> anyhow::Result<Torrent> {
        let Fetch { metainfo, file, trackers, peers, servers, http } = fetch;
        let mut have = vec![false; metainfo.pieces() as usize];
        if let Some(http) = &http {
            match first_piece(&metainfo, &file, http).await {
                Ok(piece) => have[piece as usize] = true,
                Err(e) => tracing::debug!("starting empty: {e:#}"),
            }
        }
        let payload = Payload::new(file, metainfo.size(), metainfo.piece_length(), have);
        let inner = self.add(&metainfo, &payload, trackers, peers).await?;
        Ok(self.tend(inner, payload, &metainfo, servers, http))
    }

    async fn add(
        &self,
        metainfo: &Metainfo,
        payload: &Arc<Payload>,
        trackers: Vec<String>,
        peers: Vec<SocketAddr>,
    ) -> anyhow::Result<Arc<ManagedTorrent>> {
        let options = AddTorrentOptions {
            overwrite: true,
            output_folder: Some("/nonexistent".into()),
            storage_factory: Some(Storage::factory(payload.clone())),
            trackers: Some(trackers),
            initial_peers: Some(peers),
            ..Default::default()
        };
        // Without its own announce list: who to announce to is the caller's decision.
        let bare = metainfo.without_announce();
        let added =
            self.inner.add_torrent(AddTorrent::from_bytes(bare.bytes().clone()), Some(options)).await?;
        added.into_handle().context("the engine took no torrent")
    }

    fn tend(
        &self,
        inner: Arc<ManagedTorrent>,
        payload: Arc<Payload>,
        metainfo: &Metainfo,
        servers: Vec<IpAddr>,
        http: Option<HttpSource>,
    ) -> Torrent {
        let own = webseed::OwnPeer::default();
        // Both end with the last piece.
        tokio::spawn(steer::run(inner.clone(), payload.clone(), metainfo.piece_length()));
        tokio::spawn(webseed::run(self.port, metainfo.clone(), payload.clone(), http.clone(), own.clone()));
        let account = Mutex::new(Account::new(servers, own));
        Torrent { inner, payload, account, size: metainfo.size(), http }
    }

    /// Leave a swarm.
    pub async fn remove(&self, infohash: InfoHash) -> anyhow::Result<()> {
        self.inner.delete(TorrentIdOrHash::Hash(Id20::new(infohash.0)), false).await
    }

    /// Leave all swarms and stop listening.
    pub async fn stop(&self) {
        self.inner.stop().await;
    }
}

/// A machine that starts with a piece is known as one that has not everything
/// (it sends a bitfield), so that others tell it of theirs.
async fn first_piece(metainfo: &Metainfo, file: &File, http: &HttpSource) -> anyhow::Result<u32> {
    use std::os::unix::fs::FileExt;
    let piece = rand::random_range(0..metainfo.pieces().min(FIRST_PIECES));
    let data = http.piece(metainfo, piece).await?;
    file.write_all_at(&data, metainfo.piece_range(piece).start).context("writing the first piece")?;
    Ok(piece)
}

impl Torrent {
    /// The torrent's identity.
    pub fn infohash(&self) -> InfoHash {
        InfoHash(self.inner.info_hash().0)
    }

    /// Bytes, rates and peers, now.
    pub fn progress(&self) -> Progress {
        let mut account = self.account.lock().expect("no panic under the lock");
        account.take(&self.inner, &self.payload, self.size, self.http.as_ref())
    }

    /// Progress as a stream: the next state, a quarter of a second from now or at completion.
    pub async fn next_progress(&self) -> Progress {
        let until = Instant::now() + TELL_EVERY;
        let was_complete = self.complete();
        while Instant::now() < until && self.complete() == was_complete {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.progress()
    }

    /// Whether every piece is here and verified.
    pub fn complete(&self) -> bool {
        self.payload.complete()
    }

    /// Why the engine stopped, if it did: the payload could not be written or read.
    pub fn error(&self) -> Option<String> {
        self.inner.stats().error
    }
}
