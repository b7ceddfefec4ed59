// SPDX-License-Identifier: GPL-3.0-or-later
//! Connections over TCP, bounded: in number, in that of one host, and in the time and the bytes that the head of a
//! request may take. So who opens many and says nothing, or says it slowly, keeps nobody else out.

use super::{
    ends::Ends,
    places::{Busy, ConnectionSlot, ConnectionSlots},
};
use crate::tls::Tls;
use axum::{
    Router,
    body::{Body, HttpBody},
    extract::ConnectInfo,
};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    task::JoinSet,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

/// Connections at once.
const ALL: usize = 8192;
/// Of one host: a room of machines may be behind one router.
const EACH: usize = 256;
/// The head of a request comes within this time after the one before, or the connection is closed. Machines
/// that have booted report every ten seconds, over one connection.
const HEAD: Duration = Duration::from_secs(30);
/// The head of a request, and what is read ahead of a body, in bytes.
const MAX_HEAD: usize = 16 << 10;
/// How often a host with too many connections is told of.
const SAY: Duration = Duration::from_secs(60);

/// Serve until `stop`, then only what has begun. With `tls`, nobody is heard without it.
pub async fn serve(listener: TcpListener, tls: Option<Tls>, app: Router, stop: CancellationToken) {
    let (places, mut connections) = (ConnectionSlots::new(ALL, EACH), JoinSet::new());
    let mut said: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        // Those that have ended.
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, perhaps: others end meanwhile.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(ends) = Ends::of(&stream, tls.as_ref().map(|t| t.plain)) else { continue };
        let Some(place) = places.take(ends.remote.ip()) else {
            if said.is_none_or(|t| t.elapsed() >= SAY) {
                said = Some(Instant::now());
                tracing::warn!("{}", too_many(ends.remote.ip()));
            }
            continue;
        };
        let place = Arc::new(place);
        let (tls, app, stop) = (tls.clone(), app.clone(), stop.clone());
        connections.spawn(async move {
            let serving = async {
                match tls {
                    None => connection(stream, ends, app, &place, stop).await,
                    Some(tls) => {
                        // Who does not speak TLS is not answered: it would not understand.
                        if let Some(stream) = tls.shake_hands(stream, ends.remote.ip()).await {
                            connection(stream, ends, app, &place, stop).await;
                        }
                    }
                }
            };
            // Idle, it may have to make room.
            tokio::select! {
                () = serving => {}
                () = place.left() => {}
            }
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

fn too_many(host: IpAddr) -> String {
    format!("{host} has {EACH} connections open, or all hosts have {ALL}: more of it are closed at once")
}

/// Answer what comes over a connection.
async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ends: Ends,
    app: Router,
    place: &Arc<ConnectionSlot>,
    stop: CancellationToken,
) {
    // The routes are the same for all connections. What is different goes with each request.
    let (app, place) = (TowerToHyperService::new(app), place.clone());
    let app = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(ends));
        let (answering, busy) = (app.call(request), place.busy());
        async move {
            let answer = answering.await;
            answer.map(|a| a.map(|body| Body::new(Answer { body, _busy: busy })))
        }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(MAX_HEAD);
    // GRUB and shim look for `Content-Length: ` as it is written in the standard's examples, and for nothing else.
    server.title_case_headers(true);
    let mut serving = std::pin::pin!(server.serve_connection(TokioIo::new(stream), app));
    // How a connection ends is the client's business.
    tokio::select! {
        _ = &mut serving => return,
        () = stop.cancelled() => serving.as_mut().graceful_shutdown(),
    }
    let _ = serving.await;
}

/// An answer; its connection is busy until it is sent or dropped.
struct Answer {
    body: Body,
    _busy: Busy,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
