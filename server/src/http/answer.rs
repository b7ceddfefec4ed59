// SPDX-License-Identifier: GPL-3.0-or-later
//! What every answer has, how something is refused, and how a body is read.

use crate::{
    api::types::{MAX_BODIES, MAX_BODY},
    body::up_to,
    operations::InUse,
};
use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bootspec::{heartbeat::MAX_HEARTBEAT, text::clean};
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::time::timeout;

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

/// Programs that ask for JSON get errors as JSON too: `{"status":404,"error":"…"}`.
pub async fn errors_as_asked(request: Request, next: Next) -> Response {
    let accept = request.headers().get(header::ACCEPT).and_then(|a| a.to_str().ok()).unwrap_or_default();
    let wants = request.uri().path().starts_with("/api/") && accept.contains("application/json");
    let answer = next.run(request).await;
    let text =
        answer.headers().get(header::CONTENT_TYPE).is_some_and(|t| t.as_bytes().starts_with(b"text/plain"));
    let status = answer.status();
    if !wants || !text || !(status.is_client_error() || status.is_server_error()) {
        return answer;
    }
    let (mut parts, body) = answer.into_parts();
    let bytes = axum::body::to_bytes(body, MAX_BODY).await.unwrap_or_default();
    let error = String::from_utf8_lossy(&bytes).trim_end().to_owned();
    let json = serde_json::json!({"status": status.as_u16(), "error": error}).to_string();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Response::from_parts(parts, Body::from(json))
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
const NO_JSON: &str = "send the header `Content-Type: application/json`: only JSON is taken here";

/// Whether a request says that its body is JSON.
fn says_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    kind.and_then(|k| k.split(';').next()).is_some_and(|k| k.trim().eq_ignore_ascii_case("application/json"))
}

/// How long a body may take.
pub const BODY: Duration = Duration::from_secs(10);
/// Bytes that are read of a body that is too large.
pub const DROPPED: usize = 32 << 20;

/// What the body of a request is.
pub struct Expected {
    /// Its name.
    pub name: &'static str,
    /// It has at most so many bytes.
    pub limit: usize,
    /// What is said when it is something else.
    pub otherwise: &'static str,
}

/// A request that changes something.
pub const CHANGE: Expected =
    Expected { name: "request's body", limit: MAX_BODY, otherwise: "this request cannot be understood" };

/// A request that changes many entries: ten thousand of them are smaller.
pub const CHANGES: Expected =
    Expected { name: "request's body", limit: MAX_BODIES, otherwise: "this request cannot be understood" };

/// A machine's report.
pub const HEARTBEAT: Expected =
    Expected { name: "heartbeat", limit: MAX_HEARTBEAT, otherwise: "this is not a heartbeat" };

/// A body as JSON, which must say that it is: other sites' forms cannot.
pub async fn json<T: DeserializeOwned>(headers: &HeaderMap, body: Body, expected: &Expected) -> Answer<T> {
    let Expected { name, limit, otherwise } = expected;
    if !says_json(headers) {
        return Err(Refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, NO_JSON.into()));
    }
    let Ok(read) = timeout(BODY, up_to(body, *limit, DROPPED)).await else {
        return Err(Refusal(StatusCode::REQUEST_TIMEOUT, format!("the {name} did not come")));
    };
    let Ok(Some(bytes)) = read else {
        let text = format!("a {name} has at most {limit} bytes");
        return Err(Refusal(StatusCode::PAYLOAD_TOO_LARGE, text));
    };
    Ok(serde_json::from_slice(&bytes).map_err(|e| format!("{otherwise}: {e}"))?)
}

/// Work that reads or writes the disk.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> Answer<T> {
    let done = tokio::task::spawn_blocking(work).await.map_err(anyhow::Error::from).and_then(|w| w);
    done.map_err(|e| match e.is::<InUse>() {
        true => Refusal(StatusCode::CONFLICT, e.to_string()),
        false => e.into(),
    })
}
