// SPDX-License-Identifier: GPL-3.0-or-later
//! A peer of our own that serves what nobody else does, from HTTP.
//!
//! librqbit has no web seeds (BEP 19). So when the swarm stalls, a local
//! connection joins our own session as a peer that has a few of the missing
//! pieces, and answers requests with what it fetches from the server. The
//! session verifies its pieces like any other's, and tells other machines of them.

use crate::{http::HttpSource, metainfo::Metainfo, storage::Payload};
use anyhow::{Context, bail};
use bytes::Bytes;
use std::{
    collections::{HashMap, HashSet},
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, tcp::OwnedReadHalf},
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};

/// No new piece for this long: the swarm has stalled.
const STALL: Duration = Duration::from_secs(3);
/// Pieces offered in the first round, and at most.
const ROUND: std::ops::RangeInclusive<usize> = 4..=64;
/// The session has asked for nothing this long: the round is over.
const IDLE: Duration = Duration::from_secs(3);
/// The longest message from our own session: a bitfield of every piece, or a peer list.
const MAX_MESSAGE: u32 = 4 << 20;

/// Local addresses of web seed connections, so that accounting knows them.
#[derive(Clone, Default)]
pub(crate) struct OwnPeers(Arc<Mutex<HashSet<SocketAddr>>>);

impl OwnPeers {
    pub(crate) fn contains(&self, address: &SocketAddr) -> bool {
        self.0.lock().expect("no panic under the lock").contains(address)
    }

    fn insert(&self, address: SocketAddr) {
        self.0.lock().expect("no panic under the lock").insert(address);
    }
}

/// Watch over a download until it is complete; step in when it stalls, and
/// stay in for as long as the others bring less than HTTP does.
pub(crate) async fn run(
    port: u16,
    metainfo: Metainfo,
    payload: Arc<Payload>,
    http: HttpSource,
    own: OwnPeers,
) {
    loop {
        wait_for_stall(&payload).await;
        if payload.complete() {
            return;
        }
        let mut round = *ROUND.start();
        loop {
            let (have, received) = (payload.have_bytes(), http.received());
            let offer = payload.missing(round);
            if let Err(e) = serve(port, &metainfo, &offer, &http, &own).await {
                tracing::debug!("web seed: {e:#}");
            }
            if payload.complete() {
                return;
            }
            let (gained, ours) = (payload.have_bytes() - have, http.received() - received);
            let swarm_is_back = gained > 2 * ours;
            if swarm_is_back || ours == 0 {
                break;
            }
            round = (round * 2).min(*ROUND.end());
        }
    }
}

/// Returns when no piece has come for [`STALL`].
async fn wait_for_stall(payload: &Payload) {
    loop {
        let before = payload.have_bytes();
        sleep(STALL).await;
        if payload.have_bytes() == before {
            return;
        }
    }
}

/// One connection that offers some pieces, until all are served or nothing is asked for.
async fn serve(
    port: u16,
    metainfo: &Metainfo,
    offer: &[u32],
    http: &HttpSource,
    own: &OwnPeers,
) -> anyhow::Result<()> {
    let mut stream =
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.context("connecting to our own session")?;
    own.insert(stream.local_addr()?);
    stream.write_all(&greeting(metainfo, offer)).await?;
    let mut handshake = [0; 68];
    stream.read_exact(&mut handshake).await.context("reading our own session's handshake")?;
    let (reader, mut writer) = stream.into_split();

    // Requests are read while pieces are fetched, so that fetches overlap.
    let (requests_tx, mut requests) = mpsc::unbounded_channel();
    let reading = AbortOnDrop(tokio::spawn(read_requests(reader, requests_tx)));
    let mut fetches: HashMap<u32, JoinHandle<anyhow::Result<Bytes>>> = HashMap::new();
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
                fetches.insert(piece, tokio::spawn(async move { http.piece(&metainfo, piece).await }));
            }
        }
        let Some(Request { piece, begin, length }) = queue.pop_front() else { continue };
        if let Some(fetch) = fetches.remove(&piece) {
            fetched.insert(piece, fetch.await??);
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
