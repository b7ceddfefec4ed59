// SPDX-License-Identifier: GPL-3.0-or-later
//! A connection's life: greet, then read and write until one side has enough.

use crate::{
    conn::Conn,
    gate::{Slot, Waiting},
    plan::Bits,
    socket,
    torrent::Shared,
    wire::{self, Frames},
};
use anyhow::{Context, bail};
use librqbit_core::hash_id::Id20;
use librqbit_peer_protocol::{
    Message, Request,
    extended::{ExtendedMessage, handshake::ExtendedHandshake, ut_metadata::UtMetadata, ut_pex::UtPex},
};
use nix::sys::sendfile::sendfile;
use std::{
    io,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncWriteExt, Interest},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    time::timeout,
};

/// We are alive (BEP 3, keep-alive), when nothing else was said for so long; and to those who wait for a block.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(1);
/// No word for so long: gone.
const SILENCE: Duration = Duration::from_secs(150);
/// No word from one of ours that owes us blocks.
const STALLED: Duration = Duration::from_millis(2500);
/// What is sent in one turn.
const TURN: usize = 256 << 10;
/// A peer that takes nothing for so long does not keep others waiting.
const STUCK: Duration = Duration::from_millis(100);
/// The length of a piece message before its block.
const PREAMBLE: usize = 13;
/// How our agents and servers call themselves in the extension handshake.
const NAME: &str = concat!("boottorrent ", env!("CARGO_PKG_VERSION"));

/// Talk to a peer, after both handshakes, until the connection ends. The reason is for the log.
pub(crate) async fn run(
    shared: &Arc<Shared>,
    mut stream: TcpStream,
    address: SocketAddr,
    peer_id: Id20,
    incoming: bool,
) -> anyhow::Result<()> {
    let conn = shared.join(address, peer_id, incoming)?;
    let _leave = Leave(shared, &conn);
    socket::tune(&stream)?;
    greet(shared, &conn);
    let (from, to) = stream.split();
    tokio::select! {
        ended = read(shared, &conn, from) => ended,
        ended = write(shared, &conn, to) => ended,
        () = conn.end.cancelled() => Ok(()),
        () = shared.end.cancelled() => Ok(()),
    }
}

struct Leave<'a>(&'a Shared, &'a Conn);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.leave(self.1);
    }
}

fn greet(shared: &Shared, conn: &Conn) {
    {
        let state = shared.state();
        let have = state.picker.have();
        if state.deal.is_none() && !have.is_empty() {
            conn.say(&Message::Bitfield(have.to_wire().as_slice().into()));
        }
    }
    let mut hello = ExtendedHandshake::new();
    hello.p = Some(shared.port.into());
    hello.v = Some(NAME.as_bytes().into());
    hello.reqq = Some(2000);
    hello.metadata_size = Some(shared.metainfo.info().len() as u32);
    conn.say(&Message::Extended(ExtendedMessage::Handshake(hello)));
    // Everybody may ask: who is served when, the gate decides.
    conn.say(&Message::Unchoke);
    shared.show(conn);
}

async fn read(shared: &Arc<Shared>, conn: &Conn, mut stream: ReadHalf<'_>) -> anyhow::Result<()> {
    let mut frames = Frames::default();
    let mut heard = Instant::now();
    loop {
        while let Some(message) = frames.take()? {
            heed(shared, conn, message)?;
        }
        shared.want_from(conn);
        match timeout(PATIENCE, frames.fill(&mut stream)).await {
            Ok(n) => {
                let n = n?;
                anyhow::ensure!(n > 0, "it has closed the connection");
                shared.gate.came(n).await;
                heard = Instant::now();
                conn.heard.store(shared.now().as_millis() as u64, Ordering::Relaxed);
            }
            Err(_) => {
                let owes = shared.state().picker.asked(conn.key) > 0;
                let ours = conn.ours.load(Ordering::Relaxed);
                if heard.elapsed() >= if owes && ours { STALLED } else { SILENCE } {
                    bail!("no word for {:?}", heard.elapsed());
                }
            }
        }
    }
}

fn heed(shared: &Arc<Shared>, conn: &Conn, message: Message<'_>) -> anyhow::Result<()> {
    let pieces = shared.store.layout().pieces();
    match message {
        Message::Piece(piece) => shared.received(conn, piece.index, piece.begin, piece.data().0),
        Message::Have(piece) if piece < pieces => shared.peer_has(conn, std::iter::once(piece)),
        Message::Have(piece) => bail!("it has piece {piece} of {pieces}"),
        // First by BEP 3. Some send it after their extension handshake, and aria2 instead of many HAVEs.
        Message::Bitfield(bits) => {
            let bits = Bits::from_wire(bits.as_ref(), pieces).context("a bitfield of the wrong length")?;
            shared.peer_has(conn, bits.iter());
        }
        Message::Request(request) => {
            if shared.may_have(conn, &request) && !conn.requested(request) {
                bail!("too many requests");
            }
        }
        Message::Cancel(request) => conn.cancelled(request),
        Message::Choke | Message::Unchoke => {
            let choking = matches!(message, Message::Choke);
            let mut state = shared.state();
            if state.picker.choke(conn.key, choking) {
                state.conns.values().for_each(|c| c.look());
            }
        }
        Message::Extended(extended) => extension(shared, conn, extended),
        Message::Interested | Message::NotInterested | Message::KeepAlive => {}
    }
    Ok(())
}

fn extension(shared: &Shared, conn: &Conn, message: ExtendedMessage<librqbit_buffers::ByteBuf<'_>>) {
    match message {
        ExtendedMessage::Handshake(hello) => {
            conn.outbox().theirs = hello.m;
            if let Some(port) = hello.port() {
                conn.port.store(port, Ordering::Relaxed);
            }
            let ours = hello.v.is_some_and(|v| v.0.starts_with(b"boottorrent"));
            conn.ours.store(ours, Ordering::Relaxed);
            if let (false, Some(deal)) = (ours, &mut shared.state().deal) {
                deal.is_slow_to_ask(conn.key);
            }
            if hello.m.ut_pex.is_some() && !shared.metainfo.private() {
                tell_peers(shared, conn);
            }
        }
        ExtendedMessage::UtPex(pex) if !shared.metainfo.private() => {
            shared.known.add(pex.added_peers().map(|p| p.addr));
        }
        ExtendedMessage::UtMetadata(UtMetadata::Request(piece)) => send_metadata(shared, conn, piece),
        _ => {}
    }
}

/// Peer exchange (BEP 11), once: who is here when a peer comes. The tracker and those who come later tell the rest.
fn tell_peers(shared: &Shared, conn: &Conn) {
    const TOLD: usize = 50;
    let peers: Vec<SocketAddr> = {
        let state = shared.state();
        let others = state.conns.values().filter(|c| c.key != conn.key);
        others.filter_map(|c| c.listens()).take(TOLD).collect()
    };
    if !peers.is_empty() {
        let pex = UtPex::from_addrs(peers.iter().copied(), std::iter::empty());
        conn.say(&Message::Extended(ExtendedMessage::UtPex(pex.as_borrowed())));
    }
}

/// The info dictionary, for those who have only its hash (BEP 9).
fn send_metadata(shared: &Shared, conn: &Conn, piece: u32) {
    use librqbit_peer_protocol::extended::ut_metadata::UtMetadataData;
    const PART: usize = 16 << 10;
    let info = shared.metainfo.info();
    let message = match info.chunks(PART).nth(piece as usize) {
        Some(part) => UtMetadata::Data(UtMetadataData::from_bytes(piece, info.len() as u32, part.into())),
        None => UtMetadata::Reject(piece),
    };
    // Who asks without reading gets no more than this.
    if conn.outbox().control.len() < 1 << 20 {
        conn.say(&Message::Extended(ExtendedMessage::UtMetadata(message)));
    }
}

async fn write(shared: &Arc<Shared>, conn: &Conn, mut stream: WriteHalf<'_>) -> anyhow::Result<()> {
    let mut turn = Turn::None;
    let mut said = Instant::now();
    loop {
        let (out, look, waiting) = take(conn);
        if look {
            shared.want_from(conn);
        }
        if !out.is_empty() {
            stream.write_all(&out).await?;
            said = Instant::now();
        }
        match (&mut turn, waiting) {
            (Turn::Mine { .. }, false) => turn = Turn::None,
            (Turn::None, true) => turn = Turn::Queued(shared.queue()),
            (Turn::Mine { left, slot }, true) => {
                let Some(request) = conn.outbox().uploads.pop_front() else { continue };
                shared.gate.pass(request.length as usize).await;
                send_block(shared, stream.as_ref(), &request, slot).await?;
                shared.sent(conn, &request);
                said = Instant::now();
                *left = left.saturating_sub(request.length as usize);
                if *left == 0 || slot.is_none() {
                    turn = Turn::None;
                }
                continue;
            }
            _ => {}
        }
        let quiet = if waiting { PATIENCE } else { KEEP_ALIVE };
        tokio::select! {
            slot = turn.wait() => turn = Turn::Mine { left: TURN, slot },
            () = conn.woken() => {}
            () = tokio::time::sleep_until((said + quiet).into()) => {
                stream.write_all(&[0; 4]).await?;
                said = Instant::now();
            }
        }
    }
}

/// Where a connection stands in the queue of those who send blocks.
enum Turn {
    None,
    Queued(Waiting),
    Mine { left: usize, slot: Option<Slot> },
}

impl Turn {
    async fn wait(&mut self) -> Option<Slot> {
        match self {
            Turn::Queued(waiting) => waiting.turn().await,
            _ => std::future::pending().await,
        }
    }
}

/// What goes out now, whether to look for more to ask, and whether blocks wait.
fn take(conn: &Conn) -> (Vec<u8>, bool, bool) {
    let mut outbox = conn.outbox();
    let mut out = std::mem::take(&mut outbox.control);
    for piece in std::mem::take(&mut outbox.haves) {
        wire::put(&mut out, &Message::Have(piece), outbox.theirs);
    }
    (out, std::mem::take(&mut outbox.look), !outbox.uploads.is_empty())
}

/// Header and block; the block goes from the page cache to the socket, not through us (sendfile(2)).
async fn send_block(
    shared: &Shared,
    stream: &TcpStream,
    request: &Request,
    slot: &mut Option<Slot>,
) -> anyhow::Result<()> {
    let mut header = [0; PREAMBLE];
    preamble(request, &mut header);
    let mut sent = 0;
    while sent < header.len() {
        sent += unless_stuck(slot, stream, || {
            socket2::SockRef::from(stream).send_with_flags(&header[sent..], nix::libc::MSG_MORE)
        })
        .await?;
    }
    let mut at = shared.store.layout().offset(request.index) + u64::from(request.begin);
    let mut left = request.length as usize;
    while left > 0 {
        let (file, place, here) = shared.store.file(at, left);
        let mut place = place as i64;
        let n = unless_stuck(slot, stream, || Ok(sendfile(stream, file, Some(&mut place), here)?)).await?;
        if n == 0 {
            bail!("the payload's file is too short");
        }
        at += n as u64;
        left -= n;
    }
    Ok(())
}

/// Write; when the other side takes nothing for a while, others may send meanwhile.
async fn unless_stuck(
    slot: &mut Option<Slot>,
    stream: &TcpStream,
    mut write: impl FnMut() -> io::Result<usize>,
) -> io::Result<usize> {
    if slot.is_some() {
        match timeout(STUCK, stream.async_io(Interest::WRITABLE, &mut write)).await {
            Ok(done) => return done,
            Err(_) => drop(slot.take()),
        }
    }
    stream.async_io(Interest::WRITABLE, write).await
}

fn preamble(request: &Request, out: &mut [u8; PREAMBLE]) {
    out[..4].copy_from_slice(&(request.length + 9).to_be_bytes());
    out[4] = 7;
    out[5..9].copy_from_slice(&request.index.to_be_bytes());
    out[9..].copy_from_slice(&request.begin.to_be_bytes());
}
