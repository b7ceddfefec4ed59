// SPDX-License-Identifier: GPL-3.0-or-later
//! Places for connections, in all and for each host. Where there is none left, whoever has been idle longest makes room:
//! so hosts that open many and say nothing keep nobody else out, however many addresses they have.

use crate::net::Host;
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// A connection that has said nothing for so long may be closed for another one's sake.
const IDLE: Duration = Duration::from_secs(2);

struct TakenSlot {
    host: Host,
    /// Since when it waits for a request; none: it is being answered.
    idle: Option<Instant>,
    leave: Arc<Notify>,
}

#[derive(Default)]
struct SlotTable {
    next: u64,
    all: HashMap<u64, TakenSlot>,
    of: HashMap<Host, usize>,
}

/// All places.
#[derive(Clone)]
pub struct ConnectionSlots {
    max: usize,
    each: usize,
    inner: Arc<Mutex<SlotTable>>,
}

/// A place that is taken, until it is dropped.
pub struct ConnectionSlot {
    number: u64,
    inner: Arc<Mutex<SlotTable>>,
    leave: Arc<Notify>,
}

impl ConnectionSlots {
    /// `max` in all, `each` for a host.
    pub fn new(max: usize, each: usize) -> ConnectionSlots {
        ConnectionSlots { max, each, inner: Arc::default() }
    }

    /// Take one; an idle connection may have to go for it. `None`: there is none.
    pub fn take(&self, address: IpAddr) -> Option<ConnectionSlot> {
        let (host, now) = (Host::from(address), Instant::now());
        let mut inner = lock(&self.inner);
        if inner.of.get(&host).is_some_and(|n| *n >= self.each) {
            inner.displace(Some(host), now)?;
        } else if inner.all.len() >= self.max {
            // Of the host that has most: others may have fallen silent for a reason.
            let most = inner.of.iter().max_by_key(|(_, n)| **n).map(|(host, _)| *host);
            inner.displace(most, now).or_else(|| inner.displace(None, now))?;
        }
        let (number, leave) = (inner.next, Arc::new(Notify::new()));
        inner.next += 1;
        *inner.of.entry(host).or_default() += 1;
        inner.all.insert(number, TakenSlot { host, idle: Some(now), leave: leave.clone() });
        Some(ConnectionSlot { number, inner: self.inner.clone(), leave })
    }
}

impl SlotTable {
    /// Send away who is idle longest, of one host or of all.
    fn displace(&mut self, of: Option<Host>, now: Instant) -> Option<()> {
        let since = |t: &TakenSlot| t.idle.filter(|i| now.saturating_duration_since(*i) >= IDLE);
        let those = self.all.iter().filter(|(_, t)| of.is_none_or(|h| t.host == h));
        let (number, _) = those.filter_map(|(n, t)| Some((*n, since(t)?))).min_by_key(|(_, since)| *since)?;
        if let Some(taken) = self.leave(number) {
            taken.leave.notify_one();
        }
        Some(())
    }

    fn leave(&mut self, number: u64) -> Option<TakenSlot> {
        let taken = self.all.remove(&number)?;
        if let Some(n) = self.of.get_mut(&taken.host) {
            *n -= 1;
            if *n == 0 {
                self.of.remove(&taken.host);
            }
        }
        Some(taken)
    }
}

impl ConnectionSlot {
    /// When another one needs it more.
    pub async fn left(&self) {
        self.leave.notified().await;
    }

    /// A request is being answered until what comes back is dropped.
    pub fn busy(&self) -> Busy {
        if let Some(taken) = lock(&self.inner).all.get_mut(&self.number) {
            taken.idle = None;
        }
        Busy { number: self.number, inner: self.inner.clone() }
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        lock(&self.inner).leave(self.number);
    }
}

/// See [`ConnectionSlot::busy`].
pub struct Busy {
    number: u64,
    inner: Arc<Mutex<SlotTable>>,
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(taken) = lock(&self.inner).all.get_mut(&self.number) {
            taken.idle = Some(Instant::now());
        }
    }
}

fn lock(inner: &Mutex<SlotTable>) -> MutexGuard<'_, SlotTable> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_idle_make_room_and_the_busy_do_not() {
        let ip = |n: u8| IpAddr::from([10, 0, 0, n]);
        let places = ConnectionSlots::new(4, 2);
        let idle: Vec<ConnectionSlot> =
            [ip(1), ip(1), ip(2), ip(2)].iter().map(|a| places.take(*a).unwrap()).collect();
        assert!(places.take(ip(3)).is_none(), "nobody has been idle for long");
        let busy = idle[0].busy();
        let past = |n: u64| {
            let mut inner = lock(&places.inner);
            if let Some(t) = inner.all.get_mut(&n).filter(|t| t.idle.is_some()) {
                t.idle = Instant::now().checked_sub(IDLE);
            }
        };
        (0..4).for_each(past);
        let one = places.take(ip(1)).unwrap();
        assert!(!lock(&places.inner).all.contains_key(&1), "of its own host");
        assert!(places.take(ip(1)).is_none());
        let other = places.take(ip(3)).unwrap();
        assert!(lock(&places.inner).all.contains_key(&0), "it is being answered");
        drop((idle, one, other, busy));
        assert!(lock(&places.inner).all.is_empty() && lock(&places.inner).of.is_empty());
    }
}
