// SPDX-License-Identifier: GPL-3.0-or-later
//! One connection as others see it: what is to go out, and what is known of the other side.

use crate::{
    networks::with_port,
    plan::{PeerKey, Seat},
    wire,
};
use librqbit_peer_protocol::{Message, Request, extended::PeerExtendedMessageIds};
use parking_lot::{Mutex, MutexGuard};
use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Requests of one peer that are kept. Who sends more is out of his mind, or ours.
pub(crate) const MAX_REQUESTS: usize = 4096;

/// Blocks that are asked for together, in bytes.
const MERGED: u32 = 64 << 10;

/// Requests of all peers of a torrent together, and what each may have kept when there are so many.
const MAX_ALL: usize = 1 << 20;
const MAX_EACH: usize = 128;

/// What may wait to be said, in bytes, to a peer that does not read. The largest that an honest one is sent at once are
/// the requests for a piece of 64 MiB.
pub(crate) const MAX_CONTROL: usize = 256 << 10;

/// Parts of the metainfo that may wait to be sent: all of the largest.
const MAX_PARTS: usize = crate::MAX_METAINFO / (16 << 10);

/// What is left of a request when another is cancelled. None: the cancel does not mean this one. BEP 3 takes back exactly
/// what was asked for. Ours ask for neighbours together and take blocks of them back: these are cut off an end. What is
/// in the middle comes twice, since two requests instead of one would make a queue grow by being emptied.
fn without(request: &Request, cancel: &Request) -> Option<Option<Request>> {
    let (from, to) = (request.begin, request.begin.checked_add(request.length)?);
    let (cut_from, cut_to) = (cancel.begin, cancel.begin.checked_add(cancel.length)?);
    let within = cancel.length > 0 && cancel.index == request.index && from <= cut_from && cut_to <= to;
    let left = |from: u32, to: u32| (from < to).then(|| Request::new(request.index, from, to - from));
    match (within, cut_from == from, cut_to == to) {
        (true, true, _) => Some(left(cut_to, to)),
        (true, _, true) => Some(left(from, cut_from)),
        _ => None,
    }
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
    /// Parts of the metainfo that were asked for.
    pub parts: VecDeque<u32>,
    /// Others could be asked for now: look again.
    pub look: bool,
    /// What the other side calls its extensions.
    pub theirs: PeerExtendedMessageIds,
}

/// A connection.
pub(crate) struct Conn {
    pub key: PeerKey,
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
    /// When a block last went either way, by the same clock.
    pub active: AtomicU64,
    /// We have said that we want something.
    pub interested: AtomicBool,
    /// It has said so.
    pub wants: AtomicBool,
    outbox: Mutex<Outbox>,
    wake: Notify,
    /// Ends the connection.
    pub end: CancellationToken,
}

impl Conn {
    pub(crate) fn new(key: PeerKey, address: SocketAddr, peer_id: [u8; 20], incoming: bool) -> Self {
        Self {
            key,
            address,
            peer_id,
            incoming,
            port: AtomicU16::new(if incoming { 0 } else { address.port() }),
            ours: AtomicBool::new(false),
            heard: AtomicU64::new(0),
            active: AtomicU64::new(0),
            interested: AtomicBool::new(false),
            wants: AtomicBool::new(false),
            outbox: Mutex::default(),
            wake: Notify::new(),
            end: CancellationToken::new(),
        }
    }

    /// It is not about to end.
    pub(crate) fn lives(&self) -> bool {
        !self.end.is_cancelled()
    }

    /// How it stands at `now`, for when others want its place.
    pub(crate) fn seat(&self, now: Duration) -> Seat {
        let quiet = now.saturating_sub(Duration::from_millis(self.active.load(Ordering::Relaxed)));
        Seat { key: self.key, ip: self.ip(), quiet, waits: !self.outbox().uploads.is_empty() }
    }

    pub(crate) fn ip(&self) -> IpAddr {
        self.address.ip()
    }

    /// Where others can call it.
    pub(crate) fn listens(&self) -> Option<SocketAddr> {
        let port = self.port.load(Ordering::Relaxed);
        (port != 0).then(|| with_port(self.address, port))
    }

    pub(crate) fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock()
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
        self.bound(outbox);
    }

    /// Something was added to what is to be said: somebody who does not read is hung up on.
    fn bound(&self, outbox: MutexGuard<'_, Outbox>) {
        if outbox.control.len() > MAX_CONTROL {
            self.end.cancel();
        }
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
        self.bound(outbox);
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

    /// A request has come. `all`: how many wait in this torrent. False: too many.
    pub(crate) fn requested(&self, request: Request, all: &AtomicUsize) -> bool {
        let mut outbox = self.outbox();
        let (here, all) = (outbox.uploads.len(), all.fetch_add(1, Ordering::Relaxed));
        outbox.uploads.push_back(request);
        drop(outbox);
        self.wake();
        here < MAX_REQUESTS && (all < MAX_ALL || here < MAX_EACH)
    }

    /// The next block to send.
    pub(crate) fn next(&self, all: &AtomicUsize) -> Option<Request> {
        let next = self.outbox().uploads.pop_front();
        all.fetch_sub(next.is_some().into(), Ordering::Relaxed);
        next
    }

    /// A request, or an end of one, is taken back. How many had to be looked at.
    pub(crate) fn cancelled(&self, cancel: &Request, all: &AtomicUsize) -> usize {
        let mut outbox = self.outbox();
        let looked = outbox.uploads.len();
        let meant = outbox.uploads.iter().enumerate().find_map(|(n, u)| Some((n, without(u, cancel)?)));
        match meant {
            Some((n, Some(left))) => outbox.uploads[n] = left,
            Some((n, None)) => {
                outbox.uploads.remove(n);
                all.fetch_sub(1, Ordering::Relaxed);
            }
            None => {}
        }
        looked
    }

    /// Nothing will be sent any more.
    pub(crate) fn forget(&self, all: &AtomicUsize) {
        all.fetch_sub(std::mem::take(&mut self.outbox().uploads).len(), Ordering::Relaxed);
    }

    /// A part of the metainfo is asked for. False: too many.
    pub(crate) fn asked_part(&self, part: u32) -> bool {
        let mut outbox = self.outbox();
        outbox.parts.push_back(part);
        let fits = outbox.parts.len() <= MAX_PARTS;
        drop(outbox);
        self.wake();
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(cancel: (u32, u32, u32)) -> Option<Option<(u32, u32)>> {
        let cancel = Request::new(cancel.0, cancel.1, cancel.2);
        without(&Request::new(7, 100, 50), &cancel).map(|r| r.map(|r| (r.begin, r.length)))
    }

    #[test]
    fn a_cancel_takes_what_was_asked_for_or_an_end_of_it() {
        assert_eq!(left((7, 100, 50)), Some(None), "exactly it");
        assert_eq!(left((7, 100, 10)), Some(Some((110, 40))), "its first block");
        assert_eq!(left((7, 140, 10)), Some(Some((100, 40))), "its last");
        for other in [(8, 100, 50), (7, 0, 100), (7, 90, 20), (7, 140, 20), (7, 0, u32::MAX), (7, 100, 0)] {
            assert_eq!(left(other), None, "{other:?} is something else");
        }
        assert_eq!(left((7, 120, 10)), None, "nothing is split");
        assert_eq!(left((7, u32::MAX, u32::MAX)), None);
    }

    #[test]
    fn cancels_never_make_the_queue_longer() {
        let (all, at) = (AtomicUsize::new(0), "10.0.0.1:1".parse().unwrap());
        let conn = Conn::new(1, at, [0; 20], true);
        for _ in 0..100 {
            assert!(conn.requested(Request::new(0, 0, 65536), &all));
        }
        for begin in (1..2000).step_by(2) {
            conn.cancelled(&Request::new(0, begin, 1), &all);
            assert!(conn.outbox().uploads.len() <= 100);
        }
        // One at a time: what was asked for twice is sent once.
        conn.cancelled(&Request::new(0, 0, 65536), &all);
        assert_eq!((conn.outbox().uploads.len(), all.load(Ordering::Relaxed)), (99, 99));
        assert!(conn.next(&all).is_some());
        conn.forget(&all);
        assert_eq!((conn.outbox().uploads.len(), all.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn a_peer_that_does_not_read_is_hung_up_on() {
        let conn = Conn::new(1, "10.0.0.1:1".parse().unwrap(), [0; 20], true);
        for n in 0..MAX_CONTROL {
            conn.say(&Message::Have(n as u32));
            if conn.end.is_cancelled() {
                assert!(conn.outbox().control.len() < MAX_CONTROL + 100);
                return;
            }
        }
        panic!("{} bytes wait", conn.outbox().control.len());
    }
}
