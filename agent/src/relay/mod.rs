// SPDX-License-Identifier: GPL-3.0-or-later
//! With `boottorrent.relay=` a machine that has booted gives kernels and initrds to others, out of its RAM: one node of a
//! rack does what the server's link would have to do for each. It gives nothing that the server does not give to everybody.

mod cache;
pub mod request;

pub use cache::Cache;

use crate::report::Report;
use anyhow::{Context, Result, bail};
use bootspec::{HTTP_PORT, units::human_size};
use cache::Refused;
use request::{MAX_REQUEST, parse};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use url::Url;

/// Boot loaders at once, and connections of one: it opens one after the other.
const MANY: usize = 256;
const EACH: usize = 8;
/// A boot loader that neither asks nor reads for so long has lost its connection.
const SILENCE: Duration = Duration::from_secs(15);

/// Give files of this server, from at most `limit` bytes of RAM. Returns only if nobody can be answered.
pub async fn give(server: Url, client: reqwest::Client, limit: u64, report: &Report) {
    let listener = match listen().await {
        Ok(listener) => listener,
        Err(e) => return report.warn(&format!("no other machine gets kernels and initrds from here: {e:#}")),
    };
    report.info(&format!("kernels and initrds are given to others, from {} of RAM", human_size(limit)));
    report.note(|b| b.relay_port = Some(HTTP_PORT));
    serve(listener, Cache::new(server, client, limit)).await;
}

async fn listen() -> Result<TcpListener> {
    let on = |ip: IpAddr| TcpListener::bind(SocketAddr::new(ip, HTTP_PORT));
    match on(Ipv6Addr::UNSPECIFIED.into()).await {
        Err(_) => on(Ipv4Addr::UNSPECIFIED.into()).await,
        listener => listener,
    }
    .with_context(|| format!("listening on TCP port {HTTP_PORT}"))
}

/// Answer whoever connects.
pub async fn serve(listener: TcpListener, cache: Cache) {
    let (cache, guests) = (Arc::new(cache), Arc::new(Guests::default()));
    let places = Arc::new(Semaphore::new(MANY));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Ok((mut stream, from)) = listener.accept().await else {
            // Out of files, for the moment.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Some(guest) = Guest::of(&guests, from.ip()) else { continue };
        let cache = cache.clone();
        tokio::spawn(async move {
            if let Err(e) = answer(&mut stream, &cache).await {
                tracing::debug!("relay: {e:#}");
            }
            drop((place, guest));
        });
    }
}

/// Whose connections there are: a host as often as it has some.
type Guests = Mutex<Vec<IpAddr>>;

/// One of them.
struct Guest(Arc<Guests>, IpAddr);

impl Guest {
    /// None: it has enough.
    fn of(guests: &Arc<Guests>, ip: IpAddr) -> Option<Guest> {
        let mut all = guests.lock().unwrap_or_else(PoisonError::into_inner);
        if all.iter().filter(|guest| **guest == ip).count() >= EACH {
            return None;
        }
        all.push(ip);
        Some(Guest(guests.clone(), ip))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = all.iter().position(|guest| *guest == self.1) {
            all.swap_remove(at);
        }
    }
}

/// One request, and then the end: a boot loader begins anew for each file anyway.
async fn answer(stream: &mut TcpStream, cache: &Cache) -> Result<()> {
    let bytes = timeout(SILENCE, read(stream)).await.context("asking")??;
    let request = match parse(&bytes) {
        Ok(request) => request,
        Err((status, why)) => return say(stream, status, why).await,
    };
    let file = match cache.get(&request.target).await {
        Ok(file) => file,
        Err(Refused::No(status)) => return say(stream, status, "the server says no").await,
        Err(Refused::Trouble(e)) => return say(stream, 503, &format!("{e:#}")).await,
    };
    head(stream, 200, file.size).await?;
    if request.head {
        return Ok(());
    }
    let mut number = 0;
    while let Some(part) = file.part(number).await? {
        send(stream, &part).await?;
        number += 1;
    }
    stream.shutdown().await.context("ending")
}

async fn read(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|w| w == b"\r\n\r\n") {
        if bytes.len() >= MAX_REQUEST {
            bail!("a request of more than {MAX_REQUEST} bytes");
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            break;
        }
    }
    Ok(bytes)
}

async fn say(stream: &mut TcpStream, status: u16, why: &str) -> Result<()> {
    head(stream, status, why.len() as u64 + 1).await?;
    send(stream, format!("{why}\n").as_bytes()).await?;
    stream.shutdown().await.context("ending")
}

async fn head(stream: &mut TcpStream, status: u16, size: u64) -> Result<()> {
    let head = format!("HTTP/1.1 {status} \r\nContent-Length: {size}\r\nConnection: close\r\n\r\n");
    send(stream, head.as_bytes()).await
}

async fn send(stream: &mut TcpStream, bytes: &[u8]) -> Result<()> {
    timeout(SILENCE, stream.write_all(bytes)).await.context("sending")?.context("sending")
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
