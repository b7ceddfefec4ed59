// SPDX-License-Identifier: GPL-3.0-or-later
//! Whole sessions in one process, over loopback.

mod common;

use axum::{Router, extract::State, http::HeaderMap, http::StatusCode, response::IntoResponse, routing::get};
use common::{at, complete, content, file_of, session};
use std::{fs::File, net::SocketAddr, os::unix::fs::FileExt, sync::Arc, time::Duration};
use swarm::{Fetch, HttpSource, Metainfo, Seeding, plan::BLOCK};

const SIZE: usize = 24 << 20;
const PIECE: u32 = 256 << 10;
const DEALING: Seeding = Seeding { deal: true, weight: 1 };

fn payload() -> (Vec<u8>, Metainfo) {
    let data = common::noise(SIZE);
    let metainfo = torrent_of(&data);
    (data, metainfo)
}

fn torrent_of(data: &[u8]) -> Metainfo {
    common::torrent_of(data, PIECE)
}

/// A torrent of several files, whose content is `data` end to end.
fn folder_of(data: &[u8], files: &[(&str, usize)], piece_length: u32) -> Metainfo {
    assert_eq!(files.iter().map(|f| f.1).sum::<usize>(), data.len());
    let whole = common::torrent_of(data, piece_length);
    let hashes: Vec<u8> = (0..whole.pieces()).flat_map(|p| whole.piece_hash(p).to_vec()).collect();
    let entry = |(name, size): &(&str, usize)| format!("d6:lengthi{size}e4:pathl{}:{name}ee", name.len());
    let list: String = files.iter().map(entry).collect();
    let (len, before) = (hashes.len(), "4:name6:folder12:piece length");
    let mut bytes = format!("d4:infod5:filesl{list}e{before}i{piece_length}e6:pieces{len}:").into_bytes();
    bytes.extend(hashes);
    bytes.extend(b"ee");
    Metainfo::parse(bytes).unwrap()
}

fn empty() -> File {
    common::empty(SIZE)
}

fn fetch(metainfo: &Metainfo, file: &File, peers: Vec<SocketAddr>, http: Option<HttpSource>) -> Fetch {
    Fetch { http, ..common::fetch(metainfo, file, peers) }
}

/// An HTTP server with ranges; `wrong`: it serves something else.
async fn http_server(data: Vec<u8>) -> HttpSource {
    async fn ranges(State(data): State<Arc<Vec<u8>>>, headers: HeaderMap) -> impl IntoResponse {
        let range = headers["range"].to_str().unwrap().strip_prefix("bytes=").unwrap().to_owned();
        let (from, to) = range.split_once('-').unwrap();
        let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
        (StatusCode::PARTIAL_CONTENT, data[from..=to].to_vec())
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/payload", listener.local_addr().unwrap());
    let app = Router::new().route("/payload", get(ranges)).with_state(Arc::new(data));
    tokio::spawn(async move { axum::serve(listener, app).await });
    HttpSource::new(reqwest::Client::new(), url.parse().unwrap())
}

/// One machine fetches everything from a seeder, with an HTTP source beside it.
async fn from_a_seeder_and(http: HttpSource, data: &[u8], metainfo: &Metainfo) {
    let seeder = session().await;
    seeder.seed(metainfo, file_of(data), DEALING).await.unwrap();
    let (s, file) = (session().await, empty());
    let t = s.fetch(fetch(metainfo, &file, vec![at(&seeder)], Some(http))).await.unwrap();
    complete(&t).await;
    assert!(content(file) == data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn machines_that_start_empty_complete_from_a_seeder_and_each_other() {
    let (data, metainfo) = payload();
    let seeder = session().await;
    seeder.seed(&metainfo, file_of(&data), DEALING).await.unwrap();

    let (a, b) = (session().await, session().await);
    let (file_a, file_b) = (empty(), empty());
    let ta = a.fetch(fetch(&metainfo, &file_a, vec![at(&seeder), at(&b)], None)).await.unwrap();
    let tb = b.fetch(fetch(&metainfo, &file_b, vec![at(&seeder), at(&a)], None)).await.unwrap();
    complete(&ta).await;
    complete(&tb).await;
    assert!(content(file_a) == data && content(file_b) == data);

    // The seeder goes; who comes late gets it from those who have it.
    seeder.stop();
    let late = session().await;
    let file = empty();
    let t = late.fetch(fetch(&metainfo, &file, vec![at(&a), at(&b)], None)).await.unwrap();
    complete(&t).await;
    assert!(content(file) == data);
}

/// Of each piece, only the last two blocks are missing.
fn in_part(data: &[u8], metainfo: &Metainfo) -> (File, Vec<(u32, u32)>) {
    let (blocks, piece) = (PIECE / BLOCK, PIECE as usize);
    let file = file_of(data);
    for n in 0..metainfo.pieces() as usize {
        file.write_all_at(&vec![0; 2 * BLOCK as usize], ((n + 1) * piece) as u64 - 2 * u64::from(BLOCK))
            .unwrap();
    }
    (file, (0..metainfo.pieces()).flat_map(|p| (0..blocks - 2).map(move |b| (p, b))).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_pieces_that_are_here_in_part_the_rest_is_fetched_from_a_seeder_that_deals() {
    let (data, metainfo) = payload();
    let seeder = session().await;
    seeder.seed(&metainfo, file_of(&data), DEALING).await.unwrap();
    let (file, begun) = in_part(&data, &metainfo);
    let s = session().await;
    let t = s.fetch(Fetch { begun, ..fetch(&metainfo, &file, vec![at(&seeder)], None) }).await.unwrap();
    complete(&t).await;
    assert!(content(file) == data);
    let p = t.progress();
    assert_eq!(p.from_peers, u64::from(metainfo.pieces()) * 2 * u64::from(BLOCK), "no more than was missing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_pieces_that_are_here_in_part_http_sends_the_rest() {
    let (data, metainfo) = payload();
    let http = http_server(data.clone()).await;
    let (file, begun) = in_part(&data, &metainfo);
    // What is said to be here is not what it should be.
    file.write_all_at(b"wrong", 0).unwrap();
    let s = session().await;
    let t = s.fetch(Fetch { begun, ..fetch(&metainfo, &file, vec![], Some(http)) }).await.unwrap();
    complete(&t).await;
    assert!(content(file) == data);
    let rest = u64::from(metainfo.pieces()) * 2 * u64::from(BLOCK);
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(
        t.progress().from_http,
        rest + u64::from(PIECE),
        "what was missing, and the wrong piece whole"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_any_peer_http_serves_all() {
    let (data, metainfo) = payload();
    let http = http_server(data.clone()).await;
    let file = empty();
    let s = session().await;
    let t = s.fetch(fetch(&metainfo, &file, vec![], Some(http))).await.unwrap();
    complete(&t).await;
    assert!(content(file) == data);
    tokio::time::sleep(Duration::from_millis(600)).await;
    let p = t.progress();
    assert_eq!((p.from_peers, p.from_server), (0, 0), "{p:?}");
    assert_eq!(p.from_http, SIZE as u64, "nothing twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pieces_of_zeros_count_like_others() {
    // Before the first piece that a machine has, its file reads as zeros.
    let (mut data, _) = payload();
    data[..15 * (256 << 10)].fill(0);
    let metainfo = torrent_of(&data);
    let http = http_server(data.clone()).await;
    from_a_seeder_and(http, &data, &metainfo).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn wrong_bytes_over_http_are_never_taken() {
    let (data, metainfo) = payload();
    let http = http_server(vec![0; SIZE]).await;
    assert!(http.piece(&metainfo, 3).await.unwrap_err().root_cause().to_string().contains("not that piece"));
    from_a_seeder_and(http, &data, &metainfo).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_payload_that_is_not_the_torrents_is_not_seeded() {
    let (mut data, metainfo) = payload();
    let error = session().await.seed(&metainfo, file_of(&data[1..]), DEALING).await.err().expect("an error");
    assert!(error.to_string().contains("instead of"), "{error}");
    data[SIZE / 2] ^= 1;
    let seeder = session().await;
    let seeding = seeder.seed(&metainfo, file_of(&data), DEALING).await.unwrap();
    let (s, file) = (session().await, common::empty(SIZE));
    let t = s.fetch(fetch(&metainfo, &file, vec![at(&seeder)], None)).await.unwrap();
    while seeding.error().is_none() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(seeding.error().unwrap(), "the payload does not match its torrent (piece 48)");
    assert_eq!((t.wrong(), t.complete()), (0, false), "it was never sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_gigabytes_are_seeded_at_once() {
    const LARGE: u64 = 20 << 30;
    const LENGTH: u32 = 4 << 20;
    // All zeros: a file without any block on the disk, and pieces that are all alike.
    let one = common::torrent_of(&vec![0; LENGTH as usize], LENGTH);
    let count = (LARGE / u64::from(LENGTH)) as usize;
    let head =
        format!("d4:infod6:lengthi{LARGE}e4:name4:test12:piece lengthi{LENGTH}e6:pieces{}:", count * 20);
    let mut torrent = head.into_bytes();
    torrent.extend(one.piece_hash(0).repeat(count));
    torrent.extend(b"ee");
    let metainfo = Metainfo::parse(torrent).unwrap();
    let sparse = || {
        let file = tempfile::tempfile().unwrap();
        file.set_len(LARGE).unwrap();
        file
    };
    // What hashing takes, on this machine as busy as it is.
    let (piece, began) = (vec![0; LENGTH as usize], std::time::Instant::now());
    assert!((0..16).all(|n| metainfo.verify(n, &piece)));
    let hashing = began.elapsed() * metainfo.pieces() / 16;
    let began = std::time::Instant::now();
    let seeder = session().await;
    seeder.seed(&metainfo, sparse(), DEALING).await.unwrap();
    let s = session().await;
    let mut all_but_one = swarm::plan::Bits::all(metainfo.pieces());
    all_but_one.remove(4711);
    let file = sparse();
    let what = Fetch { have: all_but_one, ..fetch(&metainfo, &file, vec![at(&seeder)], None) };
    complete(&s.fetch(what).await.unwrap()).await;
    assert!(began.elapsed() < hashing / 5, "{:?}, and hashing takes {hashing:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_file_of_several_is_fetched_and_passed_on() {
    const ISO: usize = SIZE - 100 - 77_777;
    let data = common::noise(SIZE);
    let folder = folder_of(&data, &[("SUMS", 100), ("lab.iso", ISO), ("more", 77_777)], PIECE);
    let seeder = session().await;
    // As long as no file is picked, all of them, end to end, are the payload.
    let all = Seeding { deal: false, weight: 1 };
    seeder.seed(&folder, file_of(&data), all).await.unwrap();

    let iso = folder.clone().pick(Some("lab.iso")).unwrap();
    let (first, file) = (session().await, common::empty(ISO));
    let t = first.fetch(fetch(&iso, &file, vec![at(&seeder)], None)).await.unwrap();
    complete(&t).await;
    assert!(content(file) == data[100..100 + ISO]);
    let p = t.progress();
    assert!(
        p.from_peers < (SIZE - 77_777 + PIECE as usize) as u64,
        "pieces of other files were fetched: {p:?}"
    );

    // With what its first and last piece have of other files, too.
    seeder.stop();
    let (second, file) = (session().await, common::empty(ISO));
    let t = second.fetch(fetch(&iso, &file, vec![at(&first)], None)).await.unwrap();
    complete(&t).await;
    assert!(content(file) == data[100..100 + ISO]);
    // Found again by hashing: all but those two.
    let found = swarm::survey(&file_of(&data[100..100 + ISO]), &iso, |_| ()).unwrap();
    assert_eq!(found.count(), iso.wanted().len() as u32 - 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_metainfo_comes_from_peers_and_not_from_liars() {
    let (data, metainfo) = payload();
    let seeder = session().await;
    seeder.seed(&metainfo, file_of(&data), DEALING).await.unwrap();
    // Has the same infohash in its handshake, and another torrent behind it: as good a liar as any.
    let liar = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peers = vec![liar.local_addr().unwrap(), at(&seeder)];
    let infohash = metainfo.infohash();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = liar.accept().await {
            let mut hello = b"\x13BitTorrent protocol\0\0\0\0\0\x10\0\0".to_vec();
            hello.extend(infohash.0);
            hello.extend([b'L'; 20]);
            let mut say = |body: &[u8]| {
                hello.extend((body.len() as u32).to_be_bytes());
                hello.extend(body);
            };
            say(b"\x14\0d1:md11:ut_metadatai3ee13:metadata_sizei5ee");
            say(b"\x14\x03d8:msg_typei1e5:piecei0e10:total_sizei5eefalse");
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, &hello).await;
        }
    });
    let magnet = swarm::Magnet { infohash, trackers: vec![], peers };
    let wanted = swarm::magnet::Wanted { magnet, servers: vec![], port: 1, client: reqwest::Client::new() };
    let found = tokio::time::timeout(std::time::Duration::from_secs(20), swarm::magnet::obtain(wanted));
    let found = found.await.expect("nobody gave it");
    assert_eq!(found.infohash(), infohash);
    assert_eq!((found.size(), found.pieces()), (metainfo.size(), metainfo.pieces()));
}
