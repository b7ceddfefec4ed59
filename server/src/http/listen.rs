// SPDX-License-Identifier: GPL-3.0-or-later
//! Connections over TCP, bounded: in number, in that of one host, and in the time that the head of a
//! request may take. So who opens many and says nothing, or says it slowly, keeps nobody else out.

use super::Ends;
use axum::{Extension, Router, extract::ConnectInfo, serve::Listener};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{
    io,
    net::IpAddr,
    time::{Duration, Instant},
};
use swarm::Places;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
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

/// Connections as they come.
pub struct Plain(pub TcpListener);

impl Listener for Plain {
    type Io = TcpStream;
    type Addr = Ends;

    async fn accept(&mut self) -> (TcpStream, Ends) {
        loop {
            match self.0.accept().await {
                Ok((stream, remote)) => {
                    let ends = Ends::of(&stream, remote);
                    return (stream, ends);
                }
                // Out of file descriptors, perhaps: others end meanwhile.
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<Ends> {
        let local = self.0.local_addr()?;
        Ok(Ends { remote: local, local })
    }
}

/// Serve until `stopped`, then only what has begun.
pub async fn serve<L>(mut listener: L, app: Router, mut stopped: watch::Receiver<bool>)
where
    L: Listener<Addr = Ends>,
{
    let (places, mut connections) = (Places::new(ALL, EACH), JoinSet::new());
    let mut said: Option<Instant> = None;
    loop {
        let (stream, ends) = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|s| *s) => break,
        };
        // Those that have ended.
        while connections.try_join_next().is_some() {}
        let Some(place) = places.take(ends.remote.ip()) else {
            if said.is_none_or(|t| t.elapsed() >= SAY) {
                said = Some(Instant::now());
                tracing::warn!("{}", too_many(ends.remote.ip()));
            }
            continue;
        };
        let (app, stopped) = (app.clone(), stopped.clone());
        connections.spawn(async move {
            connection(stream, ends, app, stopped).await;
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
