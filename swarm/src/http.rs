// SPDX-License-Identifier: GPL-3.0-or-later
//! The server's payload endpoint as a source of pieces: ranges, bounded, verified like any other.

use crate::metainfo::Metainfo;
use anyhow::{Context, bail};
use bytes::Bytes;
use reqwest::{StatusCode, header::RANGE};
use std::{
    ops::Range,
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

/// No byte for this long: the attempt has failed. A slow link that moves is not a failure.
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
        let data = self.range(metainfo.piece_range(piece)).await?;
        if !metainfo.verify(piece, &data) {
            bail!("piece {piece} from {} is not that piece (SHA-1)", self.url);
        }
        Ok(data)
    }

    /// Fetch some bytes of the payload, which nobody has verified. Errors: no answer, no range, wrong length.
    pub async fn range(&self, range: Range<u64>) -> anyhow::Result<Bytes> {
        let (url, start, end) = (&self.url, range.start, range.end);
        self.fetch(range).await.with_context(|| format!("fetching bytes {start} to {end} from {url}"))
    }

    async fn fetch(&self, range: Range<u64>) -> anyhow::Result<Bytes> {
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
        Ok(data.into())
    }
}
