// SPDX-License-Identifier: GPL-3.0-or-later
//! Finding peers, and calling them: tracker (BEP 3, 15), local service discovery
//! (BEP 14), peer exchange (BEP 11, in [`crate::peer`]). Never the DHT.

use crate::{
    known::{Call, Known, Source},
    peer, socket,
    torrent::Shared,
    wire,
};
use anyhow::Context;
use bootspec::InfoHash;
use librqbit_core::hash_id::Id20;
use librqbit_lsd::{LocalServiceDiscovery, LocalServiceDiscoveryOptions};
use librqbit_tracker_comms::{
    TorrentStatsProvider, TrackerComms, TrackerCommsStats, TrackerCommsStatsState, UdpTrackerClient,
};
use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;
use url::{Host, Url};

/// Connections that a machine looks for at once, with whoever it hears of first.
const FIRST: usize = 6;
/// And calls that it makes besides, to anybody of all whom it knows when it has [`LISTENED`]. Machines that start
/// together hear of each other first, and would be an island: enough connections, none of them
/// to the rest. A graph where everybody calls a few of all by chance holds together at any size.
const MIXED: usize = 6;
/// Trackers have answered, and neighbours have told whom they know.
const LISTENED: Duration = Duration::from_secs(1);
/// How long a call may take: two attempts of the kernel's. A third would come later than our own next one.
const CONNECT: Duration = Duration::from_secs(2);
/// How long one may take that is anybody's word, until somebody else is called besides; and how many of these there are.
const SOON: Duration = Duration::from_millis(500);
const UNANSWERED: usize = 32;
/// A connection that lasts so long was worth the call.
const STAYED: Duration = Duration::from_secs(1);
/// How often somebody new is looked for without any news.
const LOOK: Duration = Duration::from_millis(250);
/// Until the next look after news: there may be many.
const BREATH: Duration = Duration::from_millis(20);
/// Without a new piece for this long, one more is called, each time.
const DRY: Duration = Duration::from_secs(2);

/// When local discovery asks again, doubled each time.
const AGAIN: Duration = Duration::from_secs(3);
const AGAIN_AT_LAST: Duration = Duration::from_secs(300);

/// Call peers until the torrent is complete. A seeder waits to be called.
pub(crate) async fn call(shared: Arc<Shared>) {
    let (mut more, mut since) = (0, shared.now());
    loop {
        let moved = Duration::from_millis(shared.moved.load(Ordering::Relaxed)).max(since);
        if shared.now().saturating_sub(moved) >= DRY {
            (more, since) = (more + 1, shared.now());
        }
        // Who is just being called counts: else the first to start call each other all, and later ones find no room.
        // Who has called us and is silent does not: else such keep us from calling others.
        let connected = shared.working() + shared.calling.load(Ordering::Relaxed);
        let at: HashSet<SocketAddr> = shared.state().conns.values().filter_map(|c| c.listens()).collect();
        let mix = shared.now() >= LISTENED && shared.mixed.load(Ordering::Relaxed) < MIXED;
        let wanted = connected < FIRST + more || mix;
        let wanted =
            wanted && connected < shared.setup.limit && shared.waiting.load(Ordering::Relaxed) < UNANSWERED;
        if let Some((address, source)) = shared.known.next(wanted, &at) {
            let shared = shared.clone();
            shared.calling.fetch_add(1, Ordering::Relaxed);
            shared.mixed.fetch_add(mix.into(), Ordering::Relaxed);
            tokio::spawn(async move {
                let called = one(&shared, address, source).await;
                shared.mixed.fetch_sub(mix.into(), Ordering::Relaxed);
                if let Err(e) = &called {
                    tracing::debug!("{address}: {e:#}");
                }
            });
            continue;
        }
        tokio::select! {
            () = shared.until_done() => return,
            () = shared.setup.end.cancelled() => return,
            () = shared.known.news() => sleep(BREATH).await,
            () = sleep(LOOK) => {}
        }
    }
}

async fn one(shared: &Arc<Shared>, address: SocketAddr, source: Source) -> anyhow::Result<()> {
    let greeted = answer(shared, address, source).await;
    let began = shared.now();
    let (ended, answered) = match greeted {
        Ok((stream, peer_id)) => (peer::run(shared, stream, address, peer_id, false).await, true),
        Err(e) => (Err(e), false),
    };
    // Who has no room, or is the same peer by another address, is not called again soon.
    let stayed = answered && shared.now().saturating_sub(began) >= STAYED;
    let how = match (stayed, answered) {
        (true, _) => Call::Worked,
        (false, true) => Call::Answered,
        (false, false) => Call::Failed,
    };
    shared.known.over(address, how);
    ended
}

/// Call. An address that is anybody's word, and that does not answer soon, does not keep others from being called.
async fn answer(shared: &Shared, address: SocketAddr, source: Source) -> anyhow::Result<(TcpStream, Id20)> {
    let mut greeted = Box::pin(greet(shared, address));
    let patience = if source >= Source::Local { SOON } else { CONNECT * 10 };
    let soon = timeout(patience, &mut greeted).await;
    shared.calling.fetch_sub(1, Ordering::Relaxed);
    match soon {
        Ok(greeted) => greeted,
        Err(_) => {
            shared.waiting.fetch_add(1, Ordering::Relaxed);
            let greeted = greeted.await;
            shared.waiting.fetch_sub(1, Ordering::Relaxed);
            greeted
        }
    }
}

async fn greet(shared: &Shared, address: SocketAddr) -> anyhow::Result<(TcpStream, Id20)> {
    let mut stream = timeout(CONNECT, socket::connect(address)).await.context("no answer")??;
    let infohash = Id20::new(shared.setup.metainfo.infohash().0);
    wire::write_handshake(&mut stream, infohash, shared.setup.peer_id).await?;
    let theirs = wire::read_handshake(&mut stream).await?;
    anyhow::ensure!(theirs.info_hash == infohash, "it answers for another torrent");
    Ok((stream, theirs.peer_id))
}

/// Whom to look for, and where.
pub(crate) struct Search {
    pub infohash: InfoHash,
    /// Ours.
    pub peer_id: Id20,
    pub port: u16,
    pub trackers: Vec<String>,
    pub lsd: Option<LocalServiceDiscovery>,
    /// For trackers that speak HTTP.
    pub client: reqwest::Client,
}

/// Local service discovery. Without multicast there is still the tracker.
pub(crate) async fn local(end: CancellationToken) -> Option<LocalServiceDiscovery> {
    let options = LocalServiceDiscoveryOptions { cancel_token: end, ..Default::default() };
    LocalServiceDiscovery::new(options).await.map_err(|e| tracing::debug!("{e:#}")).ok()
}

/// What a tracker is told of a fetch.
pub(crate) fn stats(shared: &Arc<Shared>) -> Box<dyn TorrentStatsProvider> {
    Box::new(Stats(shared.clone()))
}

/// Listen to the trackers, and to the network, until `end`.
pub(crate) async fn listen(
    search: Search,
    stats: Box<dyn TorrentStatsProvider>,
    end: CancellationToken,
    known: &Known,
) {
    let Search { infohash, peer_id, port, trackers, lsd, client } = search;
    let infohash = Id20::new(infohash.0);
    let local = async {
        let Some(lsd) = lsd else { return };
        let mut patience = AGAIN;
        loop {
            let mut found = Box::pin(lsd.announce(infohash, Some(port)));
            let heard = async {
                while let Some(address) = found.next().await {
                    known.heard(address);
                }
                std::future::pending::<()>().await;
            };
            // A datagram may be lost, and by itself the next would come in five minutes.
            let _ = timeout(patience, heard).await;
            patience = (patience * 2).min(AGAIN_AT_LAST);
        }
    };
    let tracked = async {
        let urls: HashSet<Url> = trackers.iter().filter_map(|t| t.parse().ok()).collect();
        let here = urls.iter().any(is_here);
        let Ok(udp) = UdpTrackerClient::new(end.clone(), None).await else { return };
        let found = TrackerComms::start(infohash, peer_id, urls, stats, None, port, client, udp);
        let Some(mut found) = found else { return };
        while let Some(address) = found.next().await {
            known.tracked(address, here);
        }
    };
    let both = async { tokio::join!(local, tracked) };
    tokio::select! {
        _ = both => {}
        () = end.cancelled() => {}
    }
}

/// Whether a tracker is on this machine.
fn is_here(tracker: &Url) -> bool {
    match tracker.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

struct Stats(Arc<Shared>);

impl TorrentStatsProvider for Stats {
    fn get(&self) -> TrackerCommsStats {
        TrackerCommsStats {
            uploaded_bytes: self.0.counters.uploaded.load(Ordering::Relaxed),
            downloaded_bytes: self.0.counters.have.load(Ordering::Relaxed),
            total_bytes: self.0.wanted,
            torrent_state: TrackerCommsStatsState::Live,
        }
    }
}

/// Who knows no more than an infohash has nothing, and wants something.
pub(crate) struct Nothing;

impl TorrentStatsProvider for Nothing {
    fn get(&self) -> TrackerCommsStats {
        TrackerCommsStats {
            uploaded_bytes: 0,
            downloaded_bytes: 0,
            total_bytes: 1,
            torrent_state: TrackerCommsStatsState::Live,
        }
    }
}
