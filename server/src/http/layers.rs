// SPDX-License-Identifier: GPL-3.0-or-later
//! `GET /files/SHA256` and `/files/SHA256.minisig`: files for machines, as their boot script names them.

use super::{
    answer::sentence,
    files::answer,
    site::{Caller, SharedState},
};
use crate::{hosts::files::LayersFolder, library::Open};
use axum::{
    extract::{ConnectInfo, Path},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use std::{os::unix::fs::MetadataExt, sync::Arc};

pub async fn get(
    state: SharedState,
    ConnectInfo(ends): Caller,
    Path(file): Path<String>,
    headers: HeaderMap,
) -> Response {
    match opened(state.disk().layers, file.clone()).await {
        Some(open) => {
            tracing::info!("{} asks for files/{file}", ends.remote.ip());
            // What has a sum never changes; a signature may.
            answer(&open, &headers, &format!("\"{file}-{}\"", open.size), &state.sent.boot_files)
        }
        _ => sentence(StatusCode::NOT_FOUND, "there are no such files for machines here"),
    }
}

/// A file of a folder of layers. None: it is not there.
pub async fn opened(layers: LayersFolder, file: String) -> Option<Open> {
    let opened = tokio::task::spawn_blocking(move || {
        let file = layers.open(&file)?.ok()?;
        let size = file.metadata().ok()?.size();
        Some(Open { size, file: Arc::new(file) })
    });
    opened.await.ok().flatten()
}
