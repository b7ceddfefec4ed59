// SPDX-License-Identifier: GPL-3.0-or-later
//! `GET /boot.ipxe?mac=&platform=&uuid=&serial=&ip=&hostname=&image=`.

use super::{From, Shared, host::host, machine};
use crate::{clients::text, ipxe};
use axum::{
    extract::{ConnectInfo, Query},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};

pub async fn script(
    state: Shared,
    ConnectInfo(ends): From,
    headers: HeaderMap,
    asked: Query<machine::Asked>,
) -> Response {
    let choice = machine::decide(&state, &asked, ends).await;
    let library = state.library();
    let images: Vec<_> = library.values().map(|i| &i.manifest).collect();
    let host = host(&headers, ends);
    let boot = &state.config.boot;
    let chosen = choice.image.as_ref();
    let append = [&[boot.append.trim().to_owned()][..], &choice.params].concat();
    let script = ipxe::script(&ipxe::Menu {
        host: &host,
        images: &images,
        wanted: asked
            .image
            .as_deref()
            .filter(|i| !i.is_empty())
            .or(chosen.filter(|_| !choice.menu).map(|i| i.as_str())),
        default: chosen.or(boot.default.as_ref()),
        timeout: boot.timeout.as_millis(),
        append: append.join(" ").trim(),
        addon: &|family| state.addons.size(family),
    });
    let word = |w: &Option<String>| w.as_deref().map_or("?".into(), |w| text(w, 40));
    let (mac, platform) = (word(&asked.mac), word(&asked.platform));
    let name = choice.name.map(|n| format!(" ({n})")).unwrap_or_default();
    tracing::info!("{mac}{name} ({}, {platform}) asks for boot.ipxe", ends.remote.ip());
    ([(header::CONTENT_TYPE, "text/plain"), (header::CACHE_CONTROL, "no-store")], script).into_response()
}
