// SPDX-License-Identifier: GPL-3.0-or-later
//! Peers that shake hands properly and then do what they should not. Sessions survive
//! them, hold little for them, and serve and fetch as ever.

mod addresses;
mod claims;
#[path = "../common/mod.rs"]
mod common;
mod flood;
mod frozen;
mod hosts;

use common::{at, content, empty, file_of, session};
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use std::{fs::File, net::SocketAddr, time::Duration};
use swarm::{Metainfo, Seeding, Session, SessionConfig, Torrent};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

const PIECES: u32 = 32;
const PIECE: u32 = 64 << 10;
const SIZE: usize = (PIECES * PIECE) as usize;
const BLOCK: u32 = 16 << 10;

fn payload() -> (Vec<u8>, Metainfo) {
    let data = common::noise(SIZE);
    let metainfo = common::torrent_of(&data, PIECE);
    (data, metainfo)
}

async fn seeder(data: &[u8], metainfo: &Metainfo, deal: bool) -> Session {
    let seeder = session().await;
    seeder.seed(metainfo, file_of(data), Seeding { deal, weight: 1 }).await.unwrap();
    seeder
}

/// A machine that begins to fetch.
async fn fetcher(metainfo: &Metainfo, peers: Vec<SocketAddr>) -> (Session, Torrent, File) {
    let (s, file) = (session().await, empty(SIZE));
    let torrent = s.fetch(common::fetch(metainfo, &file, peers)).await.unwrap();
    (s, torrent, file)
}

async fn completes(torrent: &Torrent, file: File, data: &[u8]) {
    common::complete(torrent).await;
    assert!(content(file) == data, "something else than the payload");
}

fn handshake(metainfo: &Metainfo, who: u8) -> Vec<u8> {
    let mut bytes = b"\x13BitTorrent protocol".to_vec();
    bytes.extend([0, 0, 0, 0, 0, 0x10, 0, 0]);
    bytes.extend(metainfo.infohash().0);
    bytes.extend(*b"-XX0000-000000000000");
    *bytes.last_mut().unwrap() = who;
    bytes
}

/// A message of the protocol: its length, its number, what is in it.
fn message(id: u8, body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32 + 1).to_be_bytes()[..], &[id], body].concat()
}

/// One of numbers: HAVE (4), request (6), cancel (8).
fn numbers(id: u8, numbers: &[u32]) -> Vec<u8> {
    message(id, &numbers.iter().flat_map(|n| n.to_be_bytes()).collect::<Vec<u8>>())
}

fn block(piece: u32, begin: u32, data: &[u8]) -> Vec<u8> {
    message(7, &[&piece.to_be_bytes()[..], &begin.to_be_bytes(), data].concat())
}

fn extended(id: u8, dict: &[u8]) -> Vec<u8> {
    message(20, &[&[id][..], dict].concat())
}

/// What may come, one attack each.
fn attacks() -> Vec<(&'static str, Vec<u8>)> {
    let everything = message(5, &[0xff; PIECES as usize / 8]);
    let limits = [0, 1, PIECE - 1, PIECE, BLOCK, 128 << 10, (128 << 10) + 1, 1 << 31, u32::MAX];
    let pieces = [0, PIECES - 1, PIECES, u32::MAX];
    let odd: Vec<[u32; 3]> =
        pieces.iter().flat_map(|p| limits.map(|b| limits.map(|l| [*p, b, l])).concat()).collect();
    let addresses: Vec<u8> = (0..1000u32).flat_map(|i| [127, 9, (i >> 8) as u8, i as u8, 0, 9]).collect();
    let pex = [format!("d5:added{}:", addresses.len()).as_bytes(), &addresses, b"e"].concat();
    let unasked = (0..PIECES).flat_map(|p| (0..PIECE / BLOCK).map(move |b| (p, b * BLOCK)));
    vec![
        ("requests beyond everything", odd.iter().flat_map(|n| numbers(6, n)).collect()),
        ("cancels of what was never asked for", odd.iter().flat_map(|n| numbers(8, n)).collect()),
        (
            "5000 requests, and no answer is read",
            (0..5000).flat_map(|i| numbers(6, &[i % PIECES, 0, BLOCK])).collect(),
        ),
        ("two bitfields", [everything.clone(), everything.clone()].concat()),
        ("a bitfield that is too long", message(5, &[0xff; PIECES as usize])),
        ("an empty bitfield", message(5, &[])),
        ("HAVE beyond the last piece", numbers(4, &[PIECES])),
        ("HAVE far beyond", numbers(4, &[u32::MAX])),
        (
            "an extension that nobody knows",
            [extended(0, b"d1:md7:ut_hugei99eee"), extended(99, b"de"), extended(99, b"")].concat(),
        ),
        ("an extension handshake that is none", extended(0, b"i-1e")),
        ("deep nesting", extended(0, &[b'l'; 60_000])),
        ("1000 addresses", [extended(0, b"d1:md6:ut_pexi1eee"), extended(1, &pex)].concat()),
        (
            "metadata without end",
            [
                extended(0, b"d1:md11:ut_metadatai3eee"),
                extended(3, b"d8:msg_typei0e5:piecei0ee").repeat(20_000),
            ]
            .concat(),
        ),
        ("a message of 4 GiB", vec![0xff; 4096]),
        ("a message that is a little too long", [&(65_537u32).to_be_bytes()[..], &[7; 70_000]].concat()),
        ("a block with no data, and half a header", [block(0, 0, &[]), message(7, &[0; 3])].concat()),
        (
            "all blocks, wrong and never asked for",
            [everything, unasked.flat_map(|(p, b)| block(p, b, &[0xee; BLOCK as usize])).collect()].concat(),
        ),
        ("numbers that are too short", [message(4, &[0]), message(6, &[0; 5])].concat()),
        ("choke, unchoke, choke", [message(0, &[]), message(1, &[]), message(0, &[])].concat().repeat(2000)),
        ("keep-alives", vec![0; 400_000]),
    ]
}

/// Call from an address of this machine, so that several hosts can be played.
async fn call_from(from: [u8; 4], to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    socket.connect(to).await
}

/// Call, and shake hands; the other side's handshake is read.
async fn greet_from(from: [u8; 4], to: SocketAddr, hello: &[u8]) -> std::io::Result<(TcpStream, Vec<u8>)> {
    let mut stream = call_from(from, to).await?;
    stream.write_all(hello).await?;
    let mut theirs = vec![0; 68];
    stream.read_exact(&mut theirs).await?;
    Ok((stream, theirs))
}

/// Say it, and do not read. The other side may hang up: all the better.
async fn say(stream: &mut TcpStream, bytes: &[u8]) {
    let _ = timeout(Duration::from_millis(300), stream.write_all(bytes)).await;
}

/// Call somebody once for each attack, and stay.
async fn attack(victim: SocketAddr, metainfo: &Metainfo) -> Vec<TcpStream> {
    let mut open = Vec::new();
    for (i, (what, bytes)) in attacks().into_iter().enumerate() {
        let mut stream = TcpStream::connect(victim).await.unwrap_or_else(|e| panic!("after {what}: {e}"));
        say(&mut stream, &handshake(metainfo, i as u8)).await;
        say(&mut stream, &bytes).await;
        open.push(stream);
    }
    open
}

/// Half handshakes, wrong ones, and none.
async fn mumble(victim: SocketAddr, metainfo: &Metainfo) -> Vec<TcpStream> {
    let whole = handshake(metainfo, b'h');
    let mut other = whole.clone();
    other[30] ^= 1;
    let mut open = Vec::new();
    for bytes in [&whole[..40], &other, &[], &[0xff; 68], b"GET / HTTP/1.1\r\n\r\n"] {
        let mut stream = TcpStream::connect(victim).await.unwrap();
        say(&mut stream, bytes).await;
        open.push(stream);
    }
    open
}

/// Kilobytes that this process holds.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seeder_survives_every_attack() {
    let (data, metainfo) = payload();
    for deal in [true, false] {
        let seeder = seeder(&data, &metainfo, deal).await;
        let before = memory();
        let mut open = mumble(at(&seeder), &metainfo).await;
        for _ in 0..3 {
            open.extend(attack(at(&seeder), &metainfo).await);
            // The places are taken by those who stay; others go.
            open.drain(..open.len().saturating_sub(12));
        }
        let (_s, torrent, file) = fetcher(&metainfo, vec![at(&seeder)]).await;
        completes(&torrent, file, &data).await;
        let grown = memory().saturating_sub(before);
        assert!(grown < 64 << 10, "{grown} KiB more");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_fetches_survives_every_attack() {
    let (data, metainfo) = payload();
    let (s, torrent, file) = fetcher(&metainfo, vec![]).await;
    let mut open = mumble(at(&s), &metainfo).await;
    open.extend(attack(at(&s), &metainfo).await);
    open.drain(..open.len().saturating_sub(12));
    assert!(!torrent.complete());
    // Then somebody honest comes: one who calls in, as the machine knows nobody.
    let seeder = seeder(&data, &metainfo, true).await;
    let (_other, theirs, their_file) = fetcher(&metainfo, vec![at(&seeder), at(&s)]).await;
    completes(&theirs, their_file, &data).await;
    completes(&torrent, file, &data).await;
}

/// A peer that claims to have all, lets itself be asked, and answers each request with `answer`
/// (called with piece, begin, length).
async fn liar(metainfo: Metainfo, answer: fn(u32, u32, u32) -> Vec<u8>) -> SocketAddr {
    liar_at([127, 0, 0, 2], metainfo, answer).await
}

async fn liar_at(ip: [u8; 4], metainfo: Metainfo, answer: fn(u32, u32, u32) -> Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind(SocketAddr::from((ip, 0))).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let metainfo = metainfo.clone();
            tokio::spawn(async move {
                let hello =
                    [handshake(&metainfo, b'l'), message(5, &[0xff; PIECES as usize / 8]), message(1, &[])];
                stream.write_all(&hello.concat()).await?;
                stream.read_exact(&mut [0; 68]).await?;
                loop {
                    let len = stream.read_u32().await?;
                    let mut body = vec![0; len as usize];
                    stream.read_exact(&mut body).await?;
                    if let [6, rest @ ..] = &body[..] {
                        let n: Vec<u32> =
                            rest.chunks(4).map(|c| u32::from_be_bytes(c.try_into().unwrap())).collect();
                        stream.write_all(&answer(n[0], n[1], n[2])).await?;
                    }
                }
                #[allow(unreachable_code)]
                std::io::Result::Ok(())
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn liars_do_not_keep_a_machine_from_completing() {
    let (data, metainfo) = payload();
    let wrong = |p, b, l: u32| block(p, b, &vec![0xee; l as usize]);
    let nothing = |_, _, _| Vec::new();
    // What it answers is never what it was asked for.
    let other = |p: u32, b, l: u32| block((p + 1) % PIECES, b, &vec![0xee; l as usize]);
    let short = |p, b, l: u32| block(p, b, &vec![0xee; l as usize - 1]);
    for answer in [wrong, nothing, other, short] {
        let liar = liar(metainfo.clone(), answer).await;
        let seeder = seeder(&data, &metainfo, true).await;
        let (_s, torrent, file) = fetcher(&metainfo, vec![liar, at(&seeder)]).await;
        completes(&torrent, file, &data).await;
    }
}

/// The first block of each piece is the liar's, the rest comes from others: it is found, and nobody else is blamed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_liar_among_several_senders_is_found() {
    let (data, metainfo) = payload();
    let first = |p, b, l: u32| if b == 0 { block(p, b, &vec![0xee; l as usize]) } else { Vec::new() };
    let last =
        |p, b, l: u32| if b == PIECE - BLOCK { block(p, b, &vec![0xee; l as usize]) } else { Vec::new() };
    for answer in [first, last] {
        let liar = liar(metainfo.clone(), answer).await;
        let seeder = seeder(&data, &metainfo, false).await;
        // The liar is there before the seeder, and slow enough to be helped with what it was asked for.
        let (_s, torrent, file) = fetcher(&metainfo, vec![liar, at(&seeder)]).await;
        completes(&torrent, file, &data).await;
        assert_eq!(torrent.banned(), [liar.ip()]);
        assert!((1..=3).contains(&torrent.wrong()), "{} wrong pieces", torrent.wrong());
    }
}

/// When everybody seems to send wrong pieces, nobody is banned: the machine's own memory is in doubt, until somebody
/// shows that it is well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_can_trust_nobody_doubts_itself() {
    let (data, metainfo) = payload();
    let wrong = |p, b, l: u32| block(p, b, &vec![0xee; l as usize]);
    let mut liars = Vec::new();
    for n in 2..5 {
        liars.push(liar_at([127, 0, 0, n], metainfo.clone(), wrong).await);
    }
    let (s, torrent, file) = fetcher(&metainfo, liars).await;
    let doubts = async {
        while !torrent.doubtful() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(60), doubts).await.expect("three liars, and nobody else");
    assert!(torrent.banned().is_empty());
    let seeder = seeder(&data, &metainfo, true).await;
    let (_other, theirs, their_file) = fetcher(&metainfo, vec![at(&seeder), at(&s)]).await;
    completes(&torrent, file, &data).await;
    completes(&theirs, their_file, &data).await;
    assert!(!torrent.doubtful() && !torrent.banned().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_not_asked_cannot_spoil_what_others_send() {
    let (data, metainfo) = payload();
    // Slow, so that there is something to spoil.
    let slow = SessionConfig { port: 0, lsd: false, up: Some(2 << 20), ..Default::default() };
    let seeder = Session::start(slow).await.unwrap();
    seeder.seed(&metainfo, file_of(&data), Seeding { deal: true, weight: 1 }).await.unwrap();
    let (s, torrent, file) = fetcher(&metainfo, vec![([127, 0, 0, 1], seeder.port()).into()]).await;
    let victim = at(&s);
    let spoil = tokio::spawn(async move {
        loop {
            // From an address of its own: it is not the seeder that is to be banned.
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.3:0".parse().unwrap()).unwrap();
            let Ok(mut stream) = socket.connect(victim).await else { return };
            say(&mut stream, &handshake(&metainfo, b's')).await;
            // One block of each piece: who sends a whole one is known for it at once.
            for piece in 0..PIECES {
                let wrong = block(piece, PIECE - BLOCK, &[0xee; BLOCK as usize]);
                if stream.write_all(&wrong).await.is_err() {
                    break;
                }
            }
            sleep(Duration::from_millis(5)).await;
        }
    });
    completes(&torrent, file, &data).await;
    spoil.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_messages_harm_nobody() {
    let (data, metainfo) = payload();
    let seeder = seeder(&data, &metainfo, true).await;
    let (s, torrent, file) = fetcher(&metainfo, vec![]).await;
    let small = prop_oneof![Just(0u32), Just(1), Just(PIECES), Just(BLOCK), Just(PIECE), any::<u32>()];
    let one = prop_oneof![
        (prop_oneof![4u8..9, any::<u8>()], proptest::collection::vec(small, 0..4))
            .prop_map(|(id, n)| numbers(id, &n)),
        (0u8..24, proptest::collection::vec(any::<u8>(), 0..300)).prop_map(|(id, body)| message(id, &body)),
        (0u8..4, proptest::collection::vec(any::<u8>(), 0..300)).prop_map(|(id, body)| extended(id, &body)),
    ];
    let many = proptest::collection::vec(one, 1..20);
    let mut runner = TestRunner::deterministic();
    for i in 0..300u32 {
        let bytes = many.new_tree(&mut runner).unwrap().current().concat();
        for victim in [at(&seeder), at(&s)] {
            let mut stream = TcpStream::connect(victim).await.unwrap();
            say(&mut stream, &handshake(&metainfo, i as u8)).await;
            say(&mut stream, &bytes).await;
        }
    }
    let (_other, theirs, their_file) = fetcher(&metainfo, vec![at(&seeder), at(&s)]).await;
    completes(&theirs, their_file, &data).await;
    completes(&torrent, file, &data).await;
}
