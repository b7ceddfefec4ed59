// SPDX-License-Identifier: GPL-3.0-or-later
//! The way out, shared by all connections of a session: who may send now
//! ([`Slots`]), and how fast
//! (`boottorrent.up=`, `serve --up`). And the way in, for `boottorrent.down=`.

use crate::plan::{Asker, Slots, Ticket};
use parking_lot::{Mutex, MutexGuard};
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::oneshot, time::timeout};

/// How often those who wait for others to want nothing look whether they do.
const LOOK: Duration = Duration::from_millis(100);

/// A limit that lets through `rate` bytes a second, a tenth of a second's worth at once.
pub(crate) struct Bucket {
    rate: u64,
    full_at: Mutex<Instant>,
}

impl Bucket {
    pub(crate) fn new(rate: u64) -> Self {
        Self { rate: rate.max(1), full_at: Mutex::new(Instant::now()) }
    }

    /// Wait until so many bytes may pass.
    pub(crate) async fn pass(&self, bytes: usize) {
        let at = {
            let mut full_at = self.full_at.lock();
            let earliest = Instant::now() - Duration::from_millis(100);
            *full_at = (*full_at).max(earliest) + Duration::from_secs_f64(bytes as f64 / self.rate as f64);
            *full_at
        };
        tokio::time::sleep_until(at.into()).await;
    }
}

struct Inner {
    slots: Slots,
    next: Ticket,
    waiting: HashMap<Ticket, oneshot::Sender<Slot>>,
}

/// See the module's text.
pub(crate) struct Gate {
    inner: Mutex<Inner>,
    began: Instant,
    up: Option<Bucket>,
    down: Option<Bucket>,
}

/// A place in the queue. Dropping it leaves the queue.
pub(crate) struct Waiting {
    gate: Arc<Gate>,
    ticket: Ticket,
    turn: oneshot::Receiver<Slot>,
}

/// The right to send. Dropping it passes it on.
pub(crate) struct Slot(Arc<Gate>, Ticket);

impl Gate {
    /// Limits in bytes a second.
    pub(crate) fn new(up: Option<u64>, down: Option<u64>) -> Arc<Self> {
        let inner = Inner { slots: Slots::default(), next: 0, waiting: HashMap::new() };
        let (up, down) = (up.map(Bucket::new), down.map(Bucket::new));
        Arc::new(Self { inner: Mutex::new(inner), began: Instant::now(), up, down })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// Queue up. `class`: the torrent; `weight`: its share.
    pub(crate) fn ask(self: &Arc<Self>, asker: Asker, class: u64, weight: u64) -> Waiting {
        let (tell, turn) = oneshot::channel();
        let ticket = {
            let mut inner = self.lock();
            let ticket = inner.next;
            inner.next += 1;
            inner.waiting.insert(ticket, tell);
            inner.slots.ask(ticket, asker, class, weight);
            ticket
        };
        self.admit();
        Waiting { gate: self.clone(), ticket, turn }
    }

    fn admit(self: &Arc<Self>) {
        loop {
            let (ticket, tell) = {
                let mut inner = self.lock();
                let Some(ticket) = inner.slots.admit(self.began.elapsed()) else { return };
                (ticket, inner.waiting.remove(&ticket))
            };
            // A slot that nobody takes is dropped, outside the lock, and so passed on.
            let slot = Slot(self.clone(), ticket);
            drop(tell.map(|t| t.send(slot)));
        }
    }

    /// Wait until so many bytes may go out.
    pub(crate) async fn pass(&self, bytes: usize) {
        if let Some(up) = &self.up {
            up.pass(bytes).await;
        }
    }

    /// So many bytes have come: wait until more may.
    pub(crate) async fn came(&self, bytes: usize) {
        if let Some(down) = &self.down {
            down.pass(bytes).await;
        }
    }

    /// An address fetches the same again and again.
    pub(crate) fn fetches_again(&self, asker: Asker) {
        self.lock().slots.fetches_again(asker.address);
    }

    /// So many bytes of a torrent went out.
    pub(crate) fn sent(self: &Arc<Self>, class: u64, bytes: usize) {
        let before = {
            let mut inner = self.lock();
            let before = inner.slots.limit();
            inner.slots.sent(class, bytes as u64, self.began.elapsed());
            inner.slots.limit() > before
        };
        if before {
            self.admit();
        }
    }
}

impl Waiting {
    /// The slot, when it is our turn. May be called again after it was cancelled.
    pub(crate) async fn turn(&mut self) -> Option<Slot> {
        loop {
            match timeout(LOOK, &mut self.turn).await {
                Ok(turn) => return turn.ok(),
                Err(_) => self.gate.admit(),
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        {
            let mut inner = self.gate.lock();
            inner.waiting.remove(&self.ticket);
            inner.slots.forget(self.ticket);
        }
        // Others of fewer hosts may have more.
        self.gate.admit();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.lock().slots.free(self.1);
        self.0.admit();
    }
}
