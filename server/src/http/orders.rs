// SPDX-License-Identifier: GPL-3.0-or-later
//! Orders for machines that run: given and taken back by the admin, and carried to the machines in answers to their
//! heartbeats.

use super::{
    answer::{Answer, CHANGES, Refusal, json},
    machine,
    site::SharedState,
};
use crate::{
    clients::{Client, MachineProof},
    ordering::{signed, with_orders},
    orders::{MANY, OrderRequest, OrderRow, Placed, TakenBack},
    state::ServerState,
};
use axum::{
    Json,
    body::Body,
    extract::Path,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use bootspec::{
    Heartbeat, Phase,
    order::{self, Action, MAX_ANSWER, OrderReport, SentOrder, Stage, SwitchBy},
    trust::Version,
};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Instant, SystemTime},
};

pub async fn list(state: SharedState) -> Json<Vec<OrderRow>> {
    let all = state.orders().list(Version::of(SystemTime::now()));
    Json(rows(&state, &all))
}

pub async fn place(state: SharedState, headers: HeaderMap, body: Body) -> Answer<Json<Vec<OrderRow>>> {
    let request: OrderRequest = json(&headers, body, &CHANGES).await?;
    let state = state.0.clone();
    super::answer::blocking(move || {
        let placed = match request.signed.is_empty() {
            true => made(&state, &request),
            false => theirs(&request),
        };
        let placed = placed.map_err(|why| anyhow::anyhow!(why))?;
        state.orders().place(placed.clone());
        state.save_orders()?;
        Ok(Json(rows(&state, &placed)))
    })
    .await
}

pub async fn take_back(state: SharedState, Path(who): Path<String>) -> Answer<Json<Vec<OrderRow>>> {
    let state = state.0.clone();
    let machines = with_orders(&state, |orders| orders.machines(&[who]))?;
    let machines: BTreeSet<String> = machines.iter().map(ToString::to_string).collect();
    let TakenBack { mut taken, late } =
        state.orders().take_back(&machines).map_err(|why| Refusal(StatusCode::CONFLICT, why))?;
    super::answer::blocking(move || {
        state.save_orders()?;
        taken.extend(late);
        Ok(Json(rows(&state, &taken)))
    })
    .await
}

/// Orders that are made here, signed where the server's user can use the key.
fn made(state: &ServerState, request: &OrderRequest) -> Result<Vec<Placed>, String> {
    signed(state, with_orders(state, |orders| orders.make(request))?)
}

/// Orders that whoever asks has made and signed.
fn theirs(request: &OrderRequest) -> Result<Vec<Placed>, String> {
    if *request != (OrderRequest { signed: request.signed.clone(), ..OrderRequest::default() }) {
        return Err("`signed` stands alone: the orders in it say everything".into());
    }
    if request.signed.len() > MANY {
        return Err(format!("{} orders at once are too many: at most {MANY}", request.signed.len()));
    }
    let now = Version::of(SystemTime::now());
    let read = |sent: &SentOrder| match Placed::read(sent)? {
        placed if now >= placed.order.expires => {
            Err(format!("the order for {} has expired at {}", placed.order.machine, placed.order.expires))
        }
        placed => Ok(placed),
    };
    request.signed.iter().map(read).collect()
}

fn rows(state: &ServerState, placed: &[Placed]) -> Vec<OrderRow> {
    let clients = state.machines(Instant::now());
    let by_id: HashMap<&str, &Client> = clients.iter().map(|c| (c.heartbeat.id.as_str(), c)).collect();
    let now = Version::of(SystemTime::now());
    placed.iter().map(|p| p.row(by_id.get(p.order.machine.as_str()).copied(), now)).collect()
}

/// What a machine is to do that has sent a heartbeat.
pub async fn answer_of(state: &Arc<ServerState>, heartbeat: &Heartbeat, word: MachineProof) -> order::Answer {
    let report = heartbeat.orders.as_ref().and_then(|r| r.order.as_ref());
    // What somebody else says in a machine's name decides nothing.
    let report = report.filter(|_| word.is_proven());
    if let Some(report) = report.filter(|r| r.stage == Stage::Refused) {
        stays(state, &heartbeat.id, report).await;
    }
    let runs = heartbeat.infohash.filter(|_| word.is_proven() && heartbeat.phase == Phase::Seed);
    let now = Version::of(SystemTime::now());
    let mut answer = state.orders().hear(&heartbeat.id, report, runs, now);
    if answer.order.is_some()
        && let Some(report) = report
    {
        answer.stop = before_reboot(state, &heartbeat.id, report).await.err();
    }
    answer
}

/// The answer as it is sent.
pub fn sent(answer: order::Answer) -> Response {
    match answer.order.is_some() {
        true => Json(bounded(answer)).into_response(),
        false => StatusCode::NO_CONTENT.into_response(),
    }
}

/// A machine reads so much and no more; an order with its signature is far smaller.
fn bounded(answer: order::Answer) -> order::Answer {
    let bytes = serde_json::to_vec(&answer).map_or(usize::MAX, |json| json.len());
    if bytes <= MAX_ANSWER { answer } else { order::Answer::default() }
}

/// A machine is about to reboot in order to switch: it boots the image this one time. Errors: why it must not reboot.
async fn before_reboot(state: &Arc<ServerState>, id: &str, report: &OrderReport) -> Result<(), String> {
    let order = state.orders().of(id).map(|p| p.order.clone());
    let going = report.stage == Stage::Going && report.by == Some(SwitchBy::Reboot);
    let Some(order) = order.filter(|o| going && o.id == report.id && o.action == Action::Switch) else {
        return Ok(());
    };
    let image = order.image.map(|i| i.image).ok_or("the order names no image")?;
    machine::boots_once(state, id, image).await.map_err(|e| format!("{e:#}"))
}

/// A machine that was about to reboot into an image does not do it after all: what was set for its next boot goes.
async fn stays(state: &Arc<ServerState>, id: &str, report: &OrderReport) {
    let placed = state.orders().of(id).cloned();
    let was_going = |p: &Placed| {
        let before = p.report.as_ref();
        p.order.id == report.id
            && before.is_some_and(|r| r.stage == Stage::Going && r.by == Some(SwitchBy::Reboot))
    };
    let Some(image) = placed.filter(was_going).and_then(|p| p.order.image).map(|i| i.image) else { return };
    if let Err(e) = machine::boots_no_more(state, id, &image).await {
        tracing::error!("{id} does not switch, and {image} stays set for its next boot: {e:#}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_answer_is_within_what_machines_read() {
        let sent = SentOrder { order: "x".repeat(order::MAX_ORDER), signature: "y".repeat(4096) };
        let answer = order::Answer { order: Some(sent), stop: Some("z".repeat(1000)) };
        assert_eq!(bounded(answer.clone()), answer);
        let huge = order::Answer { stop: Some("z".repeat(MAX_ANSWER)), ..answer };
        assert_eq!(bounded(huge), order::Answer::default());
        let _ = Version(0);
    }
}
