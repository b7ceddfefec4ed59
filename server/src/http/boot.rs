// SPDX-License-Identifier: GPL-3.0-or-later
//! `GET /boot.ipxe?mac=&platform=&image=`, `GET /grub.cfg?mac=&image=`, and the loader for UEFI HTTP boot.

use super::{From, Shared, host::host, sentence};
use crate::{
    clients::text,
    grub::{self, Way},
    ipxe,
    setup::{firmware, plan::LOADER},
};
use axum::{
    extract::{ConnectInfo, Path, Query},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
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
    let script = with_menu(&state, &host(&headers, ends), &asked, ipxe::script);
    let word = |w: &Option<String>| w.as_deref().map_or("?".into(), |w| text(w, 40));
    let (mac, platform) = (word(&asked.mac), word(&asked.platform));
    tracing::info!("{mac} ({}, {platform}) asks for boot.ipxe", ends.remote.ip());
    plain(script)
}

pub async fn grub(
    state: Shared,
    ConnectInfo(ends): From,
    headers: HeaderMap,
    asked: Query<Asked>,
) -> Response {
    let mac = asked.mac.as_deref().and_then(grub::bootif);
    let way = Way::Http(mac.as_deref());
    let config = with_menu(&state, &host(&headers, ends), &asked, |menu| grub::config(menu, way));
    let mac = asked.mac.as_deref().map_or("?".into(), |w| text(w, 40));
    tracing::info!("{mac} ({}, GRUB) asks for grub.cfg", ends.remote.ip());
    plain(config)
}

fn with_menu(state: &Shared, host: &str, asked: &Asked, render: impl Fn(&ipxe::Menu) -> String) -> String {
    let library = state.library();
    let images: Vec<_> = library.values().map(|i| &i.manifest).collect();
    render(&ipxe::Menu {
        host,
        images: &images,
        wanted: asked.image.as_deref().filter(|i| !i.is_empty()),
        default: state.config.boot.default.as_ref(),
        timeout: state.config.boot.timeout.as_millis(),
        append: &state.config.boot.append,
        addon: &|family| state.addons.size(family),
    })
}

fn plain(text: String) -> Response {
    ([(header::CONTENT_TYPE, "text/plain"), (header::CACHE_CONTROL, "no-store")], text).into_response()
}

/// iPXE, for firmware that fetches over HTTP what others fetch by TFTP.
pub async fn loader(ConnectInfo(ends): From, Path(file): Path<String>) -> Response {
    let there = || firmware::for_http(std::path::Path::new(firmware::LIB));
    let Some(path) = Some(()).filter(|()| LOADER.ends_with(&format!("/{file}"))).and_then(|()| there())
    else {
        return sentence(StatusCode::NOT_FOUND, "there is no such loader here");
    };
    tracing::info!("{} asks for {LOADER}", ends.remote.ip());
    match tokio::fs::read(&path).await {
        // The firmware looks at the type, and not at all at the name.
        Ok(bytes) => ([(header::CONTENT_TYPE, "application/efi")], bytes).into_response(),
        Err(e) => sentence(StatusCode::NOT_FOUND, format_args!("reading {}: {e}", path.display())),
    }
}
