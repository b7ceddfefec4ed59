// SPDX-License-Identifier: GPL-3.0-or-later
//! `GET /api/v1/events`: images and machines as they change, as server-sent events.

use super::{
    answer::sentence,
    site::{Caller, SharedState},
};
use crate::{
    figures::snapshot,
    watch::live::{EACH, Listener, MAX_LISTENERS},
};
use axum::{
    extract::ConnectInfo,
    http::{StatusCode, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use std::{collections::VecDeque, convert::Infallible, sync::Arc};
use tokio::sync::broadcast::error::RecvError;

pub async fn events(state: SharedState, ConnectInfo(ends): Caller) -> Response {
    let Some(Listener { all, news, place }) = state.live.listen(ends.remote.ip(), || snapshot(&state)) else {
        let text = format!(
            "{EACH} pages on your host, or {MAX_LISTENERS} in all, listen to this server already: close one"
        );
        return sentence(StatusCode::SERVICE_UNAVAILABLE, text);
    };
    let first = VecDeque::from([all]);
    let stream =
        futures::stream::unfold((first, news, place, state), |(mut ready, mut news, place, state)| async {
            if ready.is_empty() {
                match news.recv().await {
                    Ok(text) => ready.push_back(text),
                    // It was too slow for single changes: everything again.
                    Err(RecvError::Lagged(_)) => {
                        let (all, later) = state.live.everything(|| snapshot(&state))?;
                        ready.push_back(all);
                        news = later;
                    }
                    Err(RecvError::Closed) => return None,
                }
            }
            let text: Arc<str> = ready.pop_front()?;
            Some((Ok::<_, Infallible>(Event::default().data(&text)), (ready, news, place, state)))
        });
    let mut response = Sse::new(stream).keep_alive(KeepAlive::default()).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}
