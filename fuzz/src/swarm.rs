// SPDX-License-Identifier: GPL-3.0-or-later
//! What comes from peers, from links, and from .torrent files.

use crate::shape;
use bootspec::InfoHash;
use swarm::{Magnet, Metainfo, sums::Sums, wire::Frames};

/// A .torrent from anywhere: its numbers fit together afterwards.
pub fn metainfo(data: &[u8]) {
    let metainfo = match Metainfo::parse(data.to_vec()) {
        Ok(metainfo) => metainfo,
        Err(e) => return shape::one_line(&bootspec::text::clean(&e.to_string(), &[])),
    };
    let told = metainfo.with_announce("http://10.0.0.1:6980/announce");
    assert_eq!((told.infohash(), told.size()), (metainfo.infohash(), metainfo.size()));
    assert!(!metainfo.name().contains(char::is_control));
    assert!(metainfo.trackers().len() <= 16);
    let name = metainfo.file_name().to_owned();
    for picked in [metainfo.clone().pick(None), metainfo.clone().pick(Some(&name)), Ok(metainfo)] {
        let Ok(m) = picked else { continue };
        assert!(m.size() > 0 && m.wanted().end <= m.pieces() && !m.wanted().is_empty());
        let mut next = 0;
        for piece in m.wanted() {
            let range = m.piece_range(piece);
            assert!(range.start == next && range.end <= m.size() && !range.is_empty(), "{range:?}");
            assert_eq!(m.piece_hash(piece).len(), 20);
            next = range.end;
        }
        assert_eq!(next, m.size());
        let layout = m.layout();
        assert_eq!(layout.pieces(), m.pieces());
    }
}

/// A link that somebody has pasted.
pub fn magnet(data: &[u8]) {
    let link = String::from_utf8_lossy(data);
    let Ok(magnet) = Magnet::parse(&link) else { return };
    assert!(magnet.trackers.len() <= 16 && magnet.peers.len() <= link.len());
    assert!(magnet.trackers.iter().all(|t| t.starts_with("http://") || t.starts_with("udp://")));
}

/// Sums of an image's blocks, as some server sends them, and an old version in which they are looked for.
pub fn sums(data: &[u8]) {
    let Some((head, rest)) = data.split_at_checked(4) else { return };
    let hash = InfoHash([7; 20]);
    let _ = Sums::parse(rest, hash, 1 << 20);
    // A header that fits: else nothing behind it would ever be read.
    let blocks = usize::from(head[0] % 32);
    let (sums, old) = rest.split_at(rest.len().min(blocks * 12));
    let size = 4096 * blocks as u64 + u64::from(head[1]);
    let mut bytes = b"BTSUMS1\n".to_vec();
    bytes.extend(hash.0);
    bytes.extend(size.to_be_bytes());
    bytes.extend(4096u32.to_be_bytes());
    bytes.extend(sums);
    let Some(sums) = Sums::parse(&bytes, hash, size) else { return };
    assert_eq!((sums.len() as usize, sums.to_bytes()), (blocks, bytes));
    let mut found = vec![0; blocks];
    let count = sums.search(|i| i % 5 == 4).scan(&mut &old[..], |i, bytes| {
        assert_eq!(bytes.len(), 4096);
        found[i as usize] += 1;
        Ok(())
    });
    assert_eq!(count.expect("no file fails here") as usize, found.iter().sum::<usize>());
    assert!(found.iter().all(|n| *n <= 1));
}

/// What a peer sends behind its handshake, in the parts that the first bytes say.
pub fn wire(data: &[u8]) {
    let (cuts, mut rest) = data.split_at(data.len().min(4));
    let mut frames = Frames::default();
    for cut in cuts.iter().map(|c| usize::from(*c) * 8).chain([usize::MAX]) {
        let (mut now, later) = rest.split_at(rest.len().min(cut));
        rest = later;
        while !now.is_empty() {
            futures::executor::block_on(frames.fill(&mut now)).expect("memory does not fail");
            loop {
                match frames.take() {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(_) => return,
                }
            }
        }
    }
}
