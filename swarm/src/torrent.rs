// SPDX-License-Identifier: GPL-3.0-or-later
//! One torrent in a session: what all its connections share. Decisions are in
//! [`crate::plan`]; here they meet the connections and the file.

use crate::{
    conn::Conn,
    gate::{Gate, Waiting},
    http::HttpSource,
    known::Known,
    landing::WriteQueue,
    metainfo::Metainfo,
    plan::{Asker, BLOCK, Bits, Blame, Deal, Given, Key, Order, Picker, Record, Seat, displaced},
    store::Store,
    vouch::Unhashed,
};
use anyhow::bail;
use librqbit_core::hash_id::Id20;
use librqbit_peer_protocol::{Message, Request};
use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How long somebody may stay who has nothing that we lack, and does not say that he wants anything.
const USELESS: Duration = Duration::from_secs(120);

/// The longest block that is answered: what other clients ask for at most.
const MAX_REQUEST: u32 = 128 << 10;

/// Everything that changes.
pub(crate) struct State {
    pub picker: Picker,
    /// The server's seeder deals; others show what they have.
    pub deal: Option<Deal>,
    pub conns: HashMap<Key, Arc<Conn>>,
    /// What each address was sent.
    pub given: Given,
    /// Wrong pieces of which it is not known yet who was to blame.
    pub blame: Blame,
    /// Where those were who are gone, and have sent something of a piece that is not verified yet.
    pub left: HashMap<Key, IpAddr>,
    /// Who has sent right and wrong pieces.
    pub record: Record,
    next_key: Key,
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

/// See the module's text.
pub(crate) struct Shared {
    pub metainfo: Metainfo,
    pub store: Store,
    pub write_queue: WriteQueue,
    /// What we seed without having hashed it yet.
    pub unhashed: Unhashed,
    pub gate: Arc<Gate>,
    pub counters: Counters,
    /// Addresses of the server.
    pub servers: Vec<IpAddr>,
    pub http: Option<HttpSource>,
    pub known: Known,
    /// Calls that nobody has answered yet.
    pub calling: AtomicUsize,
    /// And such that are not waited for any longer before others are called.
    pub waiting: AtomicUsize,
    /// Requests that wait to be served, of all connections.
    pub queued: AtomicUsize,
    /// Connections that we have called by chance out of all whom we know.
    pub mixed: AtomicUsize,
    /// Ours, as we say it in handshakes.
    pub peer_id: Id20,
    /// Our port.
    pub port: u16,
    /// The share when several torrents are wanted at once.
    pub weight: AtomicU64,
    /// Connections at most.
    pub limit: usize,
    pub end: CancellationToken,
    state: Mutex<State>,
    began: Instant,
    error: OnceLock<String>,
    done: Notify,
    /// A connection has come.
    pub joined: Notify,
    /// Bytes of all pieces that the payload has part in.
    pub wanted: u64,
    /// When a peer last brought a new piece, in milliseconds since `began`.
    pub moved: AtomicU64,
}

/// What makes a [`Shared`].
pub(crate) struct Setup {
    pub metainfo: Metainfo,
    pub store: Store,
    pub have: Bits,
    /// Pieces that are hashed when somebody asks for them.
    pub unhashed: Bits,
    pub deal: bool,
    pub gate: Arc<Gate>,
    pub servers: Vec<IpAddr>,
    pub http: Option<HttpSource>,
    pub peer_id: Id20,
    pub port: u16,
    pub weight: u64,
    pub limit: usize,
    pub end: CancellationToken,
}

impl Shared {
    pub(crate) fn new(setup: Setup) -> Arc<Self> {
        let Setup {
            metainfo,
            store,
            have,
            unhashed,
            deal,
            gate,
            servers,
            http,
            peer_id,
            port,
            weight,
            limit,
            end,
        } = setup;
        let layout = store.layout();
        let bytes = have.iter().map(|p| u64::from(layout.len(p))).sum();
        let wanted = metainfo.wanted().map(|p| u64::from(layout.len(p))).sum();
        let mut picker = Picker::new(layout, have, rand::random());
        picker.only(metainfo.wanted());
        let state = State {
            picker,
            deal: deal.then(|| Deal::new(layout.pieces(), rand::random())),
            conns: HashMap::new(),
            given: Given::default(),
            blame: Blame::default(),
            left: HashMap::new(),
            record: Record::default(),
            next_key: 0,
        };
        Arc::new(Self {
            metainfo,
            store,
            write_queue: WriteQueue::default(),
            unhashed: Unhashed::new(unhashed),
            gate,
            counters: Counters { have: AtomicU64::new(bytes), ..Counters::default() },
            known: Known::new(servers.clone()),
            calling: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            queued: AtomicUsize::new(0),
            mixed: AtomicUsize::new(0),
            servers,
            http,
            peer_id,
            port,
            weight: AtomicU64::new(weight),
            limit,
            end,
            state: Mutex::new(state),
            began: Instant::now(),
            error: OnceLock::new(),
            done: Notify::new(),
            joined: Notify::new(),
            wanted,
            moved: AtomicU64::new(0),
        })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic under the lock")
    }

    /// The torrent's clock.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Queue up to send.
    pub(crate) fn queue(&self, conn: &Conn) -> Waiting {
        let asker = Asker::at(conn.ip(), self.fetches_again(conn));
        self.gate.ask(asker, self.class(), self.weight.load(Ordering::Relaxed))
    }

    /// Whether it fetches the same again and again.
    pub(crate) fn fetches_again(&self, conn: &Conn) -> bool {
        self.state().given.again(conn.ip(), self.store.layout(), self.now())
    }

    /// Which queue of the [`Gate`] is ours.
    fn class(&self) -> u64 {
        let hash = self.metainfo.infohash().0;
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
        self.end.cancel();
    }

    /// A connection has shaken hands. Errors: it is not wanted, with the reason.
    pub(crate) fn join(
        &self,
        address: SocketAddr,
        peer_id: Id20,
        incoming: bool,
    ) -> anyhow::Result<Arc<Conn>> {
        if peer_id == self.peer_id {
            bail!("this is ourselves");
        }
        let (now, mut state) = (self.now(), self.state());
        if state.record.is_banned(address.ip(), now) {
            bail!("it has sent wrong pieces before");
        }
        // A peer is an address and an id. Whoever has this id at another address is somebody else: a machine that moved,
        // or one that calls itself like that, and neither ends the other's connection.
        let same = |c: &&Arc<Conn>| c.peer_id == peer_id.0 && c.ip() == address.ip() && c.lives();
        if let Some(other) = state.conns.values().find(same) {
            // Who calls again has lost the old connection, a cable was pulled perhaps. Of two that crossed,
            // both ends keep the one that the smaller id began.
            let again = other.incoming && incoming;
            let crossed = other.incoming != incoming && (self.peer_id.0 < peer_id.0) != incoming;
            if !again && !crossed {
                bail!("there is a connection already");
            }
            other.end.cancel();
        } else {
            self.make_room(&state, address.ip(), incoming)?;
        }
        let key = state.next_key;
        state.next_key += 1;
        let conn = Arc::new(Conn::new(key, address, peer_id.0, incoming));
        conn.heard.store(now.as_millis() as u64, Ordering::Relaxed);
        conn.active.store(now.as_millis() as u64, Ordering::Relaxed);
        state.picker.join(key, self.servers.contains(&address.ip()));
        if state.blame.suspects(address.ip()) {
            state.picker.suspect([key]);
        }
        if let Some(deal) = &mut state.deal {
            deal.join(key, now);
        }
        state.conns.insert(key, conn.clone());
        self.joined.notify_one();
        Ok(conn)
    }

    /// A place for one more. Error: there is none.
    fn make_room(&self, state: &State, ip: IpAddr, incoming: bool) -> anyhow::Result<()> {
        let here = state.conns.values().filter(|c| c.lives());
        let crowded = incoming && here.clone().filter(|c| c.ip() == ip).count() >= self.each(ip);
        if !crowded && here.count() < self.limit {
            return Ok(());
        }
        // The server's connection is worth more than anybody's.
        let mut may_go = self.seats(state);
        may_go.retain(|s| (!crowded || s.ip == ip) && !self.servers.contains(&s.ip));
        let Some(gone) = displaced(&may_go, ip).and_then(|key| state.conns.get(&key)) else {
            bail!("there are {} connections already, and {} to {ip} at most", self.limit, self.each(ip));
        };
        tracing::debug!("{} makes room for {ip}", gone.address);
        gone.end.cancel();
        Ok(())
    }

    fn seats(&self, state: &State) -> Vec<Seat> {
        let now = self.now();
        state.conns.values().filter(|c| c.lives()).map(|c| c.seat(now)).collect()
    }

    /// End connections to those who have nothing and want nothing.
    pub(crate) fn dismiss(&self, now: Duration) {
        let state = self.state();
        let idle = |c: &&Arc<Conn>| {
            let seat = c.seat(now);
            !seat.waits && seat.quiet >= USELESS && !c.wants.load(Ordering::Relaxed)
        };
        let useless = |c: &&Arc<Conn>| !self.stays(&state, c) && !state.picker.interesting(c.key);
        for conn in state.conns.values().filter(idle).filter(useless) {
            tracing::debug!("{} has nothing and wants nothing", conn.address);
            conn.end.cancel();
        }
    }

    /// Whether a connection stays although neither side wants anything: a server that deals must know what others hold.
    fn stays(&self, state: &State, conn: &Conn) -> bool {
        let holds = state.deal.as_ref().is_some_and(|d| d.holds_something(conn.key));
        holds || self.servers.contains(&conn.ip())
    }

    /// Connections but those of others who have called us and are silent.
    pub(crate) fn working(&self) -> usize {
        let now = self.now();
        let counts = |c: &&Arc<Conn>| c.lives() && !(c.incoming && c.seat(now).is_silent());
        self.state().conns.values().filter(counts).count()
    }

    /// Connections from one address at most: several machines may be behind one address.
    fn each(&self, ip: IpAddr) -> usize {
        if ip.is_loopback() { self.limit } else { (self.limit / 8).max(4) }
    }

    /// A connection is over.
    pub(crate) fn leave(&self, conn: &Conn) {
        conn.forget(&self.queued);
        let mut state = self.state();
        state.conns.remove(&conn.key);
        state.remember(conn.key, conn.ip());
        let freed = state.picker.leave(conn.key);
        if let Some(deal) = &mut state.deal {
            deal.leave(conn.key);
        }
        if freed {
            state.conns.values().for_each(|c| c.look());
        }
    }

    /// A peer has got pieces, or came with them (a bitfield), of which that was not known. False: none.
    pub(crate) fn peer_has(&self, conn: &Conn, new: &[u32], came_with: bool) -> bool {
        if new.is_empty() {
            return false;
        }
        let now = self.now();
        let mut guard = self.state();
        let state = &mut *guard;
        for piece in new {
            state.picker.has(conn.key, *piece);
            match &mut state.deal {
                Some(deal) if came_with => deal.had(conn.key, *piece, now),
                Some(deal) => deal.has(conn.key, *piece, now),
                None => {}
            }
        }
        // What others hold, whoever deals need not send: it stays with them.
        let over = self.complete() && !self.stays(state, conn) && state.picker.peer_has_ours(conn.key);
        drop(guard);
        // Two that have everything have nothing to say to each other.
        if over {
            conn.end.cancel();
        } else {
            self.show(conn);
        }
        true
    }

    /// Show a peer the next pieces, if we deal.
    pub(crate) fn show(&self, conn: &Conn) {
        let now = self.now();
        let pieces = match &mut self.state().deal {
            Some(deal) => deal.show(conn.key, now),
            None => return,
        };
        if !pieces.is_empty() {
            conn.outbox().haves.extend(pieces);
            conn.wake();
        }
    }

    /// Ask a peer for as much as it should owe us.
    pub(crate) fn want_from(&self, conn: &Conn) {
        if self.complete() {
            return;
        }
        let now = self.now();
        let mut state = self.state();
        if !conn.interested.load(Ordering::Relaxed) && state.picker.interesting(conn.key) {
            conn.interested.store(true, Ordering::Relaxed);
            conn.say(&Message::Interested);
        }
        while let Some(order) = state.picker.pick(conn.key, now) {
            let victim = order.instead_of.and_then(|k| state.conns.get(&k).cloned());
            if let Some(victim) = victim {
                victim.cancel(self.requests(&order));
                victim.look();
            }
            conn.ask(self.requests(&order));
        }
    }

    pub(crate) fn requests(&self, order: &Order) -> impl Iterator<Item = Request> {
        let (piece, layout) = (order.piece, self.store.layout());
        order.blocks.iter().map(move |b| Request::new(piece, b * BLOCK, layout.block_len(piece, *b)))
    }

    /// A block has arrived. False: we have no use for it.
    pub(crate) fn received(self: &Arc<Self>, conn: &Conn, piece: u32, begin: u32, data: &[u8]) -> bool {
        let from = match self.servers.contains(&conn.ip()) {
            true => &self.counters.from_server,
            false => &self.counters.from_peers,
        };
        from.fetch_add(data.len() as u64, Ordering::Relaxed);
        let now = self.now();
        if !begin.is_multiple_of(BLOCK) {
            return false; // Never asked for.
        }
        let mut useful = false;
        for (n, data) in data.chunks(BLOCK as usize).enumerate() {
            useful |= self.block(conn, piece, begin / BLOCK + n as u32, data, now);
        }
        useful
    }

    fn block(self: &Arc<Self>, conn: &Conn, piece: u32, block: u32, data: &[u8], now: Duration) -> bool {
        let len = self.store.layout().block_len(piece, block);
        if data.len() != len as usize || len == 0 {
            return false; // Never asked for.
        }
        {
            let mut state = self.state();
            let Some(asked) = state.picker.claim(conn.key, piece, block, now) else { return false };
            conn.active.store(now.as_millis() as u64, Ordering::Relaxed);
            for other in asked.iter().filter_map(|k| state.conns.get(k)) {
                other.cancel(std::iter::once(Request::new(piece, block * BLOCK, len)));
            }
        }
        self.land(piece, block, data);
        true
    }

    pub(crate) fn verify(&self, piece: u32) {
        match self.store.verify(piece) {
            Ok(true) => {
                self.moved.store(self.now().as_millis() as u64, Ordering::Relaxed);
                self.state().credit(piece);
                self.have(piece);
            }
            Ok(false) => self.wrong(piece),
            Err(e) => self.fail(&e),
        }
    }

    /// A piece is verified and in the file: tell those who lack it.
    pub(crate) fn have(&self, piece: u32) {
        self.right(piece);
        let mut guard = self.state();
        let state = &mut *guard;
        if state.picker.have().has(piece) {
            return;
        }
        let partly = state.picker.was_begun(piece);
        state.picker.verified(piece, self.now());
        let len = u64::from(self.store.layout().len(piece));
        let have = self.counters.have.fetch_add(len, Ordering::Relaxed) + len;
        let complete = have == self.wanted;
        for conn in state.conns.values() {
            if complete && !self.stays(state, conn) && state.picker.peer_has_ours(conn.key) {
                conn.end.cancel();
            } else if state.deal.is_none() && (partly || !state.picker.peer_has(conn.key, piece)) {
                conn.have(piece);
            }
        }
        drop(guard);
        if complete {
            tracing::debug!("complete");
            self.flush();
            self.done.notify_waiters();
        }
    }

    /// Send the HAVEs that wait.
    pub(crate) fn flush(&self) {
        self.state().conns.values().filter(|c| !c.outbox().haves.is_empty()).for_each(|c| c.wake());
    }

    /// Whether a peer may have a block: it exists, we have it, and we have shown it.
    pub(crate) fn may_have(&self, conn: &Conn, request: &Request) -> bool {
        let len = self.store.layout().len(request.index);
        let within = request.length > 0
            && request.length <= MAX_REQUEST
            && request.begin.checked_add(request.length).is_some_and(|end| end <= len);
        let state = self.state();
        within
            && match &state.deal {
                Some(deal) => deal.shown(conn.key, request.index),
                None => state.picker.have().has(request.index),
            }
    }

    /// A block has gone out.
    pub(crate) fn sent(&self, conn: &Conn, request: &Request) {
        self.counters.uploaded.fetch_add(request.length.into(), Ordering::Relaxed);
        self.gate.sent(self.class(), request.length as usize);
        let (now, len) = (self.now(), self.store.layout().len(request.index));
        conn.active.store(now.as_millis() as u64, Ordering::Relaxed);
        let mut state = self.state();
        let layout = self.store.layout();
        if state.given.sent(conn.ip(), request.index, request.length, layout, now) {
            self.gate.fetches_again(Asker::at(conn.ip(), true));
        }
        if let Some(deal) = &mut state.deal {
            deal.sent(conn.key, request.index, request.length, len, now);
        }
        drop(state);
        self.show(conn);
    }
}
