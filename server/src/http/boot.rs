// SPDX-License-Identifier: GPL-3.0-or-later
//! `GET /boot.ipxe?mac=&platform=&image=`.

use super::{From, Shared, host::host};
use crate::{clients::text, ipxe};
use axum::{
    extract::{ConnectInfo, Query},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use bootspec::manifest::Kind;
use serde::Deserialize;

#[derive(Deserialize)]
pub struct Asked {
    mac: Option<String>,
    platform: Option<String>,
    image: Option<String>,
}

pub async fn script(
    state: Shared,
    ConnectInfo(ends): From,
    headers: HeaderMap,
    asked: Query<Asked>,
) -> Response {
    let library = state.library();
    // Those boot from LTSP's own menu.
    let images: Vec<_> = library.values().map(|i| &i.manifest).filter(|m| m.kind != Kind::Ltsp).collect();
    let host = host(&headers, ends);
    let script = ipxe::script(&ipxe::Menu {
        host: &host,
        images: &images,
        wanted: asked.image.as_deref().filter(|i| !i.is_empty()),
        default: state.config.boot.default.as_ref(),
        timeout: state.config.boot.timeout.as_millis(),
        append: &state.config.boot.append,
        addon: &|family| state.addons.size(family),
    });
    let word = |w: &Option<String>| w.as_deref().map_or("?".into(), |w| text(w, 40));
    let (mac, platform) = (word(&asked.mac), word(&asked.platform));
    tracing::info!("{mac} ({}, {platform}) asks for boot.ipxe", ends.remote.ip());
    ([(header::CONTENT_TYPE, "text/plain"), (header::CACHE_CONTROL, "no-store")], script).into_response()
}
