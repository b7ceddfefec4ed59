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
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::timeout;
use url::Url;

/// Pieces of one torrent over HTTP. Cheap to clone.
#[derive(Clone)]
pub struct HttpSource {
    client: reqwest::Client,
    urls: Vec<Url>,
    /// Which of them is asked: the next one when it has failed.
    at: Arc<AtomicUsize>,
    received: Arc<AtomicU64>,
}

/// No byte for this long: the attempt has failed. A slow link that moves is not a failure.
const IDLE: Duration = Duration::from_secs(10);

impl HttpSource {
    /// `url`: an http:// URL that answers range requests with the payload (RFC 9110 §14).
    pub fn new(client: reqwest::Client, url: Url) -> Self {
        Self { client, urls: vec![url], at: Arc::default(), received: Arc::default() }
    }

    /// The same with others that have the payload too: asked in turn when one fails.
    pub fn or(mut self, others: Vec<Url>) -> Self {
        self.urls.extend(others);
        self
    }

    /// Bytes received so far.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Fetch one piece and verify it. Errors: no answer, no range, wrong length, wrong hash.
    pub async fn piece(&self, metainfo: &Metainfo, piece: u32) -> anyhow::Result<Bytes> {
        let at = self.at.load(Ordering::Relaxed);
        let data = self.range_of(at, metainfo.piece_range(piece)).await?;
        if !metainfo.verify(piece, &data) {
            self.failed(at);
            bail!("piece {piece} from {} is not that piece (SHA-1)", self.urls[at]);
        }
        Ok(data)
    }

    /// Fetch some bytes of the payload, which nobody has verified. Errors: no answer, no range, wrong length.
    pub async fn range(&self, range: Range<u64>) -> anyhow::Result<Bytes> {
        self.range_of(self.at.load(Ordering::Relaxed), range).await
    }

    async fn range_of(&self, at: usize, range: Range<u64>) -> anyhow::Result<Bytes> {
        let (url, start, end) = (&self.urls[at], range.start, range.end);
        let fetched = self.fetch(url, range).await;
        if fetched.is_err() {
            self.failed(at);
        }
        fetched.with_context(|| format!("fetching bytes {start} to {end} from {url}"))
    }

    /// Another one is asked from now on, unless it is already.
    fn failed(&self, at: usize) {
        let next = (at + 1) % self.urls.len();
        let _ = self.at.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    async fn fetch(&self, url: &Url, range: Range<u64>) -> anyhow::Result<Bytes> {
        let len = (range.end - range.start) as usize;
        let bytes = format!("bytes={}-{}", range.start, range.end - 1);
        let request = self.client.get(url.clone()).header(RANGE, bytes).send();
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
