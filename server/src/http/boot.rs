// SPDX-License-Identifier: GPL-3.0-or-later
//! `GET /boot.ipxe?mac=&platform=&uuid=&serial=&ip=&hostname=&image=`, `GET /grub.cfg?mac=&image=`, and the loader
//! for UEFI HTTP boot.

use super::{From, Shared, host::host, machine, sentence};
use crate::{
    clients::text,
    grub::{self, Way},
    hosts::Choice,
    ipxe, library,
    setup::{firmware, plan::LOADER},
};
use axum::{
    extract::{ConnectInfo, Path, Query},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};

pub async fn script(
    state: Shared,
    ConnectInfo(ends): From,
    headers: HeaderMap,
    asked: Query<machine::Asked>,
) -> Response {
    let choice = machine::decide(&state, &asked, ends).await;
    let script = with_menu(&state, &host(&headers, ends), &asked, &choice, ipxe::script);
    let word = |w: &Option<String>| w.as_deref().map_or("?".into(), |w| text(w, 40));
    let (mac, platform) = (word(&asked.mac), word(&asked.platform));
    let name = choice.name.map(|n| format!(" ({n})")).unwrap_or_default();
    tracing::info!("{mac}{name} ({}, {platform}) asks for boot.ipxe", ends.remote.ip());
    plain(script)
}

pub async fn grub(
    state: Shared,
    ConnectInfo(ends): From,
    headers: HeaderMap,
    asked: Query<machine::Asked>,
) -> Response {
    let choice = machine::decide(&state, &asked, ends).await;
    let mac = asked.mac.as_deref().and_then(grub::bootif);
    let way = Way::Http(mac.as_deref());
    let render = |menu: &ipxe::Menu| grub::config(menu, way);
    let config = with_menu(&state, &host(&headers, ends), &asked, &choice, render);
    let mac = asked.mac.as_deref().map_or("?".into(), |w| text(w, 40));
    tracing::info!("{mac} ({}, GRUB) asks for grub.cfg", ends.remote.ip());
    plain(config)
}

fn with_menu(
    state: &Shared,
    host: &str,
    asked: &machine::Asked,
    choice: &Choice,
    render: impl Fn(&ipxe::Menu) -> String,
) -> String {
    let library = state.library();
    let images = library::bootable(&library);
    let boot = &state.config.boot;
    let chosen = choice.image.as_ref();
    let append = [&[boot.append.trim().to_owned()][..], &choice.params].concat();
    let wanted = asked.image.as_deref().filter(|i| !i.is_empty());
    render(&ipxe::Menu {
        host,
        images: &images,
        wanted: wanted.or(chosen.filter(|_| !choice.menu).map(|i| i.as_str())),
        default: chosen.or(boot.default.as_ref()),
        timeout: boot.timeout.as_millis(),
        append: append.join(" ").trim(),
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
