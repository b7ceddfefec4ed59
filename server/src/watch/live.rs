// SPDX-License-Identifier: GPL-3.0-or-later
//! What changes each second: for those who listen (the web page), and as rates of the last minutes.
//! A listener gets everything first, then what has changed. All listeners share one message.

use super::stats::{ImageStats, Sample};
use crate::{
    attempts::Stage,
    clients::{Client, totals},
    net::Host,
};
use bootspec::{Phase, text::printable};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};
use tokio::sync::broadcast;

/// Listeners at once.
pub const MAX_LISTENERS: usize = 64;
/// Of one host.
pub const EACH: usize = 8;
/// Bytes that all listeners together may be told at first: each has a copy until it has read it.
const FIRST: usize = 8 << 20;
/// Messages that a slow listener may lag behind; then it gets everything anew.
const BACKLOG: usize = 8;
/// Bytes of an error in a row: all of it is told for one machine.
const MAX_ERROR: usize = 200;
/// Seconds of rates that are kept.
const HISTORY: usize = 300;

/// The server at one moment, as far as those who listen are told of it.
pub struct LiveSnapshot {
    /// The machines.
    pub clients: Arc<Vec<Client>>,
    /// The images' figures.
    pub images: Vec<ImageStats>,
    /// Bytes of payloads that the server has sent.
    pub sent: u64,
}

/// A machine in a line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MachineRow {
    id: String,
    name: Option<String>,
    address: Option<String>,
    group: Option<String>,
    /// The relay through which it reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    relay: Option<String>,
    image: Option<String>,
    phase: &'static str,
    percent: u8,
    down: u64,
    up: u64,
    /// Bytes from the server, by whatever way.
    server: u64,
    machines: u64,
    peers: u32,
    /// Seconds from the kernel's start to the mounted root, when it has booted.
    boot: Option<u32>,
    error: Option<String>,
    /// What else is worth a look.
    note: Option<&'static str>,
}

impl From<&Client> for MachineRow {
    fn from(c: &Client) -> MachineRow {
        let (h, p) = (&c.heartbeat, &c.heartbeat.progress);
        MachineRow {
            id: h.id.clone(),
            name: c.name.clone().or_else(|| h.hostname.clone()).filter(|n| !n.is_empty()),
            address: h.address.clone().or(c.remote.map(|r| r.to_string())),
            group: c.group.clone(),
            relay: c.relay.clone(),
            image: h.image.clone(),
            phase: c.phase(),
            percent: p.percent().clamp(0.0, 100.0) as u8,
            down: down(c),
            up: if c.gone { 0 } else { p.up_rate },
            server: p.from_server.saturating_add(p.from_http),
            machines: p.from_peers,
            peers: p.peers,
            boot: matches!(h.phase, Phase::Streaming | Phase::Seed).then(|| totals::boot_seconds(h) as u32),
            error: h.error.as_deref().map(|e| printable(e, MAX_ERROR)),
            note: c.initrd.and_then(Stage::sentence),
        }
    }
}

/// A message: what is new, and whose rows are gone. In the first one everything is new.
#[derive(Debug, PartialEq, Serialize)]
struct Message<'a> {
    /// Whether this is everything: what the listener had before is void.
    all: bool,
    machines: Vec<&'a MachineRow>,
    gone: BTreeSet<&'a str>,
    /// All images, if anything about them has changed.
    images: Option<&'a [ImageStats]>,
    sent: u64,
    received: u64,
}

#[derive(Default)]
struct LiveView {
    rows: BTreeMap<String, MachineRow>,
    images: Vec<ImageStats>,
    /// Payload bytes sent in all, and received now by the second.
    sent: u64,
    received: u64,
}

impl LiveView {
    fn of(now: LiveSnapshot) -> LiveView {
        LiveView {
            rows: now.clients.iter().map(|c| (c.heartbeat.id.clone(), MachineRow::from(c))).collect(),
            images: now.images,
            sent: now.sent,
            received: received(&now.clients),
        }
    }

    fn all(&self) -> Arc<str> {
        let (machines, images) = (self.rows.values().collect(), Some(&self.images[..]));
        let (sent, received) = (self.sent, self.received);
        json(&Message { all: true, machines, gone: BTreeSet::new(), images, sent, received })
    }

    /// What there is to say after `before`; nothing, if all is the same.
    fn news(&self, before: &LiveView) -> Option<Arc<str>> {
        let new = |(id, row): &(&String, &MachineRow)| before.rows.get(*id) != Some(*row);
        let message = Message {
            all: false,
            machines: self.rows.iter().filter(new).map(|(_, row)| row).collect(),
            gone: before.rows.keys().filter(|id| !self.rows.contains_key(*id)).map(String::as_str).collect(),
            images: Some(&self.images[..]).filter(|i| *i != before.images),
            sent: self.sent,
            received: self.received,
        };
        let same = message.machines.is_empty() && message.gone.is_empty() && message.images.is_none();
        (!same || (self.sent, self.received) != (before.sent, before.received)).then(|| json(&message))
    }
}

fn json(message: &Message) -> Arc<str> {
    serde_json::to_string(message).expect("a message is JSON").into()
}

/// What all machines together receive in a second.
fn received(clients: &[Client]) -> u64 {
    clients.iter().map(down).fold(0, u64::saturating_add)
}

/// What a machine receives in a second. One that is gone, or has everything, receives nothing, whatever it said last.
fn down(c: &Client) -> u64 {
    let p = &c.heartbeat.progress;
    let over = c.gone || (p.total > 0 && p.have >= p.total);
    if over { 0 } else { p.down_rate }
}

/// Who listens, and what they have been told.
pub struct Live {
    places: Arc<Mutex<HashMap<Host, usize>>>,
    inner: Mutex<LiveInner>,
}

struct LiveInner {
    seen: LiveView,
    /// It, as it is told at first.
    all: Option<Arc<str>>,
    history: VecDeque<Sample>,
    /// When the last sample was taken, and what had been sent by then.
    sampled: Option<(Instant, u64)>,
    /// None when the server stops.
    news: Option<broadcast::Sender<Arc<str>>>,
}

/// A listener: everything as it is, and then what changes.
pub struct Listener {
    /// What it must know first.
    pub all: Arc<str>,
    /// What changes.
    pub news: broadcast::Receiver<Arc<str>>,
    /// Its place, until it goes.
    pub place: ListenersPlace,
}

/// See [`Listener`].
pub struct ListenersPlace {
    host: Host,
    places: Arc<Mutex<HashMap<Host, usize>>>,
}

impl Drop for ListenersPlace {
    fn drop(&mut self) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(n) = places.get_mut(&self.host) {
            *n -= 1;
            if *n == 0 {
                places.remove(&self.host);
            }
        }
    }
}

impl Default for Live {
    fn default() -> Live {
        let news = Some(broadcast::channel(BACKLOG).0);
        let inner =
            LiveInner { seen: LiveView::default(), all: None, history: VecDeque::new(), sampled: None, news };
        Live { places: Arc::default(), inner: Mutex::new(inner) }
    }
}

impl Live {
    /// A second has passed: take the rates, and tell who listens what has changed. `images` are only asked for when
    /// somebody listens.
    pub fn tick(
        &self,
        clients: Arc<Vec<Client>>,
        sent: u64,
        images: impl FnOnce(&[Client]) -> Vec<ImageStats>,
        now: Instant,
    ) {
        let mut inner = self.inner();
        if let Some((then, before)) = inner.sampled {
            let seconds = now.saturating_duration_since(then).as_secs_f64().max(0.1);
            let sent = (sent.saturating_sub(before) as f64 / seconds) as u64;
            inner.history.push_back(Sample { sent, received: received(&clients) });
            if inner.history.len() > HISTORY {
                inner.history.pop_front();
            }
        }
        inner.sampled = Some((now, sent));
        if inner.news.as_ref().is_some_and(|n| n.receiver_count() > 0) {
            let images = images(&clients);
            let seen = LiveView::of(LiveSnapshot { clients, images, sent });
            if let (Some(text), Some(news)) = (seen.news(&inner.seen), &inner.news) {
                // Whoever has gone meanwhile misses nothing.
                let _ = news.send(text);
            }
            (inner.seen, inner.all) = (seen, None);
        }
    }

    /// Someone new listens. None: too many do already, or the server stops.
    pub fn listen(&self, remote: IpAddr, now: impl FnOnce() -> LiveSnapshot) -> Option<Listener> {
        let (all, news) = self.everything(now)?;
        let place = self.place(remote.into(), all.len())?;
        Some(Listener { all, news, place })
    }

    /// A place for one more, who is told so many bytes at first.
    fn place(&self, host: Host, length: usize) -> Option<ListenersPlace> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = places.values().sum();
        let of = places.get(&host).copied().unwrap_or_default();
        // One is always possible.
        if all >= MAX_LISTENERS || of >= EACH || (all > 0 && all.saturating_mul(length) > FIRST) {
            return None;
        }
        places.insert(host, of + 1);
        Some(ListenersPlace { host, places: self.places.clone() })
    }

    /// Everything as it is, and what comes after it. `now` is only asked for where nobody has listened before. None:
    /// the server stops.
    pub fn everything(
        &self,
        now: impl FnOnce() -> LiveSnapshot,
    ) -> Option<(Arc<str>, broadcast::Receiver<Arc<str>>)> {
        let mut inner = self.inner();
        let sender = inner.news.as_ref()?;
        let alone = sender.receiver_count() == 0;
        let news = sender.subscribe();
        if alone {
            // While nobody listened nothing was looked at.
            (inner.seen, inner.all) = (LiveView::of(now()), None);
        }
        let LiveInner { seen, all, .. } = &mut *inner;
        Some((all.get_or_insert_with(|| seen.all()).clone(), news))
    }

    /// The rates of the last minutes, oldest first.
    pub fn history(&self) -> Vec<Sample> {
        self.inner().history.iter().copied().collect()
    }

    /// How many listen.
    pub fn listeners(&self) -> usize {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }

    /// The server stops: nobody hears anything more.
    pub fn end(&self) {
        self.inner().news = None;
    }

    fn inner(&self) -> MutexGuard<'_, LiveInner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bootspec::{Heartbeat, Progress};

    fn client(id: &str, have: u64) -> Client {
        let progress = Progress { have, total: 10, down_rate: 7, ..Default::default() };
        let heartbeat = Heartbeat { id: id.into(), phase: Phase::Download, progress, ..Default::default() };
        Client { heartbeat, ..Default::default() }
    }

    fn seen(clients: &[Client]) -> LiveView {
        let rows = clients.iter().map(|c| (c.heartbeat.id.clone(), MachineRow::from(c))).collect();
        LiveView { rows, received: received(clients), ..Default::default() }
    }

    #[test]
    fn only_what_has_changed_is_told() {
        let before = seen(&[client("a", 1), client("b", 1), client("c", 1)]);
        assert_eq!(before.news(&before), None);
        let after = seen(&[client("a", 1), client("b", 2), client("d", 1)]);
        let text = after.news(&before).unwrap();
        let told: serde_json::Value = serde_json::from_str(&text).unwrap();
        let ids: Vec<_> =
            told["machines"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
        assert_eq!((ids, told["machines"][0]["percent"].as_u64()), (vec!["b", "d"], Some(20)));
        assert_eq!(
            (&told["gone"][0], &told["images"], &told["all"]),
            (&"c".into(), &().into(), &false.into())
        );
        let all: serde_json::Value = serde_json::from_str(&after.all()).unwrap();
        assert_eq!((all["machines"].as_array().unwrap().len(), &all["all"]), (3, &true.into()));
    }

    #[test]
    fn a_machine_that_is_gone_has_no_rates() {
        let gone = Client { gone: true, ..client("a", 5) };
        assert_eq!(
            (MachineRow::from(&gone).down, MachineRow::from(&gone).percent, received(&[gone])),
            (0, 50, 0)
        );
    }
}
