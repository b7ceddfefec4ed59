// SPDX-License-Identifier: GPL-3.0-or-later
//! What becomes of a peer's messages, and what each costs its sender: nothing when it brings something new or asks for
//! what is there to be asked for, else more the more it makes us do ([`Effort`]).

use crate::{
    conn::Conn,
    plan::{Bits, Effort},
    torrent::Shared,
};
use anyhow::{Context, bail, ensure};
use librqbit_buffers::ByteBuf;
use librqbit_peer_protocol::{
    Message,
    extended::{ExtendedMessage, handshake::ExtendedHandshake, ut_metadata::UtMetadata, ut_pex::UtPex},
};
use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// A message that changes nothing.
const USELESS: u32 = 1;
/// What wakes all other connections, or changes what a connection is.
const DEAR: u32 = 8;
/// Between two lists of peers (BEP 11 says a minute; clocks differ).
const PEX_EVERY: Duration = Duration::from_secs(45);
/// Addresses that are read of one list (BEP 11: 50 may be in it).
const PEX_MOST: usize = 100;
/// Peers that somebody new is told of.
const TOLD: usize = 50;
/// How often all of the metainfo may be asked for on one connection.
const METAINFO_TIMES: usize = 4;

/// What a peer has said before.
#[derive(Default)]
pub(crate) struct Heed {
    pub effort: Effort,
    greeted: bool,
    bitfield: bool,
    listed: Option<Duration>,
    parts: usize,
}

impl Heed {
    /// Take a message of so many bytes. What it costs its sender; an error: enough of this peer.
    pub(crate) fn message(
        &mut self,
        shared: &Arc<Shared>,
        conn: &Conn,
        (message, len): (Message<'_>, usize),
    ) -> anyhow::Result<u32> {
        let pieces = shared.store.layout().pieces();
        Ok(match message {
            Message::Piece(piece) => free(shared.received(conn, piece.index, piece.begin, piece.data().0)),
            Message::Have(piece) if piece < pieces => {
                let known = shared.state().picker.peer_has(conn.key, piece);
                free(!known && shared.peer_has(conn, &[piece], false))
            }
            Message::Have(piece) => bail!("it has piece {piece} of {pieces}"),
            // First by BEP 3. Some send it after their extension handshake, and aria2 instead of many HAVEs.
            Message::Bitfield(bits) => {
                let bits =
                    Bits::from_wire(bits.as_ref(), pieces).context("a bitfield of the wrong length")?;
                let new = shared.state().picker.news(conn.key, &bits);
                shared.peer_has(conn, &new, true);
                let again = std::mem::replace(&mut self.bitfield, true);
                if again { DEAR + pieces / 64 } else { 0 }
            }
            Message::Request(request) => {
                let may = shared.may_have(conn, &request);
                ensure!(!may || conn.requested(request, &shared.queued), "too many requests");
                free(may)
            }
            Message::Cancel(request) => USELESS + (conn.cancelled(&request, &shared.queued) / 1024) as u32,
            Message::Choke | Message::Unchoke => {
                let choking = matches!(message, Message::Choke);
                let mut state = shared.state();
                if state.picker.choke(conn.key, choking) {
                    state.conns.values().for_each(|c| c.look());
                }
                DEAR
            }
            Message::Extended(extended) => self.extended(shared, conn, extended)?,
            Message::Interested | Message::NotInterested => {
                conn.wants.store(matches!(message, Message::Interested), Ordering::Relaxed);
                USELESS
            }
            // Or something that we do not know.
            Message::KeepAlive => USELESS + (len / 1024) as u32,
        })
    }

    fn extended(
        &mut self,
        shared: &Shared,
        conn: &Conn,
        message: ExtendedMessage<ByteBuf<'_>>,
    ) -> anyhow::Result<u32> {
        Ok(match message {
            ExtendedMessage::Handshake(hello) => self.hello(shared, conn, &hello),
            ExtendedMessage::UtPex(pex) => self.peers(shared, conn, &pex),
            ExtendedMessage::UtMetadata(UtMetadata::Request(part)) => {
                self.parts += 1;
                let all = shared.setup.metainfo.info().len().div_ceil(16 << 10);
                ensure!(self.parts <= all * METAINFO_TIMES, "it asks for the metainfo again and again");
                ensure!(conn.asked_part(part), "it asks for more of the metainfo than there is");
                USELESS
            }
            _ => USELESS,
        })
    }

    /// An extension handshake (BEP 10). A later one may change the numbers of extensions, and no more.
    fn hello(&mut self, shared: &Shared, conn: &Conn, hello: &ExtendedHandshake<ByteBuf<'_>>) -> u32 {
        conn.outbox().theirs = hello.m;
        if std::mem::replace(&mut self.greeted, true) {
            return DEAR;
        }
        if let Some(port) = hello.port() {
            conn.port.store(port, Ordering::Relaxed);
        }
        let ours = hello.v.as_ref().is_some_and(|v| v.0.starts_with(b"boottorrent"));
        conn.ours.store(ours, Ordering::Relaxed);
        if let (false, Some(deal)) = (ours, &mut shared.state().deal) {
            deal.is_slow_to_ask(conn.key);
        }
        if hello.m.ut_pex.is_some() && !shared.setup.metainfo.private() {
            tell_peers(shared, conn);
        }
        USELESS
    }

    /// Peer exchange (BEP 11). More often than it allows, it is passed over.
    fn peers(&mut self, shared: &Shared, conn: &Conn, pex: &UtPex<ByteBuf<'_>>) -> u32 {
        let now = shared.now();
        let due = self.listed.is_none_or(|at| now.saturating_sub(at) >= PEX_EVERY);
        if due && !shared.setup.metainfo.private() {
            self.listed = Some(now);
            shared.known.gossip(conn.address, pex.added_peers().map(|p| p.addr).take(PEX_MOST));
        }
        DEAR
    }
}

fn free(useful: bool) -> u32 {
    if useful { 0 } else { USELESS }
}

/// Peer exchange (BEP 11), once: who is here when a peer comes. The tracker and those who come later tell the rest.
fn tell_peers(shared: &Shared, conn: &Conn) {
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
