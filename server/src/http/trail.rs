// SPDX-License-Identifier: GPL-3.0-or-later
//! What somebody changes stands in the log, with who it was.

use super::{
    answer::{BODY, DROPPED, sentence},
    front::GivenToken,
    site::Caller,
};
use crate::{api::types::MAX_BODIES, body::up_to, trail::user_name};
use axum::{
    body::Body,
    extract::{ConnectInfo, Request},
    http::{Method, StatusCode},
    middleware::Next,
    response::Response,
};
use bootspec::text::printable;
use tokio::time::timeout;

/// Bytes of a request that are shown.
const SHOWN: usize = 400;

/// Do what was asked for, and write it into the log if it was done.
pub async fn written(ConnectInfo(ends): Caller, request: Request, next: Next) -> Response {
    if request.method() == Method::GET {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let read = timeout(BODY, up_to(body, MAX_BODIES, DROPPED)).await;
    let body = match read {
        Ok(Ok(Some(body))) => body,
        Ok(Ok(None)) => {
            let text = format!("a request's body has at most {MAX_BODIES} bytes");
            return sentence(StatusCode::PAYLOAD_TOO_LARGE, text);
        }
        Ok(Err(_)) | Err(_) => {
            return sentence(StatusCode::REQUEST_TIMEOUT, "the request's body did not come");
        }
    };
    let who = match ends.user {
        Some(user) => user_name(user),
        None => {
            let token = parts.extensions.get::<GivenToken>().map_or("?", |token| &token.name);
            format!("token '{token}' from {}", ends.remote.ip())
        }
    };
    let what = printable(&format!("{} {}", parts.method, parts.uri.path()), SHOWN);
    let how = printable(&String::from_utf8_lossy(&body[..body.len().min(2 * SHOWN)]), SHOWN);
    let answer = next.run(Request::from_parts(parts, Body::from(body))).await;
    if answer.status().is_success() {
        tracing::info!("changed by {who}: {what} {how}");
    }
    answer
}
