// SPDX-License-Identifier: GPL-3.0-or-later
//! The one HTTP port: boot script, boot files, torrents, payloads, tracker, machines' reports.

mod answer;
mod api;
mod boot;
mod change;
pub mod ends;
mod events;
mod files;
mod front;
pub mod host;
pub mod listen;
pub mod machine;
mod page;
pub mod places;
pub mod range;
mod shared;
mod site;
mod track;

pub use ends::Ends;
pub use site::Over;

use crate::state::State;
use answer::{guarded, sentence};
use axum::{
    Router,
    http::{StatusCode, Uri},
    middleware::{from_fn_with_state, map_response},
    response::Response,
    routing::{get, post},
};
use bootspec::text::printable;
use site::Site;
use std::sync::Arc;

/// All routes.
pub fn router(state: Arc<State>, over: Over) -> Router {
    let routes = Router::new()
        .route("/", get(page::page))
        .route("/metrics", get(api::metrics))
        .route("/boot.ipxe", get(boot::script))
        .route("/grub.cfg", get(boot::grub))
        .route("/boot/{file}", get(boot::loader))
        .route("/images/{name}/{file}", get(files::get))
        .route("/announce", get(track::announce))
        .route("/scrape", get(track::scrape))
        .route("/api/v1/heartbeat", post(api::heartbeat))
        .route("/api/v1/stats", get(api::stats))
        .route("/api/v1/fetches", get(api::fetches))
        .route("/api/v1/health", get(api::health));
    let listing = Router::new()
        .route("/api/v1/clients", get(api::clients))
        .route("/api/v1/clients/{id}", get(api::client))
        .route("/api/v1/images", get(api::images))
        .route("/api/v1/events", get(events::events))
        .route("/api/v1/hosts", get(api::hosts));
    let listing = match over {
        Over::Socket => listing,
        Over::Tcp => listing.route_layer(from_fn_with_state(state.clone(), front::listing)),
    };
    let changing = change::routes(&state, over);
    let all = routes.merge(listing).merge(changing).fallback(nowhere);
    let all = match over {
        Over::Socket => all,
        Over::Tcp => all.layer(from_fn_with_state(state.clone(), front::guard)),
    };
    all.layer(map_response(guarded)).with_state(Site::of(state))
}

async fn nowhere(uri: Uri) -> Response {
    let path = printable(uri.path(), 100);
    sentence(StatusCode::NOT_FOUND, format_args!("there is nothing at {path} on this BootTorrent server"))
}
