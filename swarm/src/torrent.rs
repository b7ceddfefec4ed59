// SPDX-License-Identifier: GPL-3.0-or-later
//! One torrent in a session: what all its connections share. Who is connected is in `members`, what goes over the
//! connections in `exchange`.

use crate::{
    conn::Conn,
    gate::{Gate, Waiting},
    http::HttpSource,
    known::Known,
    metainfo::Metainfo,
    plan::{Asker, Bits, Blame, Deal, Given, PeerKey, Picker, Record},
    store::Store,
    write_queue::WriteQueue,
};
use librqbit_core::hash_id::Id20;
use parking_lot::{Mutex, MutexGuard};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Everything that changes.
pub(crate) struct State {
    pub picker: Picker,
    /// The server's seeder deals; others show what they have.
    pub deal: Option<Deal>,
    pub conns: HashMap<PeerKey, Arc<Conn>>,
    /// What each address was sent.
    pub given: Given,
    /// Wrong pieces of which it is not known yet who was to blame.
    pub blame: Blame,
    /// Where those were who are gone, and have sent something of a piece that is not verified yet.
    pub left: HashMap<PeerKey, IpAddr>,
    /// Who has sent right and wrong pieces.
    pub record: Record,
    pub next_key: PeerKey,
}

/// Bytes by where they came from, repeats included.
#[derive(Default)]
pub(crate) struct Counters {
    pub from_server: AtomicU64,
    pub from_peers: AtomicU64,
    pub uploaded: AtomicU64,
    pub have: AtomicU64,
    /// Pieces, not bytes.
    pub wrong: AtomicU64,
}

/// What a torrent is told when it begins.
pub(crate) struct Setup {
    pub metainfo: Metainfo,
    /// Show each piece to one machine first.
    pub deal: bool,
    pub gate: Arc<Gate>,
    /// How fast this one may come, where it must be slower than the session.
    pub slow: Option<crate::gate::Bucket>,
    /// Addresses of the server.
    pub servers: Vec<IpAddr>,
    pub http: Option<HttpSource>,
    /// Ours, as we say it in handshakes.
    pub peer_id: Id20,
    /// Our port.
    pub port: u16,
    /// The share when several torrents are wanted at once. It may change.
    pub weight: AtomicU64,
    /// Connections at most.
    pub limit: usize,
    pub end: CancellationToken,
}

/// See the module's text.
pub(crate) struct Shared {
    pub setup: Setup,
    pub store: Store,
    pub write_queue: WriteQueue,
    /// What we seed without having hashed it yet.
    pub unhashed: Mutex<Bits>,
    pub counters: Counters,
    pub known: Known,
    /// Calls that nobody has answered yet.
    pub calling: AtomicUsize,
    /// And such that are not waited for any longer before others are called.
    pub waiting: AtomicUsize,
    /// Requests that wait to be served, of all connections.
    pub queued: AtomicUsize,
    /// Connections that we have called by chance out of all whom we know.
    pub mixed: AtomicUsize,
    state: Mutex<State>,
    began: Instant,
    error: OnceLock<String>,
    pub done: Notify,
    /// A piece was verified: for a reader who does not wait for all of them.
    pub arrived: Notify,
    /// Such a reader waits for another.
    pub wanted_now: Notify,
    /// A connection has come.
    pub joined: Notify,
    /// Bytes of all pieces that the payload has part in.
    pub wanted: u64,
    /// When a peer last brought a new piece, in milliseconds since `began`.
    pub moved: AtomicU64,
}

impl Shared {
    /// `have`: pieces that are in the file. `unhashed`: those of them that are hashed when somebody asks for them.
    pub(crate) fn new(setup: Setup, store: Store, have: Bits, unhashed: Bits) -> Arc<Self> {
        let layout = store.layout();
        let bytes = have.iter().map(|p| u64::from(layout.len(p))).sum();
        let wanted = setup.metainfo.wanted().map(|p| u64::from(layout.len(p))).sum();
        let mut picker = Picker::new(layout, have, rand::random());
        picker.only(setup.metainfo.wanted());
        let state = State {
            picker,
            deal: setup.deal.then(|| Deal::new(layout.pieces(), rand::random())),
            conns: HashMap::new(),
            given: Given::default(),
            blame: Blame::default(),
            left: HashMap::new(),
            record: Record::default(),
            next_key: 0,
        };
        Arc::new(Self {
            known: Known::new(setup.servers.clone()),
            setup,
            store,
            write_queue: WriteQueue::default(),
            unhashed: Mutex::new(unhashed),
            counters: Counters { have: AtomicU64::new(bytes), ..Counters::default() },
            calling: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            queued: AtomicUsize::new(0),
            mixed: AtomicUsize::new(0),
            state: Mutex::new(state),
            began: Instant::now(),
            error: OnceLock::new(),
            done: Notify::new(),
            arrived: Notify::new(),
            wanted_now: Notify::new(),
            joined: Notify::new(),
            wanted,
            moved: AtomicU64::new(0),
        })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// The torrent's clock.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Queue up to send.
    pub(crate) fn queue(&self, conn: &Conn) -> Waiting {
        let asker = Asker::at(conn.ip(), self.fetches_again(conn));
        self.setup.gate.ask(asker, self.class(), self.setup.weight.load(Ordering::Relaxed))
    }

    /// Whether it fetches the same again and again.
    pub(crate) fn fetches_again(&self, conn: &Conn) -> bool {
        self.state().given.again(conn.ip(), self.store.layout(), self.now())
    }

    /// Which queue of the [`Gate`] is ours.
    pub(crate) fn class(&self) -> u64 {
        let hash = self.setup.metainfo.infohash().0;
        u64::from_be_bytes([hash[0], hash[1], hash[2], hash[3], hash[4], hash[5], hash[6], hash[7]])
    }

    pub(crate) fn complete(&self) -> bool {
        self.counters.have.load(Ordering::Relaxed) == self.wanted
    }

    /// Returns when all is verified, or nothing more will be.
    pub(crate) async fn until_done(&self) {
        loop {
            let notified = self.done.notified();
            if self.complete() || self.error.get().is_some() {
                return;
            }
            notified.await;
        }
    }

    /// Why nothing more will come.
    pub(crate) fn error(&self) -> Option<String> {
        self.error.get().cloned()
    }

    /// The payload cannot be written or read: the end.
    pub(crate) fn fail(&self, error: &std::io::Error) {
        let _ = self.error.set(error.to_string());
        self.done.notify_waiters();
    }

    /// What we seed is not the payload: the end, and of all connections.
    pub(crate) fn give_up(&self, why: String) {
        let _ = self.error.set(why);
        self.setup.end.cancel();
    }
}
