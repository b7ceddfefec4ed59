// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent serve`, and peers that keep its seeder busy: the server answers all the while, stays small, and ends when
//! it is told to.
#![allow(missing_docs)]

mod common;

use common::{Server, World, signal, until};
use nix::sys::signal::Signal;
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// What the tracker says of the image: its infohash, and where the seeder is.
fn seeder(server: &Server) -> ([u8; 20], SocketAddr) {
    let images: serde_json::Value = serde_json::from_slice(&server.get("/api/v1/images").body).unwrap();
    let hex = images[0]["infohash"].as_str().unwrap().to_owned();
    let infohash: Vec<u8> = (0..20).map(|i| u8::from_str_radix(&hex[2 * i..][..2], 16).unwrap()).collect();
    let encoded: String = infohash.iter().map(|b| format!("%{b:02x}")).collect();
    let ask = format!("/announce?info_hash={encoded}&peer_id=-XX0000-000000000000&port=9&left=1&compact=1");
    let at = until("the seeder is in the tracker", || {
        let answer = server.get(&ask).body;
        let start = answer.windows(9).position(|w| w == b"5:peers6:")? + 9;
        let port = u16::from_be_bytes([answer[start + 4], answer[start + 5]]);
        Some(SocketAddr::from(([127, 0, 0, 1], port)))
    });
    (infohash.try_into().unwrap(), at)
}

fn numbers(id: u8, numbers: &[u32]) -> Vec<u8> {
    let body: Vec<u8> = numbers.iter().flat_map(|n| n.to_be_bytes()).collect();
    [&(body.len() as u32 + 1).to_be_bytes()[..], &[id], &body].concat()
}

/// Ask for the piece that is shown, 4000 times, and take a byte back of each, again and again. Nothing more is read.
fn occupy(at: SocketAddr, infohash: [u8; 20], who: u8) -> TcpStream {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let id = format!("-XX0000-0000000000{who:02}");
    let hello = [&b"\x13BitTorrent protocol\0\0\0\0\0\x10\0\0"[..], &infohash, id.as_bytes()].concat();
    stream.write_all(&hello).unwrap();
    stream.read_exact(&mut [0; 68]).unwrap();
    let piece = loop {
        let mut len = [0; 4];
        stream.read_exact(&mut len).unwrap();
        let mut body = vec![0; u32::from_be_bytes(len) as usize];
        stream.read_exact(&mut body).unwrap();
        if let [4, piece @ ..] = &body[..] {
            break u32::from_be_bytes(piece.try_into().unwrap());
        }
    };
    let asks = numbers(6, &[piece, 0, 16 << 10]).repeat(4000);
    let cuts: Vec<u8> = (0..12_000).flat_map(|n| numbers(8, &[piece, 2 * (n % 8000) + 1, 1])).collect();
    // When the other side reads slowly, or hangs up, that is its right.
    let _ = stream.write_all(&asks).and_then(|()| stream.write_all(&cuts));
    stream
}

fn memory(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn the_server_answers_and_ends_while_peers_cancel_parts_of_requests() {
    let w = World::new();
    w.squashfs("lab");
    w.run(&["image", "add", "lab.squashfs"]).good();
    let mut server = Server::start(&w, &[]);
    let (infohash, at) = seeder(&server);
    let processors = std::thread::available_parallelism().unwrap().get() as u8;
    let open: Vec<TcpStream> = (0..processors + 2).map(|who| occupy(at, infohash, who)).collect();
    for _ in 0..10 {
        let begun = Instant::now();
        assert_eq!(server.get("/api/v1/health").status, 200);
        assert!(begun.elapsed() < Duration::from_secs(5), "it took {:?}", begun.elapsed());
    }
    assert!(memory(&server) < 150 << 10, "{} KiB", memory(&server));
    signal(&server.child, Signal::SIGTERM);
    let ended = until("it ends", || server.child.try_wait().unwrap());
    assert!(ended.success(), "{ended}");
    drop(open);
}
