// SPDX-License-Identifier: GPL-3.0-or-later
//! A torrent of which only the infohash is known: a magnet link (BEP 9), and the metainfo from
//! peers who have it. Whatever they say, only what has that infohash counts.

use crate::{
    discover::{self, Search},
    known::{Call, Known},
    metainfo::{Metainfo, sha1},
    metainfo_error::MAX_METAINFO,
    session::peer_id,
    socket,
    wire::{self, Frames},
};
use anyhow::{Context, bail, ensure};
use bootspec::InfoHash;
use librqbit_core::hash_id::Id20;
use librqbit_peer_protocol::{
    Message,
    extended::{
        ExtendedMessage, PeerExtendedMessageIds,
        handshake::ExtendedHandshake,
        ut_metadata::{UtMetadata, UtMetadataData},
    },
};
use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use tokio::{
    io::AsyncWriteExt,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// The longest link that is read: a kernel command line is shorter.
const MAX_LINK: usize = 8 << 10;
/// Trackers that are taken from it.
const MAX_TRACKERS: usize = 16;
/// Peers that are asked at once.
const AT_ONCE: usize = 8;
/// How long a peer may take for the next message that brings us further.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at who is known.
const LOOK: Duration = Duration::from_millis(250);
/// What the info dictionary is cut into (BEP 9).
const PART: usize = 16 << 10;

/// A magnet link: `magnet:?xt=urn:btih:INFOHASH&dn=NAME&tr=TRACKER&x.pe=PEER`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Magnet {
    /// Whose metainfo is wanted.
    pub infohash: InfoHash,
    /// Trackers, http or udp.
    pub trackers: Vec<String>,
    /// Peers.
    pub peers: Vec<SocketAddr>,
}

impl Magnet {
    /// What every magnet link begins with.
    pub const SCHEME: &str = "magnet:";

    /// Read a link. The error says what is wrong with it.
    pub fn parse(link: &str) -> Result<Self, String> {
        let bad = |why: &str| {
            format!("'{}' is not a valid magnet link: {why}", link.chars().take(80).collect::<String>())
        };
        if link.len() > MAX_LINK {
            return Err(bad("it is too long"));
        }
        let url = url::Url::parse(link).map_err(|e| bad(&e.to_string()))?;
        if url.scheme() != "magnet" {
            return Err(bad("it does not begin with magnet:?"));
        }
        let (mut infohash, mut trackers, mut peers) = (None, Vec::new(), Vec::new());
        for (key, value) in url.query_pairs() {
            match &*key {
                "xt" => {
                    if let Some(hash) = value.strip_prefix("urn:btih:") {
                        let id: Id20 = hash.parse().map_err(|_| bad("its btih is not an infohash"))?;
                        infohash = Some(InfoHash(id.0));
                    }
                }
                "tr" if trackers.len() < MAX_TRACKERS => {
                    trackers.extend(bootspec::params::tracker(&value).ok());
                }
                "x.pe" => peers.extend(value.parse::<SocketAddr>().ok()),
                _ => {}
            }
        }
        let infohash = infohash.ok_or_else(|| bad("it has no xt=urn:btih:INFOHASH"))?;
        Ok(Self { infohash, trackers, peers })
    }
}

/// What is wanted, and where to ask for it.
pub struct Wanted {
    /// The link.
    pub magnet: Magnet,
    /// Addresses of the server, which is asked first.
    pub servers: Vec<IpAddr>,
    /// The port for peers that we will have: trackers are told of it.
    pub port: u16,
    /// For trackers that speak HTTP.
    pub client: reqwest::Client,
}

/// Ask until somebody has it: look for peers by tracker and local discovery. Never ends when nobody has.
pub async fn obtain(wanted: Wanted) -> Metainfo {
    let Wanted { magnet: Magnet { infohash, trackers, peers }, servers, port, client } = wanted;
    let (end, me, known) = (CancellationToken::new(), peer_id(), Known::new(servers));
    let _over = end.clone().drop_guard();
    known.configured(peers.into_iter());
    let lsd = discover::local(end.clone()).await;
    let search = Search { infohash, peer_id: me, port, trackers: trackers.clone(), lsd, client };
    let found = discover::listen(search, Box::new(discover::Nothing), end, &known);
    let ask = async {
        let mut asked = JoinSet::new();
        loop {
            while asked.len() < AT_ONCE {
                let Some((address, _)) = known.next(true, &HashSet::new()) else { break };
                asked.spawn(async move { (address, from_peer(address, infohash, me).await) });
            }
            tokio::select! {
                Some(Ok((address, answer))) = asked.join_next() => {
                    let answer = answer.and_then(|info| Ok(Metainfo::assemble(&info, &trackers)?));
                    match answer {
                        Ok(metainfo) => return metainfo,
                        Err(e) => tracing::debug!("{address} gave no metainfo: {e:#}"),
                    }
                    // It may have none yet: who is there is not forgotten.
                    known.over(address, Call::Answered);
                }
                () = known.news() => {}
                () = sleep(LOOK) => {}
            }
        }
    };
    tokio::select! {
        metainfo = ask => metainfo,
        // Without trackers and multicast there are still those who were named.
        never = async { found.await; std::future::pending().await } => never,
    }
}

/// The info dictionary, from one peer.
async fn from_peer(address: SocketAddr, infohash: InfoHash, me: Id20) -> anyhow::Result<Vec<u8>> {
    let mut stream = timeout(PATIENCE, socket::connect(address)).await.context("no answer")??;
    let id = Id20::new(infohash.0);
    timeout(PATIENCE, wire::write_handshake(&mut stream, id, me)).await.context("it does not listen")??;
    ensure!(wire::read_handshake(&mut stream).await?.info_hash == id, "it answers for another torrent");
    let mut out = Vec::new();
    let hello = Message::Extended(ExtendedMessage::Handshake(ExtendedHandshake::new()));
    wire::put(&mut out, &hello, PeerExtendedMessageIds::default());
    let (mut frames, mut parts) = (Frames::default(), None);
    loop {
        if !out.is_empty() {
            timeout(PATIENCE, stream.write_all(&std::mem::take(&mut out)))
                .await
                .context("it does not listen")??;
        }
        let more = timeout(PATIENCE, async {
            loop {
                while let Some(message) = frames.take()? {
                    if heed(message, &mut parts, &mut out)? {
                        return Ok(());
                    }
                }
                ensure!(frames.fill(&mut stream).await? > 0, "it has closed the connection");
            }
        });
        more.await.context("it says nothing of it")??;
        if let Some(info) = parts.take_if(|p: &mut Parts| p.missing.is_empty()).map(|p| p.info) {
            ensure!(sha1(&info) == infohash.0, "what it sent is not what was asked for");
            return Ok(info);
        }
    }
}

/// What has come of an info dictionary.
struct Parts {
    info: Vec<u8>,
    missing: HashSet<u32>,
}

/// Take a message. True: it brought us further.
fn heed(message: Message<'_>, parts: &mut Option<Parts>, out: &mut Vec<u8>) -> anyhow::Result<bool> {
    let Message::Extended(message) = message else { return Ok(false) };
    match (message, parts) {
        (ExtendedMessage::Handshake(hello), parts @ None) => {
            ensure!(hello.m.ut_metadata.is_some(), "it does not pass metainfo on");
            let size = hello.metadata_size.unwrap_or(0) as usize;
            ensure!((1..=MAX_METAINFO).contains(&size), "its metainfo has {size} bytes");
            let missing: HashSet<u32> = (0..size.div_ceil(PART) as u32).collect();
            for part in 0..missing.len() as u32 {
                let ask = Message::Extended(ExtendedMessage::UtMetadata(UtMetadata::Request(part)));
                wire::put(out, &ask, hello.m);
            }
            *parts = Some(Parts { info: vec![0; size], missing });
            Ok(true)
        }
        (ExtendedMessage::UtMetadata(UtMetadata::Data(data)), Some(parts)) => {
            place(&data, parts)?;
            Ok(true)
        }
        (ExtendedMessage::UtMetadata(UtMetadata::Reject(_)), Some(_)) => bail!("it has none itself"),
        _ => Ok(false),
    }
}

fn place(data: &UtMetadataData<librqbit_buffers::ByteBuf<'_>>, parts: &mut Parts) -> anyhow::Result<()> {
    ensure!(parts.missing.remove(&data.piece()), "it sends what was not asked for");
    let at = data.piece() as usize * PART;
    let end = at + PART.min(parts.info.len() - at);
    ensure!(data.len() == end - at, "a part has the wrong length");
    data.copy_to_slice(&mut parts.info[at..end]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HASH: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn links_as_people_paste_them() {
        let link = format!(
            "magnet:?xt=urn:btih:{HASH}&dn=lab+%28live%29&tr=http%3A%2F%2F10.0.0.1%3A6980%2Fannounce\
             &tr=udp://10.0.0.2:6969&tr=wss://x/announce&x.pe=10.0.0.3:6881&x.pe=nonsense&ws=http://x/"
        );
        let magnet = Magnet::parse(&link).unwrap();
        assert_eq!(magnet.infohash.to_string(), HASH);
        assert_eq!(magnet.trackers, ["http://10.0.0.1:6980/announce", "udp://10.0.0.2:6969"]);
        assert_eq!(magnet.peers, ["10.0.0.3:6881".parse().unwrap()]);
        let base32 = Magnet::parse("magnet:?xt=urn:btih:AERUKZ4JVPG66AJDIVTYTK6N54ASGRLH").unwrap();
        assert_eq!(base32.infohash.to_string(), HASH);
        for (link, why) in [
            ("magnet:?dn=x", "it has no xt=urn:btih:INFOHASH"),
            ("magnet:?xt=urn:btih:123", "its btih is not an infohash"),
            ("magnet:?xt=urn:btmh:1220aa", "it has no xt=urn:btih:INFOHASH"),
            ("http://x/", "it does not begin with magnet:?"),
        ] {
            assert_eq!(
                Magnet::parse(link).unwrap_err(),
                format!("'{link}' is not a valid magnet link: {why}")
            );
        }
    }

    proptest! {
        #[test]
        fn hostile_links_never_panic(text in "(magnet:\\?)?(xt=urn:btih:|tr=|x.pe=|&|%[0-9a-f]{0,2}|.){0,40}") {
            let _ = Magnet::parse(&text);
        }
    }
}
