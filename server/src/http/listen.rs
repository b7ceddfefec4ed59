// SPDX-License-Identifier: GPL-3.0-or-later
//! Connections over TCP, bounded: in number, in that of one host, and in the time that the head of a
//! request may take. So who opens many and says nothing, or says it slowly, keeps nobody else out.

use super::Ends;
use crate::tls::Tls;
use axum::{Extension, Router, extract::ConnectInfo};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{
    net::IpAddr,
    time::{Duration, Instant},
};
use swarm::Places;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::watch,
    task::JoinSet,
    time::sleep,
};

/// Connections at once.
const ALL: usize = 16_384;
/// Of one host: a room of machines may be behind one router.
const EACH: usize = 512;
/// The head of a request comes within this time after the one before, or the connection is closed. Machines
/// that have booted report every ten seconds, over one connection.
const HEAD: Duration = Duration::from_secs(30);
/// How often a host with too many connections is told of.
const SAY: Duration = Duration::from_secs(60);

/// Serve until `stopped`, then only what has begun. With `tls`, nobody is heard without it.
pub async fn serve(listener: TcpListener, tls: Option<Tls>, app: Router, mut stopped: watch::Receiver<bool>) {
    let (places, mut connections) = (Places::new(ALL, EACH), JoinSet::new());
    let mut said: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|s| *s) => break,
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
        let (tls, app, stopped) = (tls.clone(), app.clone(), stopped.clone());
        connections.spawn(async move {
            match tls {
                None => connection(stream, ends, app, stopped).await,
                Some(tls) => {
                    // Who does not speak TLS is not answered: it would not understand.
                    if let Some(stream) = tls.shake_hands(stream).await {
                        connection(stream, ends, app, stopped).await;
                    }
                }
            }
            drop(place);
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
    mut stopped: watch::Receiver<bool>,
) {
    let app = TowerToHyperService::new(app.layer(Extension(ConnectInfo(ends))));
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let mut serving = std::pin::pin!(server.serve_connection(TokioIo::new(stream), app));
    let stop = async { drop(stopped.wait_for(|s| *s).await) };
    // How a connection ends is the client's business.
    tokio::select! {
        _ = &mut serving => return,
        () = stop => serving.as_mut().graceful_shutdown(),
    }
    let _ = serving.await;
}
