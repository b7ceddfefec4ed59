// SPDX-License-Identifier: GPL-3.0-or-later
//! What a tracker says, bencoded. Keys in a dictionary stand in sorted order (BEP 3).

use super::{Counts, Peers};
use std::{net::IpAddr, time::Duration};

/// An answer to an announce.
pub fn announce(peers: &Peers, compact: bool, interval: Duration, min_interval: Duration) -> Vec<u8> {
    let mut out = b"d".to_vec();
    number(&mut out, "complete", peers.complete as u64);
    number(&mut out, "incomplete", peers.incomplete as u64);
    number(&mut out, "interval", interval.as_secs());
    number(&mut out, "min interval", min_interval.as_secs());
    if compact {
        // BEP 23 and BEP 7: address and port, in network order.
        let (mut four, mut six) = (Vec::new(), Vec::new());
        for (at, _) in &peers.peers {
            match at.ip().to_canonical() {
                IpAddr::V4(ip) => four.extend(ip.octets().into_iter().chain(at.port().to_be_bytes())),
                IpAddr::V6(ip) => six.extend(ip.octets().into_iter().chain(at.port().to_be_bytes())),
            }
        }
        string(&mut out, b"peers");
        string(&mut out, &four);
        if !six.is_empty() {
            string(&mut out, b"peers6");
            string(&mut out, &six);
        }
    } else {
        string(&mut out, b"peers");
        out.push(b'l');
        for (at, id) in &peers.peers {
            out.push(b'd');
            string(&mut out, b"ip");
            string(&mut out, at.ip().to_canonical().to_string().as_bytes());
            if let Some(id) = id {
                string(&mut out, b"peer id");
                string(&mut out, id);
            }
            number(&mut out, "port", at.port().into());
            out.push(b'e');
        }
        out.push(b'e');
    }
    out.push(b'e');
    out
}

/// An answer to a scrape (BEP 48).
pub fn scrape(torrents: &[Counts]) -> Vec<u8> {
    let mut out = b"d5:filesd".to_vec();
    for t in torrents {
        string(&mut out, &t.infohash.0);
        out.push(b'd');
        number(&mut out, "complete", t.complete as u64);
        number(&mut out, "downloaded", t.downloaded);
        number(&mut out, "incomplete", t.incomplete as u64);
        out.push(b'e');
    }
    out.extend_from_slice(b"ee");
    out
}

/// A refusal. Clients show it to their user.
pub fn failure(why: &str) -> Vec<u8> {
    let mut out = b"d".to_vec();
    string(&mut out, b"failure reason");
    string(&mut out, why.as_bytes());
    out.push(b'e');
    out
}

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(format!("{}:", bytes.len()).as_bytes());
    out.extend_from_slice(bytes);
}

fn number(out: &mut Vec<u8>, key: &str, value: u64) {
    string(out, key.as_bytes());
    out.extend_from_slice(format!("i{value}e").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use bootspec::InfoHash;

    #[test]
    fn bencoded_byte_for_byte() {
        let peers = Peers {
            peers: vec![
                ("10.0.0.1:258".parse().unwrap(), None),
                ("[fe80::1]:1".parse().unwrap(), Some([b'x'; 20])),
            ],
            complete: 2,
            incomplete: 1,
        };
        let seconds = Duration::from_secs;
        let head = "d8:completei2e10:incompletei1e8:intervali30e12:min intervali15e5:peers";
        let compact = announce(&peers, true, seconds(30), seconds(15));
        let mut want = format!("{head}6:").into_bytes();
        want.extend([10, 0, 0, 1, 1, 2]);
        want.extend(b"6:peers618:\xfe\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\x01e");
        assert_eq!(compact, want);
        let long = String::from_utf8(announce(&peers, false, seconds(30), seconds(15))).unwrap();
        let id = "x".repeat(20);
        assert_eq!(
            long,
            format!("{head}ld2:ip8:10.0.0.14:porti258eed2:ip7:fe80::17:peer id20:{id}4:porti1eeee")
        );
        let counts = [Counts { infohash: InfoHash([b'h'; 20]), complete: 1, incomplete: 2, downloaded: 3 }];
        let h = "h".repeat(20);
        assert_eq!(
            String::from_utf8(scrape(&counts)).unwrap(),
            format!("d5:filesd20:{h}d8:completei1e10:downloadedi3e10:incompletei2eeee")
        );
        assert_eq!(failure("no"), b"d14:failure reason2:noe");
    }
}
