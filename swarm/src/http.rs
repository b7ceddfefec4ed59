// SPDX-License-Identifier: GPL-3.0-or-later
//! The server's payload endpoint as a source of pieces: ranges, bounded, verified like any other.

use crate::metainfo::Metainfo;
use anyhow::{Context, bail};
use bytes::Bytes;
use reqwest::{StatusCode, header::RANGE};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::timeout;
use url::Url;

/// Pieces of one torrent over HTTP. Cheap to clone.
#[derive(Clone)]
pub struct HttpSource {
    client: reqwest::Client,
    url: Url,
    received: Arc<AtomicU64>,
}

/// No byte for this long: the attempt has failed. A slow link that moves is no failure.
const IDLE: Duration = Duration::from_secs(10);

impl HttpSource {
    /// `url`: an http:// URL that answers range requests with the payload (RFC 9110 §14).
    pub fn new(client: reqwest::Client, url: Url) -> Self {
        Self { client, url, received: Arc::default() }
    }

    /// Bytes received so far.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Fetch one piece and verify it. Errors: no answer, no range, wrong length, wrong hash.
    pub async fn piece(&self, metainfo: &Metainfo, piece: u32) -> anyhow::Result<Bytes> {
        let url = &self.url;
        self.fetch(metainfo, piece).await.with_context(|| format!("fetching piece {piece} from {url}"))
    }

    async fn fetch(&self, metainfo: &Metainfo, piece: u32) -> anyhow::Result<Bytes> {
        let range = metainfo.piece_range(piece);
        let len = (range.end - range.start) as usize;
        let bytes = format!("bytes={}-{}", range.start, range.end - 1);
        let request = self.client.get(self.url.clone()).header(RANGE, bytes).send();
        let mut answer = timeout(IDLE, request).await.context("no answer")??;
        if answer.status() != StatusCode::PARTIAL_CONTENT {
            bail!("the server answered {}", answer.status());
        }
        let mut data = Vec::with_capacity(len);
        while let Some(chunk) =
            timeout(IDLE, answer.chunk()).await.context("the server stopped sending")??
        {
            if data.len() + chunk.len() > len {
                bail!("the server sent more than the {len} bytes that were asked for");
            }
            self.received.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            data.extend_from_slice(&chunk);
        }
        if data.len() != len {
            bail!("the server sent {} of {len} bytes", data.len());
        }
        if !metainfo.verify(piece, &data) {
            bail!("what the server sent is not this piece (SHA-1)");
        }
        Ok(data.into())
    }
}
