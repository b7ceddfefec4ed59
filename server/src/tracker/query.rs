// SPDX-License-Identifier: GPL-3.0-or-later
//! Reading what a BitTorrent client asks. Parsed here and not by a form
//! library, because `info_hash` and `peer_id` are raw bytes, percent-encoded.

use bootspec::InfoHash;

/// A query is never longer than this; a scrape of many torrents is the longest.
pub const MAX_QUERY: usize = 4096;
/// Torrents in one scrape.
pub const MAX_SCRAPE: usize = 64;

/// What a client says has happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Event {
    /// Nothing: it asks for peers from time to time.
    #[default]
    None,
    /// It has begun.
    Started,
    /// It has all pieces now.
    Completed,
    /// It goes away.
    Stopped,
}

/// One announce (BEP 3, BEP 23). What is not needed is not kept: `ip` above all,
/// since a machine may only speak for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announce {
    /// Which torrent.
    pub infohash: InfoHash,
    /// The client's name for itself.
    pub peer_id: [u8; 20],
    /// The port on which it listens.
    pub port: u16,
    /// Bytes that it lacks; `None`: not said.
    pub left: Option<u64>,
    /// What has happened.
    pub event: Event,
    /// How many peers it wants.
    pub numwant: Option<usize>,
    /// Whether peers are told in six bytes each.
    pub compact: bool,
}

impl Announce {
    /// Read a query string. The error is what the client shows its user.
    pub fn parse(query: &str) -> Result<Announce, String> {
        let (mut infohash, mut peer_id, mut port) = (None, None, None);
        let (mut left, mut event, mut numwant, mut compact) = (None, Event::None, None, true);
        for (name, value) in pairs(query)? {
            match name.as_slice() {
                b"info_hash" => infohash = Some(InfoHash(twenty("info_hash", &value)?)),
                b"peer_id" => peer_id = Some(twenty("peer_id", &value)?),
                b"port" => port = number::<u16>(&value).filter(|p| *p != 0),
                b"left" => left = number(&value),
                b"numwant" => numwant = number(&value),
                b"compact" => compact = value != b"0",
                b"event" => {
                    event = match value.as_slice() {
                        b"started" => Event::Started,
                        b"completed" => Event::Completed,
                        b"stopped" => Event::Stopped,
                        _ => Event::None,
                    }
                }
                _ => {}
            }
        }
        Ok(Announce {
            infohash: infohash.ok_or("info_hash is missing")?,
            peer_id: peer_id.ok_or("peer_id is missing")?,
            port: port.ok_or("port is missing or no port")?,
            left,
            event,
            numwant,
            compact,
        })
    }
}

/// The torrents that a scrape asks for (BEP 48); none: all.
pub fn scrape(query: &str) -> Result<Vec<InfoHash>, String> {
    let hashes = pairs(query)?.into_iter().filter(|(name, _)| name == b"info_hash");
    hashes.take(MAX_SCRAPE).map(|(_, value)| Ok(InfoHash(twenty("info_hash", &value)?))).collect()
}

/// A name and a value, both as raw bytes.
type Pair = (Vec<u8>, Vec<u8>);

fn pairs(query: &str) -> Result<Vec<Pair>, String> {
    if query.len() > MAX_QUERY {
        return Err(format!("the query is longer than {MAX_QUERY} bytes"));
    }
    let pair = |p: &str| {
        let (name, value) = p.split_once('=').unwrap_or((p, ""));
        (decode(name), decode(value))
    };
    Ok(query.split('&').filter(|p| !p.is_empty()).map(pair).collect())
}

/// Percent-decoding; a `%` that begins no byte stands for itself.
fn decode(text: &str) -> Vec<u8> {
    let digit = |b: Option<&u8>| b.and_then(|b| (*b as char).to_digit(16));
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::with_capacity(text.len()), 0);
    while let Some(byte) = bytes.get(at) {
        match (byte, digit(bytes.get(at + 1)), digit(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push((high << 4 | low) as u8);
                at += 2;
            }
            (b'+', ..) => out.push(b' '),
            (byte, ..) => out.push(*byte),
        }
        at += 1;
    }
    out
}

fn twenty(name: &str, value: &[u8]) -> Result<[u8; 20], String> {
    value.try_into().map_err(|_| format!("{name} has {} bytes and not 20", value.len()))
}

fn number<T: std::str::FromStr>(value: &[u8]) -> Option<T> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("%{b:02X}")).collect()
    }

    #[test]
    fn reads_what_clients_send() {
        // As aria2 writes it: letters as they are, the rest percent-encoded, lower case.
        let query = "info_hash=%124Vx%9a%bc%de%f1%23Eg%89%ab%cd%ef%124Vx%9a&peer_id=A2-1-36-0-%00%01abcdefgh\
                     &uploaded=0&downloaded=0&left=5&compact=1&key=A2&numwant=50&no_peer_id=1&port=6881\
                     &event=started&supportcrypto=1&ip=6.6.6.6";
        let a = Announce::parse(query).unwrap();
        assert_eq!(a.infohash.to_string(), "123456789abcdef123456789abcdef123456789a");
        assert_eq!(&a.peer_id, b"A2-1-36-0-\0\x01abcdefgh");
        assert_eq!(
            (a.port, a.left, a.event, a.numwant, a.compact),
            (6881, Some(5), Event::Started, Some(50), true)
        );
    }

    #[test]
    fn says_what_is_wrong() {
        let id = encode(&[7; 20]);
        for (query, why) in [
            (String::new(), "info_hash is missing"),
            (format!("info_hash={}", encode(&[1; 19])), "info_hash has 19 bytes and not 20"),
            (format!("info_hash={id}"), "peer_id is missing"),
            (format!("info_hash={id}&peer_id={id}"), "port is missing or no port"),
            (format!("info_hash={id}&peer_id={id}&port=0"), "port is missing or no port"),
            (format!("info_hash={id}&peer_id={id}&port=99999"), "port is missing or no port"),
            ("x".repeat(5000), "the query is longer than 4096 bytes"),
        ] {
            assert_eq!(Announce::parse(&query).unwrap_err(), why);
        }
    }

    #[test]
    fn scrapes() {
        let (a, b) = (encode(&[1; 20]), encode(&[2; 20]));
        assert_eq!(
            scrape(&format!("info_hash={a}&info_hash={b}")).unwrap(),
            [InfoHash([1; 20]), InfoHash([2; 20])]
        );
        assert_eq!(scrape("").unwrap(), []);
        assert!(scrape("info_hash=x").is_err());
    }

    proptest! {
        #[test]
        fn no_query_panics(query in "\\PC{0,200}", ours in "((info_hash|peer_id|port|%)(=[^&]{0,30})?&?){0,9}") {
            let _ = (Announce::parse(&query), Announce::parse(&ours), scrape(&ours));
        }

        #[test]
        fn every_hash_survives(hash: [u8; 20], id: [u8; 20], port in 1u16..) {
            let query = format!("info_hash={}&peer_id={}&port={port}", encode(&hash), encode(&id));
            let a = Announce::parse(&query).unwrap();
            prop_assert_eq!((a.infohash.0, a.peer_id, a.port), (hash, id, port));
        }
    }
}
