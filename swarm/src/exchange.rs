// SPDX-License-Identifier: GPL-3.0-or-later
//! What goes over the connections of a torrent: pieces are shown and asked for, blocks come and go. Decisions are in
//! [`crate::plan`]; here they meet the connections and the file.

use crate::{
    conn::Conn,
    plan::{Asker, BLOCK, Order},
    torrent::Shared,
};
use librqbit_peer_protocol::{Message, Request};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// The longest block that is answered: what other clients ask for at most.
const MAX_REQUEST: u32 = 128 << 10;

impl Shared {
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
        let from = match self.setup.servers.contains(&conn.ip()) {
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
        self.arrived.notify_one();
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
        self.setup.gate.sent(self.class(), request.length as usize);
        let (now, len) = (self.now(), self.store.layout().len(request.index));
        conn.active.store(now.as_millis() as u64, Ordering::Relaxed);
        let mut state = self.state();
        let layout = self.store.layout();
        if state.given.sent(conn.ip(), request.index, request.length, layout, now) {
            self.setup.gate.fetches_again(Asker::at(conn.ip(), true));
        }
        if let Some(deal) = &mut state.deal {
            deal.sent(conn.key, request.index, request.length, len, now);
        }
        drop(state);
        self.show(conn);
    }
}
