// SPDX-License-Identifier: GPL-3.0-or-later
//! Answers that many ask for, and that are long: made at most once a second, and all who ask share the bytes. Only a few
//! versions of an answer are kept: who reads so slowly that its version is gone is cut off.

use axum::{
    body::{Body, HttpBody},
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http_body::Frame;
use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

/// An answer is made again after this time.
const FRESH: Duration = Duration::from_secs(1);
/// So long an earlier version is kept for those who read it.
const KEEP: Duration = Duration::from_secs(10);
/// Versions at once, while others read them. Answers that are short are made each time, and these many are kept.
const VERSIONS: usize = 2;
const SHORT: usize = 64 << 10;
const SHORT_VERSIONS: usize = 64;
/// Bytes handed to a connection at a time: each has so many of its own.
const CHUNK: usize = 16 << 10;

struct AnswerVersion {
    /// What it was made of: another key, and it is made again.
    key: usize,
    made: Instant,
    bytes: Arc<Vec<u8>>,
}

/// One answer and its versions, the newest last.
#[derive(Default)]
pub struct SharedAnswer {
    versions: Mutex<VecDeque<AnswerVersion>>,
}

impl SharedAnswer {
    /// The answer as it is now, or was a second ago. `make` may take its time.
    pub async fn get(
        &self,
        key: usize,
        content_type: &'static str,
        make: impl FnOnce() -> Vec<u8> + Send + 'static,
    ) -> Response {
        let mut versions = self.versions.lock().await;
        let now = Instant::now();
        // What nobody reads any more goes. The newest is never forgotten.
        let newest = versions.back().map(|v| v.bytes.clone());
        let kept = |v: &AnswerVersion| newest.as_ref().is_some_and(|n| Arc::ptr_eq(n, &v.bytes));
        versions.retain(|v| kept(v) || Arc::weak_count(&v.bytes) > 0);
        while versions.len() > 1 && versions.get(1).is_some_and(|next| now - next.made >= KEEP) {
            versions.pop_front();
        }
        let short = newest.is_none_or(|n| n.len() <= SHORT);
        let other = versions.back().is_some_and(|v| v.key != key);
        if (short && versions.len() >= SHORT_VERSIONS) || (other && versions.len() >= VERSIONS) {
            versions.pop_front();
        }
        let young = versions.back().is_some_and(|v| now - v.made < FRESH);
        let usable = !short && !other && (young || versions.len() >= VERSIONS);
        if !usable {
            let made = tokio::task::spawn_blocking(make).await.unwrap_or_default();
            versions.push_back(AnswerVersion { key, made: now, bytes: Arc::new(made) });
        }
        let bytes = versions.back().map(|v| v.bytes.clone()).unwrap_or_default();
        let body = Reading { length: bytes.len(), of: Arc::downgrade(&bytes), at: 0 };
        ([(header::CONTENT_TYPE, content_type)], Body::new(body)).into_response()
    }
}

/// Somebody who reads a version.
struct Reading {
    of: Weak<Vec<u8>>,
    length: usize,
    at: usize,
}

impl HttpBody for Reading {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.at >= self.length {
            return Poll::Ready(None);
        }
        let Some(bytes) = self.of.upgrade() else {
            return Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::TimedOut, "it reads too slowly"))));
        };
        let end = (self.at + CHUNK).min(self.length);
        let chunk = Bytes::copy_from_slice(&bytes[self.at..end]);
        self.at = end;
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.at >= self.length
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact((self.length - self.at) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(answer: Response) -> Option<Vec<u8>> {
        axum::body::to_bytes(answer.into_body(), usize::MAX).await.ok().map(|b| b.to_vec())
    }

    #[tokio::test]
    async fn long_answers_are_shared_and_few() {
        let shared = SharedAnswer::default();
        let long = |n: u8| move || vec![n; 1 << 20];
        let slow = shared.get(0, "text/plain", long(1)).await;
        assert_eq!(
            read(shared.get(0, "text/plain", long(2)).await).await.unwrap(),
            vec![1; 1 << 20],
            "made a moment ago"
        );
        let age = |n: usize, by: Duration| {
            let mut versions = shared.versions.try_lock().unwrap();
            versions[n].made -= by;
        };
        age(0, FRESH);
        assert_eq!(read(shared.get(0, "text/plain", long(3)).await).await.unwrap()[0], 3);
        age(1, KEEP);
        assert_eq!(read(shared.get(0, "text/plain", long(4)).await).await.unwrap()[0], 4);
        assert_eq!(read(slow).await, None, "it is cut off");
        age(1, FRESH);
        drop(shared.get(0, "text/plain", long(5)).await);
        assert!(shared.versions.try_lock().unwrap().len() <= VERSIONS);
    }

    #[tokio::test]
    async fn short_ones_are_always_new() {
        let shared = SharedAnswer::default();
        for n in 0..10_u8 {
            assert_eq!(read(shared.get(0, "text/plain", move || vec![n]).await).await.unwrap(), [n]);
        }
    }
}
