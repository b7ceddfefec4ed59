// SPDX-License-Identifier: GPL-3.0-or-later
//! The calendar, over the API.

use super::{
    answer::{Answer, CHANGE, blocking, json},
    site::SharedState,
};
use crate::{
    hosts::{Name, ScheduleEntry},
    ordering::with_orders,
    orders::{ScheduleRow, agenda::agenda},
    state::ServerState,
};
use axum::{
    Json,
    body::Body,
    extract::Path,
    http::{HeaderMap, StatusCode},
};

pub async fn list(state: SharedState) -> Json<Vec<ScheduleRow>> {
    Json(rows(&state))
}

pub async fn set(
    state: SharedState,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer<Json<ScheduleRow>> {
    let name: Name = name.parse()?;
    let entry: ScheduleEntry = json(&headers, body, &CHANGE).await?;
    let (disk, to) = (state.disk(), name.clone());
    state.set_hosts(blocking(move || disk.set_schedule(&to, &entry)).await?);
    let row = rows(&state).into_iter().find(|row| row.name == name);
    Ok(Json(row.ok_or_else(|| format!("the entry '{name}' has been removed meanwhile"))?))
}

pub async fn unset(state: SharedState, Path(name): Path<String>) -> Answer<StatusCode> {
    let name: Name = name.parse()?;
    let disk = state.disk();
    state.set_hosts(blocking(move || disk.unset_schedule(&name)).await?);
    Ok(StatusCode::NO_CONTENT)
}

fn rows(state: &ServerState) -> Vec<ScheduleRow> {
    with_orders(state, |orders| agenda(orders.hosts, Some(orders), orders.now))
}
