// SPDX-License-Identifier: GPL-3.0-or-later
//! A peer of our own that stands by with the server's HTTP.
//!
//! librqbit has no web seeds (BEP 19). So a local connection joins our own
//! session as a peer that has some of the missing pieces. While the swarm moves
//! it only stands by: ten times a second it takes a piece in hand, sees that
//! nobody waits for it, and gives it back. When no piece has come for a while it
//! fetches what it is asked for from the server, and the session verifies that
//! like any other's and tells other machines of it.
//!
//! Standing by has a use of its own. A connection of librqbit's that finds
//! nothing to ask for sleeps up to five seconds, even when its peer gets new
//! pieces meanwhile; a piece that is given back wakes them all to look again.

use crate::{http::HttpSource, metainfo::Metainfo, storage::Payload};
use anyhow::{Context, bail};
use bytes::Bytes;
use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream, tcp::OwnedReadHalf},
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};

/// No new piece for this long: the swarm has stalled.
const STALL: Duration = Duration::from_secs(3);
/// How often a piece is taken in hand and given back, while it has not.
const STAND_BY: Duration = Duration::from_millis(100);
/// Pieces offered in the first round, and at most.
const ROUND: std::ops::RangeInclusive<usize> = 8..=64;
/// The session has asked for nothing this long: the round is over.
const IDLE: Duration = Duration::from_secs(3);
/// While a piece is fetched, the session is told this often that we are alive (BEP 3, keep-alive).
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// HTTP has failed: it is tried again after this long.
const HTTP_RETRY: Duration = Duration::from_secs(5);
/// The longest message from our own session: a bitfield of every piece, or a peer list.
const MAX_MESSAGE: u32 = 4 << 20;

/// The address of the local peer, so that accounting knows it.
#[derive(Clone, Default)]
pub(crate) struct OwnPeer(Arc<AtomicU16>);

impl OwnPeer {
    /// Whether `address` is the local peer's.
    pub(crate) fn is(&self, address: &SocketAddr) -> bool {
        address.ip() == Ipv4Addr::LOCALHOST && address.port() == self.port()
    }

    fn port(&self) -> u16 {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, address: SocketAddr) {
        self.0.store(address.port(), Ordering::Relaxed);
    }
}

/// Watch over a download until it is complete; step in when it stalls, and
/// stay in for as long as the others bring less than HTTP does. Without
/// `http`, only stand by.
pub(crate) async fn run(
    port: u16,
    metainfo: Metainfo,
    payload: Arc<Payload>,
    http: Option<HttpSource>,
    own: OwnPeer,
) {
    let (mut have, mut moved) = (payload.have_bytes(), Instant::now());
    let mut http_from = Instant::now();
    while !payload.complete() {
        let now = payload.have_bytes();
        if now != have {
            (have, moved) = (now, Instant::now());
        }
        let done = match &http {
            Some(http) if moved.elapsed() >= STALL && Instant::now() >= http_from => {
                let done = step_in(port, &metainfo, &payload, http, &own).await;
                if done.is_err() {
                    http_from = Instant::now() + HTTP_RETRY;
                }
                done
            }
            _ => stand_by(port, &metainfo, &payload.missing(*ROUND.start()), &own).await,
        };
        if let Err(e) = done {
            tracing::debug!("local peer: {e:#}");
        }
        sleep(STAND_BY).await;
    }
}

/// Take a piece in hand, and give it back.
async fn stand_by(port: u16, metainfo: &Metainfo, offer: &[u32], own: &OwnPeer) -> anyhow::Result<()> {
    let (reader, _writer) = join(port, metainfo, offer, own).await?.into_split();
    let (tx, mut requests) = mpsc::unbounded_channel();
    let _reading = AbortOnDrop(tokio::spawn(read_requests(reader, tx)));
    // The first request says that the session has put the piece into our hand.
    let _ = timeout(STAND_BY, requests.recv()).await;
    Ok(())
}

/// Serve rounds of missing pieces from HTTP, until the swarm is back or HTTP brings nothing either.
async fn step_in(
    port: u16,
    metainfo: &Metainfo,
    payload: &Payload,
    http: &HttpSource,
    own: &OwnPeer,
) -> anyhow::Result<()> {
    let mut round = *ROUND.start();
    loop {
        let (have, received) = (payload.have_bytes(), http.received());
        serve(port, metainfo, &payload.missing(round), http, own).await?;
        let (gained, ours) = (payload.have_bytes() - have, http.received() - received);
        if payload.complete() || ours == 0 || gained > 2 * ours {
            return Ok(());
        }
        round = (round * 2).min(*ROUND.end());
    }
}

/// Connect to our own session as a peer that has the pieces in `offer`.
async fn join(port: u16, metainfo: &Metainfo, offer: &[u32], own: &OwnPeer) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    // One address for all connections, or the session would remember a peer for each. A
    // connection ends with a reset, so that the address is free again at once.
    socket.set_reuseaddr(true)?;
    socket.set_zero_linger()?;
    socket.bind((Ipv4Addr::LOCALHOST, own.port()).into())?;
    let session = (Ipv4Addr::LOCALHOST, port).into();
    let mut stream = socket.connect(session).await.context("connecting to our own session")?;
    own.set(stream.local_addr()?);
    stream.write_all(&greeting(metainfo, offer)).await?;
    let mut handshake = [0; 68];
    stream.read_exact(&mut handshake).await.context("reading our own session's handshake")?;
    Ok(stream)
}

/// One connection that offers some pieces, until all are served or nothing is asked for.
async fn serve(
    port: u16,
    metainfo: &Metainfo,
    offer: &[u32],
    http: &HttpSource,
    own: &OwnPeer,
) -> anyhow::Result<()> {
    let stream = join(port, metainfo, offer, own).await?;
    let (reader, mut writer) = stream.into_split();

    // Requests are read while pieces are fetched, so that fetches overlap.
    let (requests_tx, mut requests) = mpsc::unbounded_channel();
    let reading = AbortOnDrop(tokio::spawn(read_requests(reader, requests_tx)));
    let mut fetches: HashMap<u32, AbortOnDrop<anyhow::Result<Bytes>>> = HashMap::new();
    let mut fetched: HashMap<u32, Bytes> = HashMap::new();
    let mut queue = std::collections::VecDeque::new();
    let mut unserved: u64 = offer.iter().map(|p| metainfo.piece_range(*p)).map(|r| r.end - r.start).sum();
    while unserved > 0 {
        if queue.is_empty() {
            match timeout(IDLE, requests.recv()).await {
                Ok(Some(request)) => queue.push_back(request),
                _ => break,
            }
        }
        while let Ok(request) = requests.try_recv() {
            queue.push_back(request);
        }
        for Request { piece, .. } in &queue {
            if offer.contains(piece) && !fetched.contains_key(piece) && !fetches.contains_key(piece) {
                let (http, metainfo, piece) = (http.clone(), metainfo.clone(), *piece);
                let fetch = tokio::spawn(async move { http.piece(&metainfo, piece).await });
                fetches.insert(piece, AbortOnDrop(fetch));
            }
        }
        let Some(Request { piece, begin, length }) = queue.pop_front() else { continue };
        if let Some(mut fetch) = fetches.remove(&piece) {
            let data = loop {
                match timeout(KEEP_ALIVE, &mut fetch.0).await {
                    Ok(done) => break done??,
                    // The session ends a connection that is silent for long, however slow the link is.
                    Err(_) => writer.write_all(&[0; 4]).await?,
                }
            };
            fetched.insert(piece, data);
        }
        let data = fetched.get(&piece).context("a piece was requested that was not offered")?;
        let block = data
            .get(begin as usize..begin as usize + length as usize)
            .context("a block outside of its piece")?;
        let mut message = Vec::with_capacity(block.len() + 13);
        message.extend_from_slice(&(block.len() as u32 + 9).to_be_bytes());
        message.push(7); // piece (BEP 3)
        message.extend_from_slice(&piece.to_be_bytes());
        message.extend_from_slice(&begin.to_be_bytes());
        message.extend_from_slice(block);
        writer.write_all(&message).await?;
        unserved = unserved.saturating_sub(block.len() as u64);
    }
    drop(reading);
    // Let the session read the last block before it sees the end of the connection.
    sleep(Duration::from_millis(50)).await;
    Ok(())
}

/// Handshake, bitfield with just the offered pieces, unchoke (BEP 3).
fn greeting(metainfo: &Metainfo, offer: &[u32]) -> Vec<u8> {
    let mut peer_id = *b"-BTws01-............";
    peer_id[8..].copy_from_slice(&rand::random::<[u8; 12]>());
    let mut out = b"\x13BitTorrent protocol\0\0\0\0\0\0\0\0".to_vec();
    out.extend_from_slice(&metainfo.infohash().0);
    out.extend_from_slice(&peer_id);
    let mut bits = vec![0u8; metainfo.pieces().div_ceil(8) as usize];
    for piece in offer {
        bits[*piece as usize / 8] |= 0x80 >> (piece % 8);
    }
    out.extend_from_slice(&(bits.len() as u32 + 1).to_be_bytes());
    out.push(5); // bitfield
    out.extend_from_slice(&bits);
    out.extend_from_slice(&[0, 0, 0, 1, 1]); // unchoke
    out
}

#[derive(Debug, PartialEq)]
struct Request {
    piece: u32,
    begin: u32,
    length: u32,
}

async fn read_requests(mut reader: OwnedReadHalf, to: mpsc::UnboundedSender<Request>) -> anyhow::Result<()> {
    loop {
        let length = reader.read_u32().await?;
        if length > MAX_MESSAGE {
            bail!("a message of {length} bytes");
        }
        let mut message = vec![0; length as usize];
        reader.read_exact(&mut message).await?;
        if let Some(request) = parse_request(&message) {
            to.send(request)?;
        }
    }
}

/// A request (id 6) of at most a block; every other message is none of our business.
fn parse_request(message: &[u8]) -> Option<Request> {
    let numbers: &[u8; 12] = message.strip_prefix(&[6])?.try_into().ok()?;
    let number = |i: usize| u32::from_be_bytes(numbers[i..i + 4].try_into().expect("four bytes"));
    let request = Request { piece: number(0), begin: number(4), length: number(8) };
    (request.length <= 128 << 10).then_some(request)
}

struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_requests_only() {
        let message = [6, 0, 0, 0, 1, 0, 0, 64, 0, 0, 0, 64, 0];
        assert_eq!(parse_request(&message), Some(Request { piece: 1, begin: 16384, length: 16384 }));
        assert_eq!(parse_request(&message[..12]), None);
        assert_eq!(parse_request(&[]), None);
        assert_eq!(parse_request(&[6, 0, 0, 0, 1, 0, 0, 0, 0, 9, 0, 0, 0]), None, "too long");
    }
}
