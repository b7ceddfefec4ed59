// SPDX-License-Identifier: GPL-3.0-or-later
//! librqbit as the seeder (`serve --seeder librqbit`), reading from open files.

use anyhow::{Context, Result, bail};
use bootspec::{InfoHash, units::MIN_RATE};
use librqbit::{
    AddTorrent, AddTorrentOptions, ConnectionOptions, ListenerMode, ListenerOptions, ManagedTorrentShared,
    PeerConnectionOptions, Session, SessionOptions, TorrentMetadata,
    api::TorrentIdOrHash,
    limits::LimitsConfig,
    storage::{BoxStorageFactory, StorageFactory, StorageFactoryExt, TorrentStorage},
};
use librqbit_core::hash_id::Id20;
use std::{
    fs::File,
    net::Ipv6Addr,
    num::NonZeroU32,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use swarm::Metainfo;

/// A librqbit session without DHT, trackers and local discovery.
pub struct LibrqbitSeeder {
    session: Arc<Session>,
    port: u16,
}

impl LibrqbitSeeder {
    /// Listen on `port`; send at most `up` bytes a second; talk to `peers` at once.
    pub async fn start(port: u16, up: Option<u64>, peers: usize) -> Result<Self> {
        let ipv4_only = !Path::new("/proc/net/if_inet6").exists();
        // Its limiter never lets a block through that is larger than a second's worth.
        let upload_bps = up.and_then(|r| NonZeroU32::new(r.clamp(MIN_RATE, u32::MAX.into()) as u32));
        let options = SessionOptions {
            dht: None,
            listen: Some(ListenerOptions {
                mode: ListenerMode::TcpOnly,
                listen_addr: (Ipv6Addr::UNSPECIFIED, port).into(),
                ipv4_only,
                ..Default::default()
            }),
            connect: Some(ConnectionOptions {
                peer_opts: Some(PeerConnectionOptions {
                    read_write_timeout: Some(Duration::from_secs(60)),
                    keep_alive_interval: Some(Duration::from_secs(20)),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ratelimits: LimitsConfig { upload_bps, download_bps: None },
            peer_limit: Some(peers),
            disable_local_service_discovery: true,
            ipv4_only,
            ..Default::default()
        };
        let session = Session::new_with_opts(PathBuf::from("/nonexistent"), options).await?;
        let port = session.listen_addr().map_or(port, |a| a.port());
        Ok(Self { session, port })
    }

    /// The port for peers.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Hash a payload and seed it.
    pub async fn seed(&self, metainfo: &Metainfo, file: File) -> Result<()> {
        let options = AddTorrentOptions {
            overwrite: true,
            output_folder: Some("/nonexistent".into()),
            storage_factory: Some(Payload(Arc::new(file)).boxed()),
            trackers: Some(Vec::new()),
            ..Default::default()
        };
        let added = self.session.add_torrent(AddTorrent::from_bytes(metainfo.bytes().clone()), Some(options));
        let torrent = added.await?.into_handle().context("the engine took no torrent")?;
        let checked = torrent.wait_until_initialized().await;
        if checked.is_err() || !torrent.stats().finished {
            self.remove(metainfo.infohash()).await?;
            bail!("the payload does not match its torrent");
        }
        Ok(())
    }

    /// Leave a swarm.
    pub async fn remove(&self, infohash: InfoHash) -> Result<()> {
        self.session.delete(TorrentIdOrHash::Hash(Id20::new(infohash.0)), false).await
    }

    /// Leave all swarms and stop listening.
    pub async fn stop(&self) {
        self.session.stop().await;
    }
}

/// A payload that is read only.
#[derive(Clone)]
struct Payload(Arc<File>);

impl StorageFactory for Payload {
    type Storage = Payload;

    fn create(&self, _: &ManagedTorrentShared, _: &TorrentMetadata) -> Result<Payload> {
        Ok(self.clone())
    }

    fn clone_box(&self) -> BoxStorageFactory {
        self.clone().boxed()
    }
}

impl TorrentStorage for Payload {
    fn init(&mut self, _: &ManagedTorrentShared, _: &TorrentMetadata) -> Result<()> {
        Ok(())
    }

    fn pread_exact(&self, _: usize, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.0.read_exact_at(buf, offset).with_context(|| format!("reading the payload at {offset}"))
    }

    fn pwrite_all(&self, _: usize, _: u64, _: &[u8]) -> Result<()> {
        bail!("a payload that is seeded is not written")
    }

    fn remove_file(&self, _: usize, _: &Path) -> Result<()> {
        Ok(())
    }

    fn remove_directory_if_empty(&self, _: &Path) -> Result<()> {
        Ok(())
    }

    fn ensure_file_length(&self, _: usize, _: u64) -> Result<()> {
        Ok(())
    }

    fn take(&self) -> Result<Box<dyn TorrentStorage>> {
        Ok(Box::new(self.clone()))
    }
}
