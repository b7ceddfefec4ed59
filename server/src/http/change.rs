// SPDX-License-Identifier: GPL-3.0-or-later
//! The routes that change something: over the local socket, and over TCP for who has the token.

use super::{Ends, Over, Shared, State, api::row, sentence};
use crate::{
    api::types::{FetchRequest, FetchRow, HostRow, ImageChange, MAX_BODY, Wake, Woken},
    catalogue::Catalogue,
    clients::in_use,
    hosts::{HostChange, HostKey},
    keys::{Folder, Hand},
    token::{self, Verdict},
    wake,
};
use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::{ConnectInfo, Path, Query, Request},
    http::{HeaderMap, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{delete, post, put},
};
use bootspec::ImageName;
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Why something was not done: a status and one sentence.
pub struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        sentence(self.0, self.1)
    }
}

impl<E: std::fmt::Display> From<E> for Refusal {
    /// What the admin asked for cannot be.
    fn from(e: E) -> Refusal {
        Refusal(StatusCode::BAD_REQUEST, format!("{e:#}"))
    }
}

type Answer<T> = Result<T, Refusal>;

/// The routes. Over TCP they need the token.
pub fn routes(state: &Arc<State>, over: Over) -> Router<Arc<State>> {
    let routes = Router::new()
        .route("/api/v1/hosts/{key}", put(set_host).delete(unset_host))
        .route("/api/v1/images/{name}", post(change_image).delete(remove_image))
        .route("/api/v1/fetches", post(fetch))
        .route("/api/v1/fetches/{id}", delete(cancel_fetch))
        .route("/api/v1/wake", post(wake_up));
    match over {
        Over::Socket => routes,
        Over::Tcp => routes.route_layer(from_fn_with_state(state.clone(), with_token)),
    }
}

/// Nothing of a request is looked at before its token.
pub async fn with_token(
    state: Shared,
    ConnectInfo(ends): ConnectInfo<Ends>,
    request: Request,
    next: Next,
) -> Response {
    let header = |r: &Request| r.headers().get(header::AUTHORIZATION)?.to_str().ok().map(str::to_owned);
    let (dir, given) = (state.config.catalogue.dir.clone(), header(&request));
    let judged = tokio::task::spawn_blocking(move || token::judge(&dir, given.as_deref())).await;
    match judged.unwrap_or(Verdict::Wrong) {
        Verdict::Right if ends.plain.is_none() && !ends.remote.ip().is_loopback() => sentence(
            StatusCode::FORBIDDEN,
            "a token is not taken over plain HTTP, where everybody on the way can read it: use https (tls-cert and tls-key in \
             [serve] of server.toml) or an ssh tunnel, and make a new token",
        ),
        Verdict::Right => next.run(request).await,
        Verdict::None => sentence(
            StatusCode::FORBIDDEN,
            "this port only answers questions: change things on the server itself, with `boottorrent` (it uses the local socket)",
        ),
        Verdict::Wrong => {
            let text = "the token is missing or wrong: send the header `Authorization: Bearer TOKEN` with the one that \
                        `boottorrent token new` has printed on the server";
            let mut refusal = sentence(StatusCode::UNAUTHORIZED, text);
            let bearer = header::HeaderValue::from_static("Bearer");
            refusal.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
            refusal
        }
    }
}

/// The refusal of what does not say that it is JSON.
pub const NO_JSON: &str = "send the header `Content-Type: application/json`: only JSON is taken here";

/// Whether a request says that its body is JSON.
pub fn says_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    kind.and_then(|k| k.split(';').next()).is_some_and(|k| k.trim().eq_ignore_ascii_case("application/json"))
}

/// How long a body may take.
const BODY: Duration = Duration::from_secs(10);

/// A body as JSON, which must say that it is: other sites' forms cannot.
pub async fn json<T: DeserializeOwned>(headers: &HeaderMap, body: Body) -> Answer<T> {
    if !says_json(headers) {
        return Err(Refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, NO_JSON.into()));
    }
    let read = tokio::time::timeout(BODY, to_bytes(body, MAX_BODY)).await;
    let Ok(read) = read else {
        return Err(Refusal(StatusCode::REQUEST_TIMEOUT, "the request's body did not come".into()));
    };
    let Ok(bytes) = read else {
        let text = format!("a request's body has at most {MAX_BODY} bytes");
        return Err(Refusal(StatusCode::PAYLOAD_TOO_LARGE, text));
    };
    Ok(serde_json::from_slice(&bytes).map_err(|e| format!("this request cannot be understood: {e}"))?)
}

/// Work that reads or writes the disk.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> Answer<T> {
    Ok(tokio::task::spawn_blocking(work).await.map_err(anyhow::Error::from).and_then(|w| w)?)
}

fn names(state: &State) -> Vec<ImageName> {
    state.library().keys().cloned().collect()
}

async fn set_host(
    state: Shared,
    Path(key): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer<Json<HostRow>> {
    let key: HostKey = key.parse()?;
    let change: HostChange = json(&headers, body).await?;
    let (store, images, to) = (state.store.clone(), names(&state), key.clone());
    let hosts = blocking(move || store.change(|hosts| change.apply(hosts, &to, &images))).await?;
    let entry = hosts.entries.get(&key).cloned().unwrap_or_default();
    state.set_hosts(hosts);
    Ok(Json(HostRow { key, entry }))
}

async fn unset_host(state: Shared, Path(key): Path<String>) -> Answer<StatusCode> {
    let key: HostKey = key.parse()?;
    let store = state.store.clone();
    let hosts = blocking(move || store.change(|hosts| hosts.forget(&key))).await?;
    state.set_hosts(hosts);
    Ok(StatusCode::NO_CONTENT)
}

async fn change_image(
    state: Shared,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer<Json<serde_json::Value>> {
    let name: ImageName = name.parse()?;
    let change: ImageChange = json(&headers, body).await?;
    let catalogue =
        Catalogue::at(&state.config.catalogue.dir).signed_by(Hand::Later(Folder::of(&state.config)));
    let (store, old) = (state.store.clone(), name.clone());
    let new = change.name.clone().unwrap_or_else(|| name.clone());
    let hosts = blocking(move || {
        catalogue.apply(&old, &change)?;
        store.image_changed(&old, &change)
    })
    .await?;
    state.set_hosts(hosts);
    let follow = state.0.clone();
    blocking(move || {
        crate::serve::look_again(&follow);
        Ok(())
    })
    .await?;
    let library = state.library();
    let image =
        library.get(&new).ok_or_else(|| format!("image '{new}' cannot be served: see the server's log"))?;
    let clients = state.clients().list(Instant::now());
    Ok(Json(row(&state, image, &clients).as_json()))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Force {
    force: bool,
}

async fn remove_image(
    state: Shared,
    Path(name): Path<String>,
    Query(how): Query<Force>,
) -> Answer<StatusCode> {
    let name: ImageName = name.parse()?;
    if let (Some(image), false) = (state.library().get(&name), how.force) {
        let clients = state.list_clients(Instant::now());
        if let Some(who) = in_use(&image.manifest, &clients, &state.hosts()) {
            return Err(Refusal(StatusCode::CONFLICT, who));
        }
    }
    let catalogue = Catalogue::at(&state.config.catalogue.dir);
    let follow = state.0.clone();
    blocking(move || {
        catalogue.remove(&name)?;
        crate::serve::look_again(&follow);
        Ok(())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn wake_up(state: Shared, headers: HeaderMap, body: Body) -> Answer<Json<Woken>> {
    let wake: Wake = json(&headers, body).await?;
    let macs = wake::resolve(&wake.target, &state.hosts(), &state.clients().list(Instant::now()))?;
    let sent = macs.iter().map(|m| m.to_string()).collect();
    blocking(move || wake::send(&macs)).await?;
    Ok(Json(Woken { sent }))
}

async fn fetch(state: Shared, headers: HeaderMap, body: Body) -> Answer<Json<FetchRow>> {
    let request: FetchRequest = json(&headers, body).await?;
    let state = state.0.clone();
    Ok(Json(blocking(move || state.fetches.add(request)).await?))
}

async fn cancel_fetch(state: Shared, Path(id): Path<u64>) -> Answer<StatusCode> {
    let state = state.0.clone();
    blocking(move || state.fetches.cancel(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
