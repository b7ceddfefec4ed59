// SPDX-License-Identifier: GPL-3.0-or-later
//! Who sent how much: the server's seeder, its HTTP, or other machines.

use crate::{http::HttpSource, storage::Payload, webseed::OwnPeer};
use bootspec::Progress;
use librqbit::ManagedTorrent;
use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

/// Turns the engine's counters into [`Progress`], with rates since the last call.
pub(crate) struct Account {
    servers: Vec<IpAddr>,
    own: OwnPeer,
    last: Option<(Instant, u64, u64)>,
    down_rate: f64,
    up_rate: f64,
}

/// The shortest time that a rate is taken over.
const SAMPLE: Duration = Duration::from_millis(400);
/// How much of a new sample counts, so that a rate is one of the last two seconds.
const FRESH: f64 = 0.25;

impl Account {
    /// `servers`: addresses of the server. `own`: the local peer.
    pub(crate) fn new(servers: Vec<IpAddr>, own: OwnPeer) -> Self {
        Self { servers, own, last: None, down_rate: 0.0, up_rate: 0.0 }
    }

    pub(crate) fn take(
        &mut self,
        torrent: &ManagedTorrent,
        payload: &Payload,
        size: u64,
        http: Option<&HttpSource>,
    ) -> Progress {
        let mut p = Progress { have: payload.have_bytes(), total: size, ..Progress::default() };
        p.from_http = http.map_or(0, HttpSource::received);
        if let Some(live) = torrent.live() {
            p.uploaded = live.get_uploaded_bytes();
            // Dead peers too: what they sent is here. The filter's type has no public name, only its JSON form.
            let all = serde_json::from_str(r#"{"state":"all"}"#).expect("a filter");
            for (address, peer) in live.per_peer_stats_snapshot(all).peers {
                let Ok(address) = address.parse::<SocketAddr>() else { continue };
                let address = SocketAddr::new(address.ip().to_canonical(), address.port());
                if self.own.is(&address) {
                    continue; // Hands on what came over HTTP: counted there.
                }
                let from =
                    if self.servers.contains(&address.ip()) { &mut p.from_server } else { &mut p.from_peers };
                *from += peer.counters.fetched_bytes;
                p.peers += u32::from(peer.state == "live");
            }
        }
        self.rates(&mut p);
        p
    }

    fn rates(&mut self, p: &mut Progress) {
        let now = Instant::now();
        let (then, down, up) = *self.last.get_or_insert((now, p.received(), p.uploaded));
        let elapsed = now.duration_since(then);
        if elapsed >= SAMPLE {
            let mix =
                |old: f64, bytes: u64| old * (1.0 - FRESH) + bytes as f64 / elapsed.as_secs_f64() * FRESH;
            self.down_rate = mix(self.down_rate, p.received().saturating_sub(down));
            self.up_rate = mix(self.up_rate, p.uploaded.saturating_sub(up));
            self.last = Some((now, p.received(), p.uploaded));
        }
        (p.down_rate, p.up_rate) = (self.down_rate as u64, self.up_rate as u64);
    }
}
