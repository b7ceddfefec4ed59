// SPDX-License-Identifier: GPL-3.0-or-later
//! What every answer has, how something is refused, and how a body is read.

use crate::api::types::MAX_BODY;
use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bootspec::text::clean;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// What browsers are told with every answer: to take it for what it says that it is, to run nothing in it, and
/// to keep it from other sites' pages. The page has a policy of its own. Headers that would let other sites in (CORS) are never sent.
pub async fn guarded(mut answer: Response) -> Response {
    let headers = answer.headers_mut();
    let policy = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; sandbox");
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(policy);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    answer
}

/// A refusal: one sentence as text. What was asked may be in it.
pub fn sentence(status: StatusCode, text: impl std::fmt::Display) -> Response {
    (status, format!("{}\n", clean(&text.to_string(), &[]))).into_response()
}

/// Why something was not done: a status and one sentence.
pub struct Refusal(pub StatusCode, pub String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        sentence(self.0, self.1)
    }
}

impl<E: std::fmt::Display> From<E> for Refusal {
    /// What the admin asked for cannot be.
    fn from(e: E) -> Refusal {
        Refusal(StatusCode::BAD_REQUEST, format!("{e:#}"))
    }
}

/// What a handler gives back.
pub type Answer<T> = Result<T, Refusal>;

/// The refusal of what does not say that it is JSON.
pub const NO_JSON: &str = "send the header `Content-Type: application/json`: only JSON is taken here";

/// Whether a request says that its body is JSON.
pub fn says_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    kind.and_then(|k| k.split(';').next()).is_some_and(|k| k.trim().eq_ignore_ascii_case("application/json"))
}

/// How long a body may take.
const BODY: Duration = Duration::from_secs(10);

/// A body as JSON, which must say that it is: other sites' forms cannot.
pub async fn json<T: DeserializeOwned>(headers: &HeaderMap, body: Body) -> Answer<T> {
    if !says_json(headers) {
        return Err(Refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, NO_JSON.into()));
    }
    let read = tokio::time::timeout(BODY, to_bytes(body, MAX_BODY)).await;
    let Ok(read) = read else {
        return Err(Refusal(StatusCode::REQUEST_TIMEOUT, "the request's body did not come".into()));
    };
    let Ok(bytes) = read else {
        let text = format!("a request's body has at most {MAX_BODY} bytes");
        return Err(Refusal(StatusCode::PAYLOAD_TOO_LARGE, text));
    };
    Ok(serde_json::from_slice(&bytes).map_err(|e| format!("this request cannot be understood: {e}"))?)
}

/// Work that reads or writes the disk.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> Answer<T> {
    Ok(tokio::task::spawn_blocking(work).await.map_err(anyhow::Error::from).and_then(|w| w)?)
}
