// SPDX-License-Identifier: GPL-3.0-or-later
//! A row of the images.

use crate::{api::types::ImageRow, fetch::request::FetchRow, watch::stats::ImageStats};

/// A line of the images.
#[derive(Clone, Copy, Debug)]
pub enum Line<'a> {
    /// One that is published, and its figures while the server runs.
    Image(&'a ImageRow, Option<&'a ImageStats>),
    /// One that is being prepared, or could not be.
    Fetch(&'a FetchRow),
}

impl Line<'_> {
    /// By what the cursor finds it.
    pub fn key(&self) -> String {
        match self {
            Line::Image(row, _) => row.manifest.name.to_string(),
            // No image's name has a colon.
            Line::Fetch(fetch) => format!("fetch:{}", fetch.id),
        }
    }
}

/// How a fetch is called.
pub fn fetch_name(fetch: &FetchRow) -> String {
    let name = fetch.progress.image.as_ref().or(fetch.request.name.as_ref()).map(ToString::to_string);
    name.unwrap_or_else(|| fetch.request.what.clone())
}
