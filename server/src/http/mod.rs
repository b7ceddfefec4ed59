// SPDX-License-Identifier: GPL-3.0-or-later
//! The one HTTP port: boot script, boot files, torrents, payloads, tracker, machines' reports.

mod answer;
mod api;
mod boot;
mod change;
pub mod ends;
mod entries;
mod events;
mod files;
mod front;
pub mod host;
mod layers;
pub mod listen;
pub mod machine;
pub mod openapi;
mod orders;
mod page;
pub mod places;
mod private;
pub mod range;
mod relay;
mod relay_snapshot;
pub mod routes;
mod schedule;
mod shared;
mod site;
mod track;
mod trail;
mod unlock;

pub use ends::Ends;
pub use site::Over;

use crate::state::ServerState;
use answer::{guarded, sentence};
use axum::{
    Extension, Router,
    http::{StatusCode, Uri},
    middleware::{from_fn, from_fn_with_state, map_response},
    response::Response,
};
use bootspec::text::printable;
use routes::{Who, routes};
use site::{ApiDocument, Site};
use std::sync::Arc;

/// All routes, as they may be asked for over this door.
pub fn router(state: Arc<ServerState>, over: Over) -> Router {
    let (listing, changing) = (routes(Who::Listing), routes(Who::Changing));
    let changing = changing
        .route_layer(from_fn(trail::written))
        .route_layer(from_fn_with_state(state.clone(), front::first_server));
    let relaying = routes(Who::Relay).route_layer(from_fn_with_state(state.clone(), front::relay));
    let guarded_by_token = match over {
        Over::Socket => listing.merge(changing),
        Over::Tcp => listing
            .route_layer(from_fn_with_state(state.clone(), front::listing))
            .merge(changing.route_layer(from_fn_with_state(state.clone(), front::with_token))),
    };
    let document = ApiDocument(openapi::document().to_string().into());
    let all = routes(Who::Everybody).merge(guarded_by_token).merge(relaying).layer(Extension(document));
    let all = all.fallback(nowhere);
    let all = match over {
        Over::Socket => all,
        Over::Tcp => all.layer(from_fn_with_state(state.clone(), front::guard)),
    };
    all.layer(from_fn(answer::errors_as_asked)).layer(map_response(guarded)).with_state(Site::of(state))
}

async fn nowhere(uri: Uri) -> Response {
    let path = printable(uri.path(), 100);
    sentence(StatusCode::NOT_FOUND, format_args!("there is nothing at {path} on this BootTorrent server"))
}
