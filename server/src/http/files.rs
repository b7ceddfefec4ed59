// SPDX-License-Identifier: GPL-3.0-or-later
//! `GET /images/NAME/{vmlinuz,initrd,sums,addon,NAME.torrent,NAME.statement,NAME.statement.minisig,payload}`, with
//! ranges (RFC 9110 §14).

use super::{
    answer::sentence,
    host::host,
    range::{Wanted, wanted},
    site::{Caller, Shared},
};
use crate::{
    catalogue::{
        ADDON, INITRD, KERNEL, PAYLOAD, SUMS, own::OWN, signature_name, statement_name, torrent_name,
    },
    library::{Library, Open},
    watch::sent::Counter,
};
use axum::{
    body::Body,
    extract::{ConnectInfo, Path, Query},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_RANGE, RANGE},
    },
    response::{IntoResponse, Response},
};
use bootspec::{manifest::Kind, trust::Evidence};
use bytes::Bytes;
use serde::Deserialize;
use std::{
    io,
    ops::Range,
    os::unix::fs::FileExt,
    sync::{Arc, atomic::Ordering::Relaxed},
};

/// Bytes read at a time: two of these are in memory for each download.
const CHUNK: u64 = 64 * 1024;

#[derive(Deserialize)]
pub struct Asked {
    /// The version; the newest if not given. Of the payload and what belongs to it also if it is not here any more.
    infohash: Option<String>,
    /// Of an initrd that is made here: the machine's card, as iPXE's `busid`; all drivers if not given.
    card: Option<String>,
    /// And what its kernel parameters ask for besides, with commas between.
    with: Option<String>,
}

pub async fn get(
    state: Shared,
    ConnectInfo(ends): Caller,
    Path((name, file)): Path<(String, String)>,
    asked: Query<Asked>,
    headers: HeaderMap,
) -> Response {
    let library = state.library();
    let Asked { infohash, card, with } = asked.0;
    let asked = infohash.as_deref().and_then(|h| h.parse().ok());
    let Some(image) = name.parse().ok().and_then(|n| state.version(&n, asked)) else {
        return sentence(StatusCode::NOT_FOUND, no_such_image(&name, &library));
    };
    // Kernel, initrd and add-on of one boot belong together, and to the image that its command line names.
    let together = matches!(file.as_str(), KERNEL | INITRD | ADDON | OWN);
    if let Some(asked) = asked.filter(|a| together && *a != image.manifest.infohash) {
        let text =
            format!("version {asked} of image '{name}' is not here any more: ask for the boot script again");
        return sentence(StatusCode::GONE, text);
    }
    let etag = |what: &str| format!("\"{}-{what}\"", image.manifest.infohash);
    match file.as_str() {
        KERNEL | INITRD if image.manifest.kind == Kind::Ltsp => sentence(
            StatusCode::NOT_FOUND,
            format_args!("image '{name}' is of LTSP: its kernel and initrd are in LTSP's TFTP folder"),
        ),
        KERNEL | INITRD => {
            let open = if file == KERNEL { &image.kernel } else { &image.initrd };
            if !headers.contains_key(RANGE) {
                tracing::info!("{} asks for {name}/{file}", ends.remote.ip());
            }
            // Several versions of kernel and initrd can go with one payload.
            let etag = etag(&format!("{file}-{}-{}", open.size, image.manifest.added));
            answer(open, &headers, &etag, &state.sent.boot_files)
        }
        ADDON => {
            let Some(family) = image.manifest.family else {
                let text = format!("image '{name}' needs no add-on: the agent is in its initrd");
                return sentence(StatusCode::NOT_FOUND, text);
            };
            tracing::info!("{} asks for {name}/{file}", ends.remote.ip());
            let addons = state.addons.clone();
            // Compressing a new agent takes a moment.
            let made = tokio::task::spawn_blocking(move || addons.get(family)).await;
            match made.map_err(anyhow::Error::from).and_then(|made| made) {
                Ok(bytes) => {
                    state.sent.boot_files.fetch_add(bytes.len() as u64, Relaxed);
                    ([(CONTENT_TYPE, "application/octet-stream")], bytes).into_response()
                }
                Err(e) => {
                    let text = format!("the add-on of image '{name}' cannot be made: {e:#}");
                    tracing::error!("{text}");
                    sentence(StatusCode::SERVICE_UNAVAILABLE, text)
                }
            }
        }
        OWN => {
            let Some(own) = &image.own else {
                let text = format!("the initrd of image '{name}' is its own: ask for {INITRD}");
                return sentence(StatusCode::NOT_FOUND, text);
            };
            tracing::info!("{} asks for {name}/{file}", ends.remote.ip());
            let with: Vec<&str> = with.as_deref().unwrap_or_default().split(',').collect();
            let drivers = own.read(card.as_deref(), &with);
            let addons = state.addons.clone();
            let made = tokio::task::spawn_blocking(move || addons.init()).await;
            match made.map_err(anyhow::Error::from).and_then(|made| Ok([made?, drivers?.into()].concat())) {
                Ok(bytes) => {
                    state.sent.boot_files.fetch_add(bytes.len() as u64, Relaxed);
                    ([(CONTENT_TYPE, "application/octet-stream")], bytes).into_response()
                }
                Err(e) => {
                    let text = format!("an initrd for image '{name}' cannot be made: {e:#}");
                    tracing::error!("{text}");
                    sentence(StatusCode::SERVICE_UNAVAILABLE, text)
                }
            }
        }
        SUMS => match &image.sums {
            Some(sums) => answer(sums, &headers, &etag(SUMS), &state.sent.boot_files),
            None => sentence(StatusCode::NOT_FOUND, format_args!("image '{name}' has no sums")),
        },
        PAYLOAD if !state.config.serve.payload => sentence(StatusCode::NOT_FOUND, "payload endpoint is off"),
        PAYLOAD => {
            let counter = state.sent.http(image.manifest.infohash);
            answer(&image.payload, &headers, &etag(PAYLOAD), &counter)
        }
        torrent if torrent == torrent_name(&image.manifest.name) => {
            tracing::info!("{} asks for {torrent}", ends.remote.ip());
            let bytes = image
                .torrent
                .with_announce(&format!("http://{}/announce", host(&headers, ends)))
                .bytes()
                .clone();
            ([(CONTENT_TYPE, "application/x-bittorrent")], bytes).into_response()
        }
        file if file == statement_name(&image.manifest.name)
            || file == signature_name(&image.manifest.name) =>
        {
            let Evidence { statement, signature } = &image.evidence;
            let bytes = if file == statement_name(&image.manifest.name) { statement } else { signature };
            match bytes.is_empty() {
                true => sentence(StatusCode::NOT_FOUND, format_args!("image '{name}' is not signed")),
                false => ([(CONTENT_TYPE, "text/plain")], bytes.clone()).into_response(),
            }
        }
        _ => {
            let torrent = torrent_name(&image.manifest.name);
            let text = format!(
                "image '{name}' has no such file: it has {KERNEL}, {INITRD}, {torrent} and {PAYLOAD}"
            );
            sentence(StatusCode::NOT_FOUND, text)
        }
    }
}

fn no_such_image(name: &str, library: &Library) -> String {
    let name = bootspec::text::printable(name, 80);
    let names: Vec<&str> = library.keys().map(|n| n.as_str()).take(20).collect();
    match names.as_slice() {
        [] => format!("no image '{name}' on this server: there are none"),
        names => format!("no image '{name}' on this server: there are {}", names.join(", ")),
    }
}

/// A file or a part of it. `counter`: where what is read for it is counted.
fn answer(open: &Open, headers: &HeaderMap, etag: &str, counter: &Counter) -> Response {
    let size = open.size;
    // A range of another version would be of no use.
    let same = headers.get(IF_RANGE).is_none_or(|v| v.as_bytes() == etag.as_bytes());
    let asked = headers.get(RANGE).filter(|_| same).and_then(|v| v.to_str().ok());
    let (status, range) = match asked.map_or(Wanted::All, |r| wanted(r, size)) {
        Wanted::All => (StatusCode::OK, 0..size),
        Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Wanted::Nothing => {
            let mut refusal =
                sentence(StatusCode::RANGE_NOT_SATISFIABLE, format_args!("the file has {size} bytes"));
            put(refusal.headers_mut(), CONTENT_RANGE, format!("bytes */{size}"));
            return refusal;
        }
    };
    // axum answers HEAD with the same headers and drops the body unread.
    let mut response = (status, Body::from_stream(stream(open.file.clone(), range.clone(), counter.clone())))
        .into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    put(headers, CONTENT_LENGTH, (range.end - range.start).to_string());
    put(headers, ETAG, etag.to_owned());
    if status == StatusCode::PARTIAL_CONTENT {
        put(headers, CONTENT_RANGE, format!("bytes {}-{}/{size}", range.start, range.end - 1));
    }
    response
}

fn put(headers: &mut HeaderMap, name: axum::http::HeaderName, value: String) {
    // Numbers, hex and RFC 3339 are always fit for a header.
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

/// The bytes of a range, read as they are sent.
fn stream(
    file: Arc<std::fs::File>,
    range: Range<u64>,
    counter: Counter,
) -> impl futures::Stream<Item = io::Result<Bytes>> {
    futures::stream::try_unfold(range, move |left| {
        let (file, counter) = (file.clone(), counter.clone());
        async move {
            if left.is_empty() {
                return Ok(None);
            }
            let n = CHUNK.min(left.end - left.start);
            let read = tokio::task::spawn_blocking(move || {
                let mut chunk = vec![0; n as usize];
                file.read_exact_at(&mut chunk, left.start).map(|()| chunk)
            });
            let chunk = read.await.map_err(io::Error::other)??;
            counter.fetch_add(n, Relaxed);
            Ok(Some((Bytes::from(chunk), left.start + n..left.end)))
        }
    })
}
