// SPDX-License-Identifier: GPL-3.0-or-later
//! `GET /announce` and `GET /scrape`.

use super::{
    host::seeder_ip,
    site::{Caller, SharedState},
};
use crate::tracker::{
    query::{self, Announce},
    reply,
};
use axum::{
    extract::{ConnectInfo, RawQuery},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use std::{net::SocketAddr, time::Instant};

pub async fn announce(
    state: SharedState,
    ConnectInfo(ends): Caller,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let config = state.config();
    let tracker = &config.tracker;
    let told = Announce::parse(&query.unwrap_or_default()).and_then(|ask| {
        let seeder = SocketAddr::new(seeder_ip(&headers, ends), state.peer_port);
        let peers =
            state.tracker().announce(&ask, ends.remote.ip(), seeder, Instant::now(), &mut rand::rng())?;
        Ok(reply::announce(&peers, ask.compact, tracker.interval, tracker.min_interval))
    });
    bencoded(told)
}

pub async fn scrape(state: SharedState, RawQuery(query): RawQuery) -> Response {
    let torrents = query::scrape(&query.unwrap_or_default());
    bencoded(torrents.map(|t| reply::scrape(&state.tracker().scrape(&t, Instant::now()))))
}

/// Trackers answer 200 even to refuse: clients look for "failure reason" only there.
fn bencoded(told: Result<Vec<u8>, String>) -> Response {
    let bytes = told.unwrap_or_else(|why| reply::failure(&why));
    ([(header::CONTENT_TYPE, "text/plain")], bytes).into_response()
}
