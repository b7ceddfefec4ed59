// SPDX-License-Identifier: GPL-3.0-or-later
//! A cache in a folder: what is kept, found again, and reused.

use super::*;
use bootspec::trust::{Evidence, Statement};
use std::io::Write;
use swarm::{CreateOptions, create, plan::BLOCK, sums::Sums as Blocks};

const PIECE: usize = 64 << 10;
const PIECES: u32 = 20;

fn noise(seed: u32) -> Vec<u8> {
    let words =
        (0..PIECES * PIECE as u32 / 4).map(|n| (n ^ seed).wrapping_mul(0x9E37_79B9).rotate_left(n % 31));
    words.flat_map(u32::to_le_bytes).collect()
}

fn torrent(data: &[u8]) -> Metainfo {
    let options = CreateOptions { name: "lab".into(), private: false, piece_length: Some(PIECE as u32) };
    create(&mut &data[..], data.len() as u64, &options, &mut |_| {}).unwrap()
}

async fn prepared(cache: &Cache, data: &[u8]) -> Payload {
    let ready = cache.prepare(&torrent(data), "lab", true, Online::default(), &Report::new(None, None)).await;
    ready.map_err(|f| f.error).unwrap()
}

/// As the swarm does: what is missing is written.
async fn fetched(cache: &Cache, data: &[u8]) -> u32 {
    use std::os::unix::fs::FileExt;
    let mut payload = prepared(cache, data).await;
    for piece in (0..payload.known.len()).filter(|p| !payload.known.has(*p)) {
        let range = torrent(data).piece_range(piece);
        payload.file.write_all_at(&data[range.start as usize..range.end as usize], range.start).unwrap();
    }
    payload.finish(&crate::target::Writes::Ram(0)).unwrap();
    assert!(fs::read(&payload.path).unwrap() == data && payload.path.extension().unwrap() == "img");
    payload.known.len() - payload.known.count()
}

#[tokio::test]
async fn what_was_fetched_is_there_again() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::at("LABEL=x", dir.path()).unwrap();
    let data = noise(1);
    let half = prepared(&cache, &data).await;
    std::os::unix::fs::FileExt::write_all_at(&half.file, &data[..data.len() / 2], 0).unwrap();
    drop(half);
    assert!(cache.latest("lab").is_none(), "it was never complete");
    assert_eq!(fetched(&cache, &data).await, PIECES / 2, "half of it was there");
    assert_eq!(fetched(&cache, &data).await, 0);
    let kept = cache.latest("lab").unwrap();
    assert!(kept.infohash == torrent(&data).infohash() && kept.entry.fetched > 0, "{kept:?}");
    assert_eq!(cache.latest("other"), None);

    let path = cache.file(kept.infohash).unwrap().0;
    let mut spoiled = data.clone();
    spoiled[5 * PIECE + 7] ^= 1;
    fs::write(&path, spoiled).unwrap();
    assert_eq!(fetched(&cache, &data).await, 1, "one bit, one piece");
    fs::write(dir.path().join("boottorrent/state.json"), "{").unwrap();
    assert_eq!(fetched(&cache, &data).await, 0, "state is only a hint");
}

#[tokio::test]
async fn of_versions_the_last_two_are_kept_and_pieces_are_shared() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::at("LABEL=x", dir.path()).unwrap();
    let first = noise(1);
    fetched(&cache, &first).await;
    // The same pieces in another order, and a new one.
    let second = [&noise(2)[..PIECE], &first[PIECE * 5..], &first[..PIECE * 4]].concat();
    assert_eq!(fetched(&cache, &second).await, 1);
    fetched(&cache, &noise(3)).await;
    let mut left: Vec<InfoHash> = cache.images().into_iter().map(|k| k.infohash).collect();
    left.sort_by_key(|h| h.0);
    let mut want = [torrent(&second).infohash(), torrent(&noise(3)).infohash()];
    want.sort_by_key(|h| h.0);
    assert_eq!(left, want);
    assert_eq!(cache.latest("lab").unwrap().infohash, torrent(&noise(3)).infohash());
}

#[tokio::test]
async fn a_shifted_version_is_rebuilt_from_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::at("LABEL=x", dir.path()).unwrap();
    let old = noise(1);
    fetched(&cache, &old).await;
    let mut new = old.clone();
    new.splice(9 * PIECE + 100..9 * PIECE + 200, *b"other");
    let (metainfo, report) = (torrent(&new), Report::new(None, None));
    let file = tempfile::tempfile().unwrap();
    file.set_len(new.len() as u64).unwrap();
    let none = swarm::plan::Bits::none(metainfo.pieces());
    let sums = Blocks::make(&mut &new[..], metainfo.infohash(), metainfo.size()).unwrap();
    let wanted = rebuild::Wanted { file: &file, metainfo: &metainfo, known: &none };
    let others = cache.others(metainfo.infohash(), "lab");
    let (known, begun) = rebuild::run(wanted, others, Some(sums), "lab", &report).await.unwrap();
    let missing: Vec<u32> = (0..known.len()).filter(|p| !known.has(*p)).collect();
    // The end is not a whole block of the sums: its piece lacks one of 16 KiB.
    assert_eq!(missing, [9, PIECES - 1]);
    let blocks = PIECE as u32 / BLOCK;
    assert_eq!(begun.len() as u32, 2 * (blocks - 1), "{begun:?}");
    assert!(!begun.contains(&(9, 0)) && begun.contains(&(9, 1)), "{begun:?}");
    assert!(survey(&file, &metainfo, |_| {}).unwrap() == known, "what counts is right");
}

/// A server that answers one request with this.
fn serves(status: &'static str, body: Vec<u8>) -> HttpSource {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/payload", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        use std::io::BufRead;
        let mut stream = listener.accept().unwrap().0;
        let head = std::io::BufReader::new(&stream).lines().map_while(Result::ok);
        head.take_while(|l| !l.is_empty()).for_each(drop);
        let length = body.len();
        write!(stream, "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n").unwrap();
        stream.write_all(&body).unwrap();
    });
    HttpSource::new(reqwest::Client::new(), url.parse().unwrap())
}

/// The disk has room for one version.
#[tokio::test]
async fn the_last_version_is_not_deleted_for_one_that_does_not_come() {
    let dir = tempfile::tempdir().unwrap();
    let mut cache = Cache::at("LABEL=x", dir.path()).unwrap();
    let (old, new) = (noise(1), noise(2));
    fetched(&cache, &old).await;
    cache.fits = Some(old.len() as u64 * 3 / 2);
    let next = async |source: HttpSource| {
        let online = Online { sums: None, source: Some(source) };
        cache.prepare(&torrent(&new), "lab", true, online, &Report::new(None, None)).await
    };
    for (status, body) in
        [("503 Service Unavailable", vec![]), ("206 Partial Content", vec![7; PIECE]), ("200 OK", vec![7; 9])]
    {
        let failure = next(serves(status, body)).await.err().expect("it cannot be had");
        assert_eq!(failure.exit, Exit::Swarm, "an old version boots then: {:#}", failure.error);
        assert!(failure.error.to_string().starts_with("the new version of lab cannot be had now ("));
        assert_eq!(cache.latest("lab").unwrap().infohash, torrent(&old).infohash());
    }
    let ready = next(serves("206 Partial Content", new[..PIECE].to_vec())).await;
    assert!(
        ready.is_ok() && cache.latest("lab").is_none(),
        "the new image is ready, and the old one had to go"
    );
}

#[test]
fn of_what_was_written_the_last_two_versions_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::at("LABEL=x", dir.path()).unwrap();
    let used = |id: u8, name: &str| {
        let folder = cache.overlay(InfoHash([id; 20]), name, &Report::new(None, None)).unwrap();
        fs::create_dir_all(folder.join("upper/etc")).unwrap();
    };
    let there = |id: u8| cache.overlays().join(InfoHash([id; 20]).to_string()).exists();
    for (id, name) in [(1, "lab"), (2, "other"), (3, "lab"), (1, "lab"), (4, "lab")] {
        used(id, name);
    }
    assert_eq!([1, 2, 3, 4].map(there), [true, true, false, true], "the last two of lab, and other's");
    cache.forget(InfoHash([2; 20])).unwrap();
    assert!(!there(2), "it goes with its image");
    used(1, "lab");
    assert!(there(4));
}

#[tokio::test]
async fn who_stood_for_an_image_is_kept_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::at("LABEL=x", dir.path()).unwrap();
    let data = noise(1);
    let infohash = torrent(&data).infohash();
    let statement = |version| Statement {
        name: "lab".parse().unwrap(),
        version: bootspec::trust::Version(version),
        infohash,
        size: data.len() as u64,
        sha256: bootspec::Sha256Sum([0; 32]),
        kind: bootspec::manifest::Kind::Filesystem,
        parameters: String::new(),
    };
    let proof = |n: u8| Evidence { statement: vec![n], signature: vec![n] };
    // In RAM it booted: there is nothing to keep it with, and it is remembered.
    cache.remember_signed(&statement(5), &proof(1)).unwrap();
    assert_eq!(cache.evidence(infohash), None);
    assert_eq!(prepared(&cache, &data).await.sum, None, "nothing is there yet");
    fetched(&cache, &data).await;
    let there = prepared(&cache, &data).await;
    let sum = swarm::sha256(&there.file, None, data.len() as u64, |_| {}).unwrap();
    assert_eq!(there.sum, Some(sum), "it is not read twice");
    cache.remember_signed(&statement(7), &proof(2)).unwrap();
    assert_eq!(cache.evidence(infohash), Some(proof(2)));
    let newest =
        |cache: &Cache| cache.newest().into_iter().map(|(n, v)| (n.to_string(), v.0)).collect::<Vec<_>>();
    assert_eq!(newest(&cache), [("lab".to_owned(), 7)]);
    // Only what may boot gets here: boottorrent.allow-older takes it back.
    cache.remember_signed(&statement(6), &proof(3)).unwrap();
    assert_eq!((newest(&cache), cache.evidence(infohash)), (vec![("lab".to_owned(), 6)], Some(proof(3))));
    prepared(&cache, &data).await.discard().unwrap();
    assert!(cache.images().is_empty() && cache.evidence(infohash).is_none(), "nothing of it stays");
    fs::write(dir.path().join("boottorrent/newest"), "[").unwrap();
    assert!(cache.newest().is_empty());
}
