// SPDX-License-Identifier: GPL-3.0-or-later
//! `/api/v1/relay/…`: what relays ask the first server, and tell it; and `/api/v1/relays`, who they are.

use super::{
    answer::{Answer, Expected, Refusal, blocking, json, sentence},
    files, machine, orders,
    relay_snapshot::{KeptSnapshot, file_of},
    site::{Caller, SharedState},
};
use crate::{
    clients::{MachineProof, Refused},
    figures,
    hosts::{EntryKey, Mac, choose::private_of_entry},
    relay::{
        Presence, RelaysFile,
        known::KnownRelays,
        present::RelayRow,
        told::{CLOCK, ImageCopy, MACHINES, MAX_REPORT, OnceDone, Reply, Report, Said, Word},
    },
    state::ServerState,
};
use axum::{
    Extension, Json,
    body::Body,
    extract::{ConnectInfo, Path, Query, State},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH},
    },
    response::{IntoResponse, Response},
};
use bootspec::{ImageManifest, ImageRef, manifest::Kind, order, text::printable};
use serde::Deserialize;
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// The torrent's name here.
const TORRENT: &str = "torrent";
/// Words of one report: each machine may have said several.
const WORDS: usize = MACHINES * 16;

const REPORT: Expected =
    Expected { name: "report", limit: MAX_REPORT, otherwise: "this is not a relay's report" };

/// The relay that asks.
#[derive(Clone, Debug)]
pub struct GivenRelay(pub String);

pub async fn snapshot(
    state: SharedState,
    kept: State<Arc<KeptSnapshot>>,
    headers: HeaderMap,
) -> Answer<Response> {
    let (tag, bytes) = kept.get(&state.0).await?;
    let has = headers.get(IF_NONE_MATCH).is_some_and(|h| h.as_bytes() == tag.as_bytes());
    let mut answer = match has {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => ([(CONTENT_TYPE, "application/json")], bytes).into_response(),
    };
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
    let values = [(ETAG.as_str(), tag), (CLOCK, clock.to_string())];
    for (name, value) in values {
        // Digits and quotes are always fit for a header.
        if let Ok(value) = HeaderValue::try_from(value) {
            answer.headers_mut().insert(name, value);
        }
    }
    Ok(answer)
}

/// The query of [`file()`].
#[derive(Debug, Deserialize)]
pub struct RelayFileQuery {
    infohash: String,
}

pub async fn file(
    state: SharedState,
    Path((name, file)): Path<(String, String)>,
    asked: Query<RelayFileQuery>,
    headers: HeaderMap,
) -> Response {
    let asked = asked.infohash.parse().ok();
    let image = name.parse().ok().and_then(|n| state.version(&n, asked));
    let Some(image) = image.filter(|i| Some(i.manifest.infohash) == asked) else {
        let name = printable(&name, 80);
        return sentence(
            StatusCode::NOT_FOUND,
            format_args!("this version of image '{name}' is not here any more"),
        );
    };
    if file == TORRENT {
        return image.torrent.bytes().clone().into_response();
    }
    match file_of(&image, &file) {
        Some(open) => {
            let etag = format!("\"{}-{file}\"", image.manifest.infohash);
            files::answer(open, &headers, &etag, &state.sent.boot_files)
        }
        None => sentence(StatusCode::NOT_FOUND, format_args!("image '{name}' has no such file for relays")),
    }
}

pub async fn report(
    state: SharedState,
    ConnectInfo(ends): Caller,
    Extension(GivenRelay(relay)): Extension<GivenRelay>,
    headers: HeaderMap,
    body: Body,
) -> Answer<Json<Reply>> {
    let mut report: Report = json(&headers, body, &REPORT).await?;
    if report.version != env!("CARGO_PKG_VERSION") {
        return Err(Refusal(
            StatusCode::CONFLICT,
            format!(
                "relay '{relay}' has version {} of BootTorrent and the first server has {}: install the same version on both",
                printable(&report.version, 40),
                env!("CARGO_PKG_VERSION")
            ),
        ));
    }
    report.subnets.truncate(64);
    let presence = Presence {
        at: Instant::now(),
        http: SocketAddr::new(ends.remote.ip(), report.http),
        subnets: report.subnets,
        images: report.images,
        missing: report.missing,
        trouble: report.trouble.map(|t| printable(&t, 300)),
    };
    state.relays.hear(&relay, presence);
    done(&state, report.done).await?;
    report.words.truncate(WORDS);
    let mut reply = Reply::default();
    for word in report.words {
        if let Some((id, answer)) = heard(&state, &relay, word).await {
            // That there is no order is an answer too: of machines that are not in it, nothing is known.
            reply.orders.insert(id, answer);
        }
    }
    Ok(Json(reply))
}

/// Boots for one time have happened.
async fn done(state: &Arc<ServerState>, done: Vec<OnceDone>) -> Answer<()> {
    let hosts = state.hosts();
    let is_set = |d: &OnceDone| hosts.entries.get(&d.key).is_some_and(|e| e.once.as_ref() == Some(&d.image));
    let done: Vec<OnceDone> = done.into_iter().filter(is_set).collect();
    if done.is_empty() {
        return Ok(());
    }
    let store = state.store.clone();
    let hosts = blocking(move || {
        store.change(|hosts| {
            done.iter().for_each(|d| d.apply(hosts));
            Ok(())
        })
    });
    state.set_hosts(hosts.await?);
    Ok(())
}

/// Whether a relay may say it: its machines' secrets are its own, and cannot be from the future.
fn bounded(proof: MachineProof) -> MachineProof {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
    match proof {
        MachineProof::Secret(at) => MachineProof::Secret(at.min(now)),
        other => other,
    }
}

/// A machine behind a relay has said something. What it is to do.
async fn heard(state: &Arc<ServerState>, relay: &str, word: Word) -> Option<(String, order::Answer)> {
    let (remote, proof, now) = (word.remote, bounded(word.proof), Instant::now());
    match word.said {
        Said::Loader(mut loader) => {
            let mac: Mac = loader.mac.parse().ok()?;
            loader.mac = mac.to_string();
            let mut clients = state.clients();
            clients.asked(*loader, remote, proof, now).ok()?;
            clients.through(&mac.to_string(), Some(relay), proof);
            None
        }
        Said::Beat(mut beat) => {
            beat.id = machine::id(&beat.id, remote)?;
            let id = beat.id.clone();
            let heard = {
                let mut clients = state.clients();
                let heard = clients.hear(*beat, remote, proof, now);
                if heard.is_ok() {
                    clients.through(&id, Some(relay), proof);
                }
                heard
            };
            let (_, beat) = match heard {
                Ok(heard) => heard,
                Err(Refused::TooOften | Refused::TooMany | Refused::NotTheMachine) => return None,
            };
            let answer = orders::answer_of(state, &beat, proof).await;
            Some((id, answer))
        }
    }
}

/// The relays that there may be, where any has ever reported.
pub async fn known_if_any(state: &Arc<ServerState>) -> Option<KnownRelays> {
    if state.relays.is_empty() {
        return None;
    }
    let file = RelaysFile::at(&state.config().catalogue.dir);
    blocking(move || file.load()).await.ok()
}

pub async fn list(state: SharedState) -> Answer<Json<Vec<RelayRow>>> {
    let of = state.0.clone();
    blocking(move || figures::relays(&of, &of.machines(Instant::now()))).await.map(Json)
}

/// Whether what a machine should boot is at the first server and not here: what that is called. `assigned`: what is assigned
/// to it, and not what it asks for. That is fetched; anybody can ask for anything.
pub fn missing(
    state: &ServerState,
    wanted: Option<&ImageRef>,
    assigned: Option<&ImageRef>,
    menu: bool,
) -> Option<String> {
    let here = state.here.as_ref()?;
    let library = state.library();
    let Some(snapshot) = here.snapshot() else {
        return library.is_empty().then(|| "any image".to_owned());
    };
    let lacks = |m: &ImageManifest| {
        library.all().all(|i| i.manifest.infohash != m.infohash || i.manifest.name != m.name)
    };
    let is = |c: &&ImageCopy| {
        wanted.is_some_and(|w| {
            c.manifest.name == w.name && w.version.map_or(c.current, |v| v == c.manifest.version)
        })
    };
    if let Some(copy) = snapshot.images.iter().find(is).filter(|c| lacks(&c.manifest)) {
        if wanted == assigned {
            here.want(copy.manifest.infohash);
        }
        if !here.is_up() && copy.current && library.get(&copy.manifest.name).is_some() {
            // The version before boots, while the newer one cannot be had.
            return None;
        }
        return Some(format!("image {}", copy.manifest.name));
    }
    // Those of LTSP boot from LTSP's.
    let in_menus = |c: &ImageCopy| c.current && c.manifest.kind != Kind::Ltsp;
    let all_there = snapshot.images.iter().all(|c| !in_menus(c) || !lacks(&c.manifest));
    (menu && !all_there && here.is_up()).then(|| "all of the menu".to_owned())
}

/// Whether a machine has private files, which relays are not given.
pub fn has_private(state: &ServerState, key: Option<&EntryKey>) -> bool {
    key.is_some_and(|key| !private_of_entry(&state.hosts(), key).is_empty())
}
