// SPDX-License-Identifier: GPL-3.0-or-later
//! `/api/v1/…`: what machines report, and what programs may ask.

use super::{
    answer::{Answer, HEARTBEAT, Refusal, json, sentence},
    front::GivenToken,
    machine, orders,
    site::{ApiDocument, Caller, SharedAnswers, SharedState},
};
use crate::{
    api::types::{BootRow, EntryRow, Health, HostRow, TokenRow},
    catalogue::entries::NamedEntry,
    clients::{BootRecord, MachineProof, News, Refused},
    fetch::request::FetchRow,
    figures,
    hosts::{choose::private_of, waiting::WaitingKey},
    relay::{
        Here,
        told::{Said, Word, going},
    },
    watch::metrics::{CONTENT_TYPE, render},
};
use axum::{
    Extension, Json,
    body::Body,
    extract::{ConnectInfo, Path},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use bootspec::{Heartbeat, Phase, order, text::printable, units::human_size};
use std::{collections::HashMap, net::IpAddr, time::Instant};

/// Boots that are told at once.
const BOOTS: usize = 200;

pub async fn heartbeat(
    state: SharedState,
    ConnectInfo(ends): Caller,
    headers: HeaderMap,
    body: Body,
) -> Answer<Response> {
    let mut heartbeat: Heartbeat = json(&headers, body, &HEARTBEAT).await?;
    let Some(id) = machine::id(&heartbeat.id, ends.remote.ip()) else {
        let id = printable(&heartbeat.id, 100);
        return Err(Refusal::from(format!(
            "'{id}' is not a machine: the id of a heartbeat is the MAC address that the machine boots with"
        )));
    };
    let (word, ticket) = machine::word(&state, &id, heartbeat.secret.take().as_deref(), ends);
    heartbeat.id = id;
    let (before, heard) = {
        let mut clients = state.clients();
        let (id, before) = (heartbeat.id.clone(), clients.word(&heartbeat.id));
        let heard = clients.hear(heartbeat, ends.remote.ip(), word, Instant::now());
        if heard.is_ok() {
            clients.through(&id, None, word);
        }
        (before, heard)
    };
    Ok(match heard {
        Ok((news, heartbeat)) => {
            if word != MachineProof::Nobodys
                && let Ok(mac) = heartbeat.id.parse()
            {
                state.attempts().spoke(&mac);
            }
            if news == News::Phase {
                tell(&heartbeat);
            }
            if let Some(ticket) = ticket.filter(|_| before != Some(word)) {
                machine::spoke(&state, &heartbeat.id, ticket).await;
            }
            match &state.here {
                Some(here) => relayed(here, heartbeat, ends.remote.ip(), word),
                None => orders::sent(orders::answer_of(&state, &heartbeat, word).await),
            }
        }
        Err(Refused::TooOften) => {
            let mut slow = sentence(StatusCode::TOO_MANY_REQUESTS, "one heartbeat a second is enough");
            slow.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
            slow
        }
        Err(Refused::NotTheMachine) => sentence(
            StatusCode::FORBIDDEN,
            "that machine's heartbeats carry the secret of its boot, or come from its own address",
        ),
        Err(Refused::TooMany) => {
            sentence(StatusCode::SERVICE_UNAVAILABLE, "too many machines report to this server")
        }
    })
}

/// A relay passes on what a machine says. Orders come from the first server: until that one has said something about the
/// machine, the heartbeat gets no answer, since "no order" would take back what the machine was told before.
fn relayed(here: &Here, heartbeat: Heartbeat, remote: IpAddr, proof: MachineProof) -> Response {
    let (obeys, going, id) = (heartbeat.orders.is_some(), going(&heartbeat), heartbeat.id.clone());
    // Its secret is ours: the first server is told what stands behind its words.
    here.heard(Word { remote, proof, said: Said::Beat(Box::new(heartbeat)) });
    if !proof.is_proven() {
        return orders::sent(order::Answer::default());
    }
    match here.order(&id, going) {
        Some(answer) => orders::sent(answer),
        None if obeys => sentence(
            StatusCode::SERVICE_UNAVAILABLE,
            "the first server has not said yet what this machine is to do",
        ),
        None => orders::sent(order::Answer::default()),
    }
}

/// One line for each step of a machine's boot.
fn tell(h: &Heartbeat) {
    let (id, image, p) = (&h.id, h.image.as_deref().unwrap_or("?"), &h.progress);
    match h.phase {
        Phase::Failed => {
            tracing::warn!("{id} failed: {}", h.error.as_deref().unwrap_or("it does not say why"))
        }
        Phase::Seed => tracing::info!(
            "{id} has booted {image} after {:.1} s: {} from the server, {} over HTTP, {} from other machines",
            h.uptime,
            human_size(p.from_server),
            human_size(p.from_http),
            human_size(p.from_peers)
        ),
        phase => tracing::info!("{id} is in phase {}, image {image}", phase.as_str()),
    }
}

/// JSON, for those who share it.
fn to_json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("what is told is JSON")
}

const JSON: &str = "application/json";

pub async fn clients(state: SharedState, kept: SharedAnswers) -> Response {
    let of = state.0.clone();
    kept.clients.get(0, JSON, move || to_json(&*of.machines(Instant::now()))).await
}

/// One machine, with the end of its log.
pub async fn client(state: SharedState, Path(id): Path<String>) -> Response {
    let found = state.clients().one(&id, Instant::now());
    match found {
        Some(mut client) => {
            state.name(&mut client);
            Json(client).into_response()
        }
        None => {
            sentence(StatusCode::NOT_FOUND, format_args!("no machine '{}' has reported", printable(&id, 100)))
        }
    }
}

pub async fn waiting(state: SharedState) -> Json<Vec<WaitingKey>> {
    let (mut waiting, hosts) = (state.waiting.list(Instant::now()), state.hosts());
    waiting.retain(|w| private_of(&hosts, &w.fingerprint).is_none());
    Json(waiting)
}

/// The newest boots of all machines: the newest first.
pub async fn boots(state: SharedState) -> Json<Vec<BootRow>> {
    let boots = state.clients().last_boots(BOOTS);
    let names: HashMap<String, Option<String>> = state
        .machines(Instant::now())
        .iter()
        .map(|c| (c.heartbeat.id.clone(), c.name.clone().or(c.heartbeat.hostname.clone())))
        .collect();
    let row = |(machine, boot): (String, BootRecord)| BootRow {
        name: names.get(&machine).cloned().flatten(),
        machine,
        boot,
    };
    Json(boots.into_iter().map(row).collect())
}

/// Who asks, with which token.
pub async fn token(given: Option<Extension<GivenToken>>) -> Json<TokenRow> {
    let row = given.map(|Extension(GivenToken { name, read_only })| TokenRow { name: Some(name), read_only });
    Json(row.unwrap_or_default())
}

pub async fn images(state: SharedState, kept: SharedAnswers) -> Response {
    let of = state.0.clone();
    let rows = move || {
        let clients = of.machines(Instant::now());
        let rows: Vec<serde_json::Value> =
            of.library().current().map(|i| figures::image_row(&of, i, &clients).as_json()).collect();
        to_json(&rows)
    };
    kept.images.get(0, JSON, rows).await
}

pub async fn entries(state: SharedState) -> Json<Vec<EntryRow>> {
    let entries = state.entries();
    let row = |(name, entry): &NamedEntry| EntryRow {
        name: name.clone(),
        title: entry.title.clone(),
        what: entry.what(),
        hidden: entry.hidden,
    };
    Json(entries.iter().map(row).collect())
}

pub async fn hosts(state: SharedState, kept: SharedAnswers) -> Response {
    let of = state.hosts();
    let version = std::sync::Arc::as_ptr(&of).addr();
    let rows = move || {
        let row = |(k, e): (&crate::hosts::EntryKey, &crate::hosts::HostEntry)| HostRow {
            key: k.clone(),
            entry: e.clone(),
        };
        to_json(&of.entries.iter().map(row).collect::<Vec<_>>())
    };
    kept.hosts.get(version, JSON, rows).await
}

pub async fn fetches(state: SharedState) -> Json<Vec<FetchRow>> {
    Json(state.fetches.list())
}

/// The API's description.
pub async fn openapi(Extension(document): Extension<ApiDocument>) -> Response {
    ([(header::CONTENT_TYPE, JSON)], document.0).into_response()
}

pub async fn health(state: SharedState, ConnectInfo(ends): Caller) -> Json<Health> {
    let row = state.here.as_ref().map(|here| here.row());
    let local = ends.user.is_some();
    Json(Health {
        status: "ok".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        images: state.library().len(),
        machines: state.clients().present(Instant::now()),
        seeding: state.tracker().seeded(),
        upstream: row.map(|row| if local { row } else { row.for_everybody() }),
    })
}

pub async fn stats(state: SharedState, kept: SharedAnswers) -> Response {
    let of = state.0.clone();
    let made = move || to_json(&figures::stats(&of, &of.machines(Instant::now())));
    kept.stats.get(0, JSON, made).await
}

pub async fn metrics(state: SharedState, kept: SharedAnswers) -> Response {
    let of = state.0.clone();
    let made = move || render(&figures::stats(&of, &of.machines(Instant::now()))).into_bytes();
    kept.metrics.get(0, CONTENT_TYPE, made).await
}
