// SPDX-License-Identifier: GPL-3.0-or-later
//! `GET /images/NAME/{vmlinuz,initrd,sums,addon,NAME.torrent,NAME.statement,NAME.statement.minisig,payload}`, with
//! ranges (RFC 9110 §14).

use super::{
    answer::sentence,
    host::host,
    range::{ByteRange, wanted},
    site::{Caller, SharedState},
};
use crate::{
    catalogue::{
        ADDON, INITRD, KERNEL, PAYLOAD, SUMS,
        own::{Asked, OWN},
        signature_name, statement_name, torrent_name,
    },
    library::{Library, Open, ServedImage},
    state::ServerState,
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
use bootspec::{ImageManifest, ImageName, manifest::Kind};
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

/// The query.
#[derive(Deserialize)]
pub struct FileQuery {
    /// The version; the newest if not given. Of the payload and what belongs to it also if it is not here any more.
    infohash: Option<String>,
    /// Of an initrd that is made here: the machine's card, as iPXE's `busid`; the usual drivers if not given.
    card: Option<String>,
    /// `all`: the drivers of rare cards too.
    drivers: Option<String>,
    /// And what its kernel parameters ask for besides, with commas between.
    with: Option<String>,
}

/// A file of an image, as it is named over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum File {
    Kernel,
    Initrd,
    Addon,
    Own,
    Sums,
    Payload,
    Torrent,
    Statement,
    Signature,
}

impl File {
    const ALL: [File; 9] = [
        File::Kernel,
        File::Initrd,
        File::Payload,
        File::Torrent,
        File::Addon,
        File::Own,
        File::Sums,
        File::Statement,
        File::Signature,
    ];

    fn parse(name: &str, image: &ImageName) -> Option<File> {
        File::ALL.into_iter().find(|file| file.name(image) == name)
    }

    fn name(self, image: &ImageName) -> String {
        match self {
            File::Kernel => KERNEL.into(),
            File::Initrd => INITRD.into(),
            File::Addon => ADDON.into(),
            File::Own => OWN.into(),
            File::Sums => SUMS.into(),
            File::Payload => PAYLOAD.into(),
            File::Torrent => torrent_name(image),
            File::Statement => statement_name(image),
            File::Signature => signature_name(image),
        }
    }

    /// Kernel, initrd and add-on of one boot belong together, and to the image that its command line names.
    fn is_of_one_boot(self) -> bool {
        matches!(self, File::Kernel | File::Initrd | File::Addon | File::Own)
    }
}

pub async fn get(
    state: SharedState,
    ConnectInfo(ends): Caller,
    Path((name, file)): Path<(String, String)>,
    asked: Query<FileQuery>,
    headers: HeaderMap,
) -> Response {
    let FileQuery { infohash, card, drivers, with } = asked.0;
    let asked = infohash.as_deref().and_then(|h| h.parse().ok());
    let Some(image) = name.parse().ok().and_then(|n| state.version(&n, asked)) else {
        return sentence(StatusCode::NOT_FOUND, no_such_image(&name, &state.library()));
    };
    let Some(file) = File::parse(&file, &image.manifest.name) else {
        return sentence(StatusCode::NOT_FOUND, no_such_file(&image.manifest.name));
    };
    if let Some(asked) = asked.filter(|a| file.is_of_one_boot() && *a != image.manifest.infohash) {
        let text =
            format!("version {asked} of image '{name}' is not here any more: ask for the boot script again");
        return sentence(StatusCode::GONE, text);
    }
    let is_a_step = file.is_of_one_boot() || file == File::Torrent;
    if is_a_step && !headers.contains_key(RANGE) {
        tracing::info!("{} asks for {name}/{}", ends.remote.ip(), file.name(&image.manifest.name));
    }
    match file {
        File::Kernel => boot_file(&state, &image, file, &image.kernel, &headers),
        File::Initrd => boot_file(&state, &image, file, &image.initrd, &headers),
        File::Addon => addon(&state, &image).await,
        File::Own => {
            let asked = Asked {
                card: card.as_deref(),
                all: drivers.as_deref() == Some("all"),
                with: with.as_deref().unwrap_or_default(),
            };
            own_initrd(&state, &image, &asked).await
        }
        File::Sums => match &image.sums {
            Some(sums) => answer(sums, &headers, &etag(&image, SUMS), &state.sent.boot_files),
            None => sentence(StatusCode::NOT_FOUND, format_args!("image '{name}' has no sums")),
        },
        File::Payload if !state.config().serve.payload => {
            sentence(StatusCode::NOT_FOUND, "payload endpoint is off")
        }
        File::Payload => {
            let counter = state.sent.http(image.manifest.infohash);
            answer(&image.payload, &headers, &etag(&image, PAYLOAD), &counter)
        }
        File::Torrent => {
            let tracker = format!("http://{}/announce", host(&headers, ends));
            let bytes = image.torrent.with_announce(&tracker).bytes().clone();
            ([(CONTENT_TYPE, "application/x-bittorrent")], bytes).into_response()
        }
        File::Statement => evidence(&image, &image.evidence.statement),
        File::Signature => evidence(&image, &image.evidence.signature),
    }
}

fn etag(image: &ServedImage, what: &str) -> String {
    format!("\"{}-{what}\"", image.manifest.infohash)
}

/// A kernel or an initrd.
fn boot_file(
    state: &ServerState,
    image: &ServedImage,
    file: File,
    open: &Open,
    headers: &HeaderMap,
) -> Response {
    let ImageManifest { name, kind, added, .. } = &image.manifest;
    if *kind == Kind::Ltsp {
        return sentence(
            StatusCode::NOT_FOUND,
            format_args!("image '{name}' is of LTSP: its kernel and initrd are in LTSP's TFTP folder"),
        );
    }
    // Several versions of kernel and initrd can go with one payload.
    let etag = etag(image, &format!("{}-{}-{added}", file.name(name), open.size));
    answer(open, headers, &etag, &state.sent.boot_files)
}

/// An initrd that is made here: the agent, and what a machine needs until its root is there.
async fn own_initrd(state: &ServerState, image: &ServedImage, asked: &Asked<'_>) -> Response {
    let name = &image.manifest.name;
    let Some(own) = &image.own else {
        let text = format!("image '{name}' boots with an initrd of its own: ask for {INITRD}");
        return sentence(StatusCode::NOT_FOUND, text);
    };
    let (drivers, xz) = (own.read(asked), own.index.xz);
    let (addons, manifest) = (state.addons.clone(), image.manifest.clone());
    let make = move || Ok([addons.init(&manifest, xz)?, drivers?.into()].concat().into());
    made(state, &format!("an initrd for image '{name}'"), make).await
}

async fn addon(state: &ServerState, image: &ServedImage) -> Response {
    let name = &image.manifest.name;
    let Some(family) = image.manifest.family else {
        let text = format!("image '{name}' needs no add-on: the agent is in its initrd");
        return sentence(StatusCode::NOT_FOUND, text);
    };
    let (addons, architecture) = (state.addons.clone(), image.manifest.architecture);
    made(state, &format!("the add-on of image '{name}'"), move || addons.get(architecture, family)).await
}

/// A part of phase one that is made when it is asked for. `what` it is, for errors.
async fn made(
    state: &ServerState,
    what: &str,
    make: impl FnOnce() -> anyhow::Result<Bytes> + Send + 'static,
) -> Response {
    // Compressing a new agent takes a moment.
    let made = tokio::task::spawn_blocking(make).await;
    match made.map_err(anyhow::Error::from).and_then(|made| made) {
        Ok(bytes) => {
            state.sent.boot_files.fetch_add(bytes.len() as u64, Relaxed);
            ([(CONTENT_TYPE, "application/octet-stream")], bytes).into_response()
        }
        Err(e) => {
            let text = format!("{what} cannot be made: {e:#}");
            tracing::error!("{text}");
            sentence(StatusCode::SERVICE_UNAVAILABLE, text)
        }
    }
}

/// A statement or a signature.
fn evidence(image: &ServedImage, bytes: &[u8]) -> Response {
    match bytes.is_empty() {
        true => {
            sentence(StatusCode::NOT_FOUND, format_args!("image '{}' is not signed", image.manifest.name))
        }
        false => ([(CONTENT_TYPE, "text/plain")], bytes.to_vec()).into_response(),
    }
}

fn no_such_file(image: &ImageName) -> String {
    let [names @ .., last] = File::ALL.map(|file| file.name(image));
    format!("image '{image}' has no such file: it has {} and {last}", names.join(", "))
}

fn no_such_image(name: &str, library: &Library) -> String {
    let name = bootspec::text::printable(name, 80);
    let names: Vec<&str> = library.names().map(|n| n.as_str()).take(20).collect();
    match names.as_slice() {
        [] => format!("no image '{name}' on this server: there are none"),
        names => format!("no image '{name}' on this server: there are {}", names.join(", ")),
    }
}

/// A file or a part of it. `counter`: where what is read for it is counted.
pub(super) fn answer(open: &Open, headers: &HeaderMap, etag: &str, counter: &Counter) -> Response {
    let size = open.size;
    // A range of another version would be of no use.
    let same = headers.get(IF_RANGE).is_none_or(|v| v.as_bytes() == etag.as_bytes());
    let asked = headers.get(RANGE).filter(|_| same).and_then(|v| v.to_str().ok());
    let (status, range) = match asked.map_or(ByteRange::All, |r| wanted(r, size)) {
        ByteRange::All => (StatusCode::OK, 0..size),
        ByteRange::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        ByteRange::Nothing => {
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
