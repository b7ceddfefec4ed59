// SPDX-License-Identifier: GPL-3.0-or-later
//! A connection's life: greet, then read and write until one side has enough.

use crate::{
    conn::Conn,
    gate::{Slot, Waiting},
    heed::Heed,
    socket,
    torrent::Shared,
    wire::{self, Frames},
};
use anyhow::bail;
use librqbit_core::hash_id::Id20;
use librqbit_peer_protocol::{
    Message, Request,
    extended::{
        ExtendedMessage,
        handshake::ExtendedHandshake,
        ut_metadata::{UtMetadata, UtMetadataData},
    },
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
    task::yield_now,
    time::{sleep, timeout},
};

/// We are alive (BEP 3, keep-alive), when nothing else was said for so long; and to those who wait for a block.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(1);
/// No word for so long: gone.
const SILENCE: Duration = Duration::from_secs(150);
/// No word from one of ours that owes us blocks.
const STALLED: Duration = Duration::from_millis(2500);
/// Messages that are heeded before others have their turn.
const YIELD: usize = 64;
/// Bytes that are not worth being woken for, when nothing useful is among them.
const DRIBBLE: usize = 512;
/// What is sent in one turn.
const TURN: usize = 256 << 10;
/// And to one who fetches the same again and again.
const TURN_AGAIN: usize = 64 << 10;
/// A peer that takes nothing for so long does not keep others waiting.
const STUCK: Duration = Duration::from_millis(100);
/// The length of a piece message before its block.
const PREAMBLE: usize = 13;
/// What the info dictionary is cut into (BEP 9).
const PART: usize = 16 << 10;
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
        () = shared.setup.end.cancelled() => Ok(()),
    }
}

struct Leave<'a>(&'a Shared, &'a Conn);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.leave(self.1);
    }
}

pub(crate) fn greet(shared: &Shared, conn: &Conn) {
    {
        let state = shared.state();
        let have = state.picker.have();
        if state.deal.is_none() && !have.is_empty() {
            conn.say(&Message::Bitfield(have.to_wire().as_slice().into()));
        }
    }
    let mut hello = ExtendedHandshake::new();
    hello.p = Some(shared.setup.port.into());
    hello.v = Some(NAME.as_bytes().into());
    hello.reqq = Some(2000);
    hello.metadata_size = Some(shared.setup.metainfo.info().len() as u32);
    conn.say(&Message::Extended(ExtendedMessage::Handshake(hello)));
    // Everybody may ask: who is served when, the gate decides.
    conn.say(&Message::Unchoke);
    shared.show(conn);
}

/// Who has everything wants no blocks.
pub(crate) fn frames(shared: &Shared) -> Frames {
    match shared.complete() {
        true => Frames::without_blocks(shared.store.layout().pieces()),
        false => Frames::default(),
    }
}

async fn read(shared: &Arc<Shared>, conn: &Conn, mut stream: ReadHalf<'_>) -> anyhow::Result<()> {
    let mut frames = frames(shared);
    let (mut heed, mut heard, mut came) = (Heed::default(), Instant::now(), usize::MAX);
    loop {
        let (mut taken, mut useful) = (0, false);
        while let Some(message) = frames.next()? {
            let cost = heed.message(shared, conn, message)?;
            taken += 1;
            useful |= cost == 0;
            if let Some(wait) = heed.effort.spend(cost, shared.now()) {
                sleep(wait).await;
            } else if taken % YIELD == 0 {
                // Others have something to do as well, however much this one says at once.
                yield_now().await;
            }
        }
        if came < DRIBBLE
            && !useful
            && let Some(wait) = heed.effort.spend(1, shared.now())
        {
            sleep(wait).await;
        }
        if shared.store.may_wait() {
            shared.write_queue.has_room().await;
        }
        shared.want_from(conn);
        match timeout(PATIENCE, frames.fill(&mut stream)).await {
            Ok(n) => {
                came = n?;
                anyhow::ensure!(came > 0, "it has closed the connection");
                shared.setup.gate.came(came).await;
                if let Some(slow) = &shared.setup.slow {
                    slow.pass(came).await;
                }
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

async fn write(shared: &Arc<Shared>, conn: &Conn, mut stream: WriteHalf<'_>) -> anyhow::Result<()> {
    let mut turn = Turn::None;
    let mut said = Instant::now();
    loop {
        let (out, look, waiting) = take(shared, conn);
        if look {
            shared.want_from(conn);
        }
        if !out.is_empty() {
            if out.len() >= PART {
                shared.setup.gate.pass(out.len()).await;
            }
            stream.write_all(&out).await?;
            said = Instant::now();
            // More may wait: parts of the metainfo go one by one.
            continue;
        }
        match (&mut turn, waiting) {
            (Turn::Mine { .. }, false) => turn = Turn::None,
            (Turn::None, true) => turn = Turn::Queued(shared.queue(conn)),
            (Turn::Mine { left, slot }, true) => {
                let Some(request) = conn.next(&shared.queued) else { continue };
                shared.vouch(request.index).await?;
                shared.read_ahead(&request).await?;
                shared.setup.gate.pass(request.length as usize).await;
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
            slot = turn.wait() => {
                let left = if shared.fetches_again(conn) { TURN_AGAIN } else { TURN };
                turn = Turn::Mine { left, slot };
            }
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
pub(crate) fn take(shared: &Shared, conn: &Conn) -> (Vec<u8>, bool, bool) {
    let mut outbox = conn.outbox();
    let mut out = std::mem::take(&mut outbox.control);
    if let Some(part) = outbox.parts.pop_front() {
        wire::put(&mut out, &metadata(shared, part), outbox.theirs);
    }
    for piece in std::mem::take(&mut outbox.haves) {
        wire::put(&mut out, &Message::Have(piece), outbox.theirs);
    }
    (out, std::mem::take(&mut outbox.look), !outbox.uploads.is_empty())
}

/// A part of the info dictionary, for those who have only its hash (BEP 9).
fn metadata(shared: &Shared, part: u32) -> Message<'_> {
    let info = shared.setup.metainfo.info();
    Message::Extended(ExtendedMessage::UtMetadata(match info.chunks(PART).nth(part as usize) {
        Some(bytes) => UtMetadata::Data(UtMetadataData::from_bytes(part, info.len() as u32, bytes.into())),
        None => UtMetadata::Reject(part),
    }))
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
