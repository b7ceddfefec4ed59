// SPDX-License-Identifier: GPL-3.0-or-later
//! `GET /entries/NAME/FILE`: the files of entries that are no images.

use super::{
    answer::sentence,
    files::answer,
    machine,
    site::{Caller, SharedState},
};
use crate::{
    catalogue::entries::{BootEntry, EntriesFolder},
    hosts::Mac,
    library::Open,
};
use axum::{
    extract::{ConnectInfo, Path, Query},
    http::{HeaderMap, StatusCode, header::RANGE},
    response::{IntoResponse, Response},
};
use bootspec::{ImageName, text::printable};
use serde::Deserialize;
use std::{os::unix::fs::MetadataExt, sync::Arc};

/// What a machine says when it starts an entry that it has for one time.
pub const BEGUN: &str = "begun";

/// The query of [`BEGUN`].
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct BegunQuery {
    mac: Option<String>,
    secret: Option<String>,
}

pub async fn get(
    state: SharedState,
    ConnectInfo(ends): Caller,
    Path((name, file)): Path<(String, String)>,
    Query(begun): Query<BegunQuery>,
    headers: HeaderMap,
) -> Response {
    let entries = state.entries();
    let Some((name, entry)) = entries.iter().find(|(n, _)| n.as_str() == name) else {
        let name = printable(&name, 80);
        return sentence(StatusCode::NOT_FOUND, format_args!("no entry '{name}' on this server"));
    };
    if file == BEGUN {
        if let Some(mac) = begun.mac.and_then(|m| m.parse::<Mac>().ok())
            && let Some(ticket) = begun.secret.and_then(|secret| state.tickets.read(mac, &secret))
        {
            tracing::info!("{mac} ({}) starts {name}", ends.remote.ip());
            machine::spoke(&state, &mac.to_string(), ticket).await;
        }
        return "# begun\n".into_response();
    }
    if !entry.files().contains(&file) {
        return sentence(StatusCode::NOT_FOUND, no_such_file(name, entry));
    }
    if !headers.contains_key(RANGE) {
        tracing::info!("{} asks for {name}/{file}", ends.remote.ip());
    }
    let (folder, of) = (EntriesFolder::at(&state.config().catalogue.dir), name.clone());
    match open(folder, of, file).await {
        Ok((open, etag)) => answer(&open, &headers, &etag, &state.sent.boot_files),
        Err(e) => {
            tracing::error!("{e:#}");
            sentence(StatusCode::SERVICE_UNAVAILABLE, format_args!("entry '{name}' cannot be read"))
        }
    }
}

/// A file as it is now, and its tag.
async fn open(folder: EntriesFolder, name: ImageName, file: String) -> anyhow::Result<(Open, String)> {
    let open = move || -> anyhow::Result<(Open, String)> {
        let file = folder.open(&name, &file)?;
        let of = file.metadata()?;
        let etag = format!("\"{}-{}-{}\"", of.ino(), of.size(), of.mtime());
        Ok((Open { size: of.size(), file: Arc::new(file) }, etag))
    };
    tokio::task::spawn_blocking(open).await?
}

fn no_such_file(name: &ImageName, entry: &BootEntry) -> String {
    match entry.files().as_slice() {
        [] => format!("entry '{name}' has no files"),
        files => format!("entry '{name}' has no such file: it has {}", files.join(", ")),
    }
}
