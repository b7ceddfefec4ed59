// SPDX-License-Identifier: GPL-3.0-or-later
//! One connection as others see it: what is to go out, and what is known of the other side.

use crate::{plan::Key, wire};
use librqbit_peer_protocol::{Message, Request, extended::PeerExtendedMessageIds};
use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Requests of one peer that are kept. Who sends more is out of his mind, or ours.
const MAX_REQUESTS: usize = 4096;

/// Blocks that are asked for together, in bytes.
const MERGED: u32 = 64 << 10;

/// What is left of a request without what is cancelled.
fn outside(request: Request, cancel: &Request) -> impl Iterator<Item = Request> {
    let (from, to) = (request.begin, request.begin + request.length);
    let (cut_from, cut_to) = match cancel.index == request.index {
        true => (cancel.begin.clamp(from, to), cancel.begin.saturating_add(cancel.length).clamp(from, to)),
        false => (to, to),
    };
    let parts = [(from, cut_from), (cut_to, to)].into_iter().filter(|(a, b)| a < b);
    parts.map(move |(a, b)| Request::new(request.index, a, b - a))
}

/// What waits to be sent.
#[derive(Default)]
pub(crate) struct Outbox {
    /// Messages, serialised.
    pub control: Vec<u8>,
    /// Pieces to announce, with the next message or the next tick.
    pub haves: Vec<u32>,
    /// Blocks that were asked for.
    pub uploads: VecDeque<Request>,
    /// Others could be asked for now: look again.
    pub look: bool,
    /// What the other side calls its extensions.
    pub theirs: PeerExtendedMessageIds,
}

/// A connection.
pub(crate) struct Conn {
    pub key: Key,
    /// The other end.
    pub address: SocketAddr,
    pub peer_id: [u8; 20],
    /// It called us.
    pub incoming: bool,
    /// Where it listens: known from its extension handshake, or from our call. 0: unknown.
    pub port: AtomicU16,
    /// It is one of ours, and tells that it lives while we wait.
    pub ours: AtomicBool,
    /// When it last said anything, in milliseconds of the torrent's clock.
    pub heard: AtomicU64,
    /// We have said that we want something.
    pub interested: AtomicBool,
    outbox: Mutex<Outbox>,
    wake: Notify,
    /// Ends the connection.
    pub end: CancellationToken,
}

impl Conn {
    pub(crate) fn new(key: Key, address: SocketAddr, peer_id: [u8; 20], incoming: bool) -> Self {
        Self {
            key,
            address,
            peer_id,
            incoming,
            port: AtomicU16::new(if incoming { 0 } else { address.port() }),
            ours: AtomicBool::new(false),
            heard: AtomicU64::new(0),
            interested: AtomicBool::new(false),
            outbox: Mutex::default(),
            wake: Notify::new(),
            end: CancellationToken::new(),
        }
    }

    /// When it last said anything, by the torrent's clock.
    pub(crate) fn heard(&self) -> Duration {
        Duration::from_millis(self.heard.load(Ordering::Relaxed))
    }

    pub(crate) fn ip(&self) -> IpAddr {
        self.address.ip()
    }

    /// Where others can call it.
    pub(crate) fn listens(&self) -> Option<SocketAddr> {
        let port = self.port.load(Ordering::Relaxed);
        (port != 0).then(|| SocketAddr::new(self.ip(), port))
    }

    pub(crate) fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().expect("no panic under the lock")
    }

    /// Something is in the outbox.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Wait until something is in the outbox.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Send a message soon.
    pub(crate) fn say(&self, message: &Message<'_>) {
        let mut outbox = self.outbox();
        let theirs = outbox.theirs;
        wire::put(&mut outbox.control, message, theirs);
        drop(outbox);
        self.wake();
    }

    /// Ask for blocks. One of ours is asked for neighbours together: a quarter of the work on both sides.
    pub(crate) fn ask(&self, requests: impl Iterator<Item = Request>) {
        if !self.ours.load(Ordering::Relaxed) {
            return self.say_all(requests.map(Message::Request));
        }
        let mut merged: Vec<Request> = Vec::new();
        for next in requests {
            match merged.last_mut() {
                Some(last) if last.begin + last.length == next.begin && last.length < MERGED => {
                    last.length += next.length;
                }
                // The second of two peers is asked from the end.
                Some(last) if next.begin + next.length == last.begin && last.length < MERGED => {
                    (last.begin, last.length) = (next.begin, last.length + next.length);
                }
                _ => merged.push(next),
            }
        }
        self.say_all(merged.into_iter().map(Message::Request));
    }

    /// Take requests back.
    pub(crate) fn cancel(&self, requests: impl Iterator<Item = Request>) {
        self.say_all(requests.map(Message::Cancel));
    }

    fn say_all(&self, messages: impl Iterator<Item = Message<'static>>) {
        let mut outbox = self.outbox();
        messages.for_each(|m| wire::put(&mut outbox.control, &m, PeerExtendedMessageIds::default()));
        drop(outbox);
        self.wake();
    }

    /// Announce a piece with the next flush.
    pub(crate) fn have(&self, piece: u32) {
        self.outbox().haves.push(piece);
    }

    /// Let another look be taken at what can be asked for.
    pub(crate) fn look(&self) {
        self.outbox().look = true;
        self.wake();
    }

    /// A request has come. False: too many.
    pub(crate) fn requested(&self, request: Request) -> bool {
        let mut outbox = self.outbox();
        outbox.uploads.push_back(request);
        let fits = outbox.uploads.len() <= MAX_REQUESTS;
        drop(outbox);
        self.wake();
        fits
    }

    /// A request, or a part of one, is taken back.
    pub(crate) fn cancelled(&self, cancel: Request) {
        let mut outbox = self.outbox();
        let uploads = std::mem::take(&mut outbox.uploads);
        outbox.uploads = uploads.into_iter().flat_map(|u| outside(u, &cancel)).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(cancel: (u32, u32, u32)) -> Vec<(u32, u32)> {
        let cancel = Request::new(cancel.0, cancel.1, cancel.2);
        outside(Request::new(7, 100, 50), &cancel).map(|r| (r.begin, r.length)).collect()
    }

    #[test]
    fn a_cancel_cuts_what_it_covers() {
        assert_eq!(left((8, 100, 50)), [(100, 50)], "another piece");
        assert_eq!(left((7, 0, 100)), [(100, 50)], "before it");
        assert_eq!(left((7, 100, 50)), []);
        assert_eq!(left((7, 100, 10)), [(110, 40)]);
        assert_eq!(left((7, 120, 10)), [(100, 20), (130, 20)]);
        assert_eq!(left((7, 140, u32::MAX)), [(100, 40)]);
    }
}
