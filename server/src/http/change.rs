// SPDX-License-Identifier: GPL-3.0-or-later
//! The routes that change something: over the local socket, and over TCP for who has the token.

use super::{
    answer::{Answer, CHANGE, CHANGES, blocking, json},
    site::SharedState,
};
use crate::{
    api::types::{HostRow, Wake, Woken},
    catalogue::ImageChange,
    fetch::request::{FetchRequest, FetchRow},
    figures::image_row,
    hosts::{EntryKey, HostChange, HostChanges},
    operations,
    power::{PowerRequest, PowerRow, power},
    refresh::refresh,
};
use axum::{
    Json,
    body::Body,
    extract::{Path, Query},
    http::{HeaderMap, StatusCode},
};
use bootspec::{ImageName, ImageRef};
use serde::Deserialize;
use std::{collections::BTreeSet, time::Instant};

pub async fn set_host(
    state: SharedState,
    Path(key): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer<Json<HostRow>> {
    let key: EntryKey = key.parse()?;
    let change: HostChange = json(&headers, body, &CHANGE).await?;
    let (disk, to) = (state.disk(), key.clone());
    // By the disk: what was added a moment ago is not served yet.
    let hosts = blocking(move || disk.set_host(&to, &change)).await?;
    let entry = hosts.entries.get(&key).cloned().unwrap_or_default();
    state.set_hosts(hosts);
    Ok(Json(HostRow { key, entry }))
}

/// Many entries at once, or none of them.
pub async fn change_hosts(state: SharedState, headers: HeaderMap, body: Body) -> Answer<Json<Vec<HostRow>>> {
    let changes: HostChanges = json(&headers, body, &CHANGES).await?;
    let disk = state.disk();
    let (hosts, changes) = blocking(move || Ok((disk.change_hosts(&changes)?, changes))).await?;
    let keys: BTreeSet<&EntryKey> = changes.keys().collect();
    let row = |key: &EntryKey| HostRow {
        key: key.clone(),
        entry: hosts.entries.get(key).cloned().unwrap_or_default(),
    };
    let rows = keys.into_iter().map(row).collect();
    state.set_hosts(hosts);
    Ok(Json(rows))
}

pub async fn unset_host(state: SharedState, Path(key): Path<String>) -> Answer<StatusCode> {
    let key: EntryKey = key.parse()?;
    let disk = state.disk();
    state.set_hosts(blocking(move || disk.unset_host(&key)).await?);
    Ok(StatusCode::NO_CONTENT)
}

pub async fn change_image(
    state: SharedState,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer<Json<serde_json::Value>> {
    let name: ImageName = name.parse()?;
    let change: ImageChange = json(&headers, body, &CHANGE).await?;
    let new = change.name.clone().unwrap_or_else(|| name.clone());
    let running = state.0.clone();
    blocking(move || {
        running.set_hosts(running.disk().change_image(&name, &change)?);
        refresh(&running);
        Ok(())
    })
    .await?;
    let library = state.library();
    let image =
        library.get(&new).ok_or_else(|| format!("image '{new}' cannot be served: see the server's log"))?;
    let clients = state.clients().list(Instant::now());
    Ok(Json(image_row(&state, image, &clients).as_json()))
}

/// The query of a removal.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Force {
    force: bool,
}

pub async fn remove_image(
    state: SharedState,
    Path(name): Path<String>,
    Query(how): Query<Force>,
) -> Answer<StatusCode> {
    let image: ImageRef = name.parse()?;
    let running = state.0.clone();
    blocking(move || {
        let clients = || Ok(running.list_clients(Instant::now()));
        running.disk().remove_image(&image, how.force, clients)?;
        refresh(&running);
        Ok(())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn wake_up(state: SharedState, headers: HeaderMap, body: Body) -> Answer<Json<Woken>> {
    let wake: Wake = json(&headers, body, &CHANGE).await?;
    let (hosts, clients) = (state.hosts(), state.clients().list(Instant::now()));
    let sent = blocking(move || operations::wake(&wake.target, &hosts, &clients)).await?;
    Ok(Json(Woken { sent }))
}

pub async fn switch_power(state: SharedState, headers: HeaderMap, body: Body) -> Answer<Json<Vec<PowerRow>>> {
    let request: PowerRequest = json(&headers, body, &CHANGE).await?;
    let (hosts, clients) = (state.hosts(), state.clients().list(Instant::now()));
    Ok(Json(power(&request, &hosts, &clients, &state.config().power.file).await?))
}

pub async fn fetch(state: SharedState, headers: HeaderMap, body: Body) -> Answer<Json<FetchRow>> {
    let request: FetchRequest = json(&headers, body, &CHANGE).await?;
    let state = state.0.clone();
    Ok(Json(blocking(move || state.fetches.add(request)).await?))
}

pub async fn cancel_fetch(state: SharedState, Path(id): Path<u64>) -> Answer<StatusCode> {
    let state = state.0.clone();
    blocking(move || state.fetches.cancel(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
