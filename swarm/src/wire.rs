// SPDX-License-Identifier: GPL-3.0-or-later
//! Messages on a connection (BEP 3, 10, 11), bounded before they are believed.
//! Parsed and written by librqbit's protocol crate.

use anyhow::{Context, bail};
use librqbit_core::hash_id::Id20;
use librqbit_peer_protocol::{Handshake, Message, extended::PeerExtendedMessageIds};
use std::time::Duration;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// The largest message that is read: four blocks of 16 KiB together, the bitfield of 131072 pieces, a peer list.
const MAX_FRAME: usize = (64 << 10) + 64;
/// Holds the largest message, and what comes with it.
const BUFFER: usize = 192 << 10;
/// The largest message but blocks and bitfields: a part of the metainfo, a long list of peers.
const SMALL: usize = 20 << 10;
/// What is read with the largest message at most, where there are few and small ones.
const SPARE: usize = 4 << 10;
/// How long the other side has for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
const HANDSHAKE_LEN: usize = 68;

/// Read the other side's handshake.
pub(crate) async fn read_handshake(stream: &mut TcpStream) -> anyhow::Result<Handshake> {
    let mut bytes = [0; HANDSHAKE_LEN];
    timeout(HANDSHAKE, stream.read_exact(&mut bytes)).await.context("no handshake")??;
    Ok(Handshake::deserialize(&bytes)?.0)
}

/// Send ours.
pub(crate) async fn write_handshake(
    stream: &mut TcpStream,
    infohash: Id20,
    peer_id: Id20,
) -> anyhow::Result<()> {
    let mut bytes = [0; HANDSHAKE_LEN];
    let len = Handshake::new(infohash, peer_id).serialize_unchecked_len(&mut bytes);
    stream.write_all(&bytes[..len]).await?;
    Ok(())
}

/// Append a message to what goes out. `theirs`: the numbers that the other side gave extensions.
pub(crate) fn put(out: &mut Vec<u8>, message: &Message<'_>, theirs: PeerExtendedMessageIds) {
    let (start, room) = (out.len(), room(message));
    out.resize(start + room, 0);
    // Fails for an extension that the other side has not: then there is nothing to say.
    let written = message.serialize(&mut out[start..], &|| theirs).unwrap_or(0);
    out.truncate(start + written);
}

fn room(message: &Message<'_>) -> usize {
    match message {
        Message::Bitfield(bits) => bits.as_ref().len() + 16,
        Message::Extended(_) => 20 << 10,
        _ => 32,
    }
}

/// Cuts what arrives into messages.
pub struct Frames {
    buf: Vec<u8>,
    start: usize,
    end: usize,
    /// The largest message that is read.
    most: usize,
}

impl Default for Frames {
    fn default() -> Self {
        Self { buf: vec![0; BUFFER], start: 0, end: 0, most: MAX_FRAME }
    }
}

impl Frames {
    /// For somebody who wants no blocks: what else there is, and the bitfield of so many pieces.
    pub(crate) fn without_blocks(pieces: u32) -> Self {
        let most = (SMALL + pieces.div_ceil(8) as usize).min(MAX_FRAME);
        Self { buf: vec![0; most + SPARE], start: 0, end: 0, most }
    }

    /// Wait for more bytes. 0: the other side has closed.
    pub async fn fill(&mut self, from: &mut (impl AsyncRead + Unpin)) -> std::io::Result<usize> {
        let n = from.read(self.space()).await?;
        self.end += n;
        Ok(n)
    }

    /// Room for what comes next: always some, since a whole message is taken out before more is read.
    fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.buf.len() - self.end < self.most {
            self.buf.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        &mut self.buf[self.end..]
    }

    /// The next message that is whole. One of an unknown extension is as good as a keep-alive: it says nothing.
    pub fn take(&mut self) -> anyhow::Result<Option<Message<'_>>> {
        Ok(self.next()?.map(|(message, _)| message))
    }

    /// And how many bytes it has.
    pub(crate) fn next(&mut self) -> anyhow::Result<Option<(Message<'_>, usize)>> {
        let here = &self.buf[self.start..self.end];
        let Some(prefix) = here.first_chunk::<4>() else { return Ok(None) };
        let len = 4 + u32::from_be_bytes(*prefix) as usize;
        if len > self.most {
            bail!("a message of {len} bytes");
        }
        if here.len() < len {
            return Ok(None);
        }
        let frame = self.start..self.start + len;
        self.start = frame.end;
        Ok(Some((message(&self.buf[frame])?, len)))
    }
}

/// Not: DHT ports (BEP 5), the fast extension (BEP 6), which we do not offer, and extensions that do not parse.
fn message(frame: &[u8]) -> anyhow::Result<Message<'_>> {
    let parsed = || Message::deserialize(frame, &[]).map(|m| m.0);
    match frame.get(4) {
        None | Some(0..=8) => Ok(parsed()?),
        Some(20) => Ok(parsed().unwrap_or(Message::KeepAlive)),
        Some(_) => Ok(Message::KeepAlive),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn feed(frames: &mut Frames, bytes: &[u8]) {
        frames.space()[..bytes.len()].copy_from_slice(bytes);
        frames.end += bytes.len();
    }

    #[test]
    fn cuts_messages_wherever_they_are_split() {
        let mut out = Vec::new();
        for i in 0..100 {
            put(&mut out, &Message::Have(i), Default::default());
            put(&mut out, &Message::KeepAlive, Default::default());
            out.extend([0, 0, 0, 3, 9, 1, 2]); // a DHT port
        }
        for step in 1..40 {
            let (mut frames, mut seen) = (Frames::default(), Vec::new());
            for part in out.chunks(step) {
                feed(&mut frames, part);
                while let Some(message) = frames.take().unwrap() {
                    if let Message::Have(i) = message {
                        seen.push(i);
                    }
                }
            }
            assert_eq!(seen, (0..100).collect::<Vec<_>>());
        }
    }

    #[test]
    fn refuses_what_is_too_long_before_it_is_there() {
        let mut frames = Frames::default();
        feed(&mut frames, &[0, 1, 1, 0]);
        assert!(frames.take().is_err());
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000), prefix in 0u8..40, id in 0u8..24) {
            let mut frames = Frames::default();
            feed(&mut frames, &[0, 0, 0, prefix, id]);
            feed(&mut frames, &bytes);
            while let Ok(Some(_)) = frames.take() {}
        }
    }
}
