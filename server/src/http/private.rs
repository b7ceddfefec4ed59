// SPDX-License-Identifier: GPL-3.0-or-later
//! `GET /private` and `/private/SHA256`: private files, over HTTPS, for a machine whose key the admin has accepted.

use super::{
    answer::sentence,
    files::answer,
    layers::opened,
    site::{Caller, SharedState},
};
use crate::{
    hosts::{EntryKey, Mac, choose::private_of, waiting::Asked},
    neighbours::LinkVerdict,
    state::ServerState,
};
use axum::{
    extract::{ConnectInfo, Path, Query},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use bootspec::{
    Sha256Sum,
    machine_key::{Verdict, shown},
};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::time::Instant;

/// The query of `/private`.
#[derive(Debug, Deserialize)]
pub struct PrivateQuery {
    mac: String,
}

pub async fn list(
    state: SharedState,
    caller: Caller,
    Query(asked): Query<PrivateQuery>,
    headers: HeaderMap,
) -> Response {
    let fingerprint = match fingerprint(&caller, &headers) {
        Ok(fingerprint) => fingerprint,
        Err((status, why)) => return sentence(status, why),
    };
    let Ok(mac) = asked.mac.parse::<Mac>() else {
        return sentence(StatusCode::BAD_REQUEST, "`mac` is not the address of a card");
    };
    let verdict = verdict(&state, mac, &fingerprint, &caller);
    // Nobody on the way keeps it.
    ([(header::CACHE_CONTROL, "no-store"), (header::CONTENT_TYPE, "text/plain")], verdict.to_string())
        .into_response()
}

fn verdict(state: &ServerState, mac: Mac, fingerprint: &Sha256Sum, ConnectInfo(ends): &Caller) -> Verdict {
    let hosts = state.hosts();
    if let Some((key, sums)) = private_of(&hosts, fingerprint) {
        tracing::info!("{key} asks for its private files from {}", ends.remote.ip());
        return Verdict::Accepted(sums);
    }
    let other = hosts.entries.get(&EntryKey::Mac(mac)).is_some_and(|e| e.fingerprint.is_some());
    let verdict = if other { Verdict::Another } else { Verdict::Waits };
    // Another machine on this link that says it is this one: it takes no place from it in the list.
    if state.neighbours.ask(ends.remote.ip(), ends.local.ip(), mac) == LinkVerdict::Denies {
        return verdict;
    }
    match state.waiting.ask(mac, *fingerprint, ends.remote.ip(), Instant::now()) {
        Asked::First => tracing::warn!(
            "{mac} ({}) asks for private files with {} key {}: `boottorrent host accept`",
            ends.remote.ip(),
            if other { "another" } else { "the" },
            shown(fingerprint)
        ),
        Asked::Full => tracing::debug!("{} asks for private files: too many wait", ends.remote.ip()),
        Asked::Again => {}
    }
    verdict
}

pub async fn get(
    state: SharedState,
    caller: Caller,
    Path(file): Path<String>,
    headers: HeaderMap,
) -> Response {
    let fingerprint = match fingerprint(&caller, &headers) {
        Ok(fingerprint) => fingerprint,
        Err((status, why)) => return sentence(status, why),
    };
    let nothing = || sentence(StatusCode::NOT_FOUND, "there are no such private files for this machine");
    let Some((key, sums)) = private_of(&state.hosts(), &fingerprint) else { return nothing() };
    if !sums.iter().any(|sum| file.split('.').next() == Some(sum.to_string().as_str())) {
        return nothing();
    }
    match opened(state.disk().private, file.clone()).await {
        Some(open) => {
            tracing::info!("{key} is sent private/{file}");
            let mut sent =
                answer(&open, &headers, &format!("\"{file}-{}\"", open.size), &state.sent.boot_files);
            sent.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
            sent
        }
        _ => nothing(),
    }
}

/// The SHA-256 of the key that a machine has sent, where nobody else could hear it.
fn fingerprint(
    ConnectInfo(ends): &Caller,
    headers: &HeaderMap,
) -> Result<Sha256Sum, (StatusCode, &'static str)> {
    if ends.plain.is_none() {
        return Err((StatusCode::FORBIDDEN, "private files are sent over HTTPS only"));
    }
    let key = headers.get(header::AUTHORIZATION).and_then(|h| h.to_str().ok()?.strip_prefix("Bearer "));
    match key.and_then(|digits| digits.parse::<Sha256Sum>().ok()) {
        Some(key) => Ok(Sha256Sum(Sha256::digest(key.0).into())),
        None => Err((StatusCode::UNAUTHORIZED, "private files are for machines with a key of their own")),
    }
}
