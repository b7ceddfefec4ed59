// SPDX-License-Identifier: GPL-3.0-or-later
//! What the tests with whole sessions share: a payload, its file, a session on loopback.

use std::{
    fs::File,
    io::{Read, Seek, Write},
    net::SocketAddr,
    time::Duration,
};
use swarm::{CreateOptions, Fetch, Metainfo, Session, SessionConfig, Torrent, create, plan::Bits};
use tokio::time::{sleep, timeout};

/// Bytes that differ from piece to piece.
pub fn noise(size: usize) -> Vec<u8> {
    (0..size as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

pub fn torrent_of(data: &[u8], piece_length: u32) -> Metainfo {
    let options = CreateOptions { name: "test".into(), private: false, piece_length: Some(piece_length) };
    create(&mut &data[..], data.len() as u64, &options, &mut |_| ()).unwrap()
}

pub fn file_of(data: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(data).unwrap();
    file
}

/// A file to fetch into.
pub fn empty(size: usize) -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(size as u64).unwrap();
    file
}

pub fn content(mut file: File) -> Vec<u8> {
    let mut all = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut all).unwrap();
    all
}

pub async fn session() -> Session {
    Session::start(SessionConfig { port: 0, lsd: false, ..Default::default() }).await.unwrap()
}

pub fn at(session: &Session) -> SocketAddr {
    ([127, 0, 0, 1], session.port()).into()
}

/// All of a torrent, from these peers alone.
pub fn fetch(metainfo: &Metainfo, file: &File, peers: Vec<SocketAddr>) -> Fetch {
    Fetch {
        metainfo: metainfo.clone(),
        file: file.try_clone().unwrap(),
        head: None,
        have: Bits::none(metainfo.pieces()),
        begun: vec![],
        trackers: vec![],
        peers,
        servers: vec![],
        http: None,
        client: reqwest::Client::new(),
        down: None,
    }
}

/// Waits for the last piece.
pub async fn complete(torrent: &Torrent) {
    let done = async {
        while !torrent.complete() {
            assert_eq!(torrent.error(), None);
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(60), done).await.expect("no completion within a minute");
}
