// SPDX-License-Identifier: GPL-3.0-or-later
//! One host with many addresses or many connections shuts nobody out.

use super::*;

/// Take places from so many addresses, so many each, and say nothing but that one is there.
async fn sit(victim: SocketAddr, metainfo: &Metainfo, hosts: u8, each: u8) -> Vec<TcpStream> {
    let mut open = Vec::new();
    for n in 0..hosts * each {
        let from = [127, 0, 7, 1 + n % hosts];
        if let Ok((stream, _)) = greet_from(from, victim, &handshake(metainfo, n)).await {
            open.push(stream);
        }
    }
    open
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_make_room_for_whoever_comes() {
    let (data, metainfo) = payload();
    for (hosts, each) in [(8, 4), (40, 1)] {
        let seeder = seeder(&data, &metainfo, false).await;
        let open = sit(at(&seeder), &metainfo, hosts, each).await;
        assert!(open.len() >= 32, "all places are taken");
        let (_s, torrent, file) = fetcher(&metainfo, vec![at(&seeder)]).await;
        completes(&torrent, file, &data).await;
    }
}

/// A machine that fetches, whose places are all taken, still calls others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_calls_a_machine_and_says_nothing_does_not_keep_it_from_calling() {
    let (data, metainfo) = payload();
    let (s, torrent, file) = fetcher(&metainfo, vec![]).await;
    let _open = sit(at(&s), &metainfo, 8, 4).await;
    let seeder = seeder(&data, &metainfo, true).await;
    let pointer =
        extended(1, &[&b"d5:added6:"[..], &[127, 0, 0, 1], &seeder.port().to_be_bytes(), b"e"].concat());
    let hello = [handshake(&metainfo, 99), extended(0, b"d1:md6:ut_pexi1eee"), pointer].concat();
    let mut tells = call_from([127, 0, 0, 8], at(&s)).await.unwrap();
    tells.write_all(&hello).await.unwrap();
    completes(&torrent, file, &data).await;
}

/// Calls that say nothing at all: others are greeted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_without_a_word_keep_nobody_out() {
    let (data, metainfo) = payload();
    let seeder = seeder(&data, &metainfo, true).await;
    let mut open = Vec::new();
    for n in 0..400u16 {
        open.push(call_from([127, 0, 8, (n % 16) as u8 + 1], at(&seeder)).await.unwrap());
    }
    let hello = handshake(&metainfo, 1);
    let greeted = greet_from([127, 0, 0, 1], at(&seeder), &hello);
    timeout(Duration::from_secs(4), greeted).await.expect("before the silent are given up").unwrap();
}

/// A hundred connections that ask for one piece over and over.
fn gorge(seeder: SocketAddr, metainfo: &Metainfo) -> Vec<tokio::task::JoinHandle<()>> {
    let one = |n: u8| {
        let hello = handshake(metainfo, n);
        tokio::spawn(async move {
            let (stream, _) = greet_from([127, 0, 0, 9], seeder, &hello).await.unwrap();
            let (mut from, mut to) = stream.into_split();
            let ask = numbers(6, &[0, 0, PIECE]);
            let (mut room, mut asked, mut came) = (vec![0; 64 << 10], 0, 0);
            loop {
                while asked < came + 8 * PIECE as usize {
                    if to.write_all(&ask).await.is_err() {
                        return;
                    }
                    asked += PIECE as usize;
                }
                match from.read(&mut room).await {
                    Ok(n) if n > 0 => came += n,
                    _ => return,
                }
            }
        })
    };
    (0..100).map(one).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_connections_that_want_one_piece_again_and_again_go_last() {
    const LARGE: usize = 16 << 20;
    let data = common::noise(LARGE);
    let metainfo = common::torrent_of(&data, PIECE);
    let slow = SessionConfig { port: 0, lsd: false, up: Some(8 << 20), peers: 4000, ..Default::default() };
    let seeder = Session::start(slow).await.unwrap();
    let seeding = seeder.seed(&metainfo, file_of(&data), Seeding { deal: false, weight: 1 }).await.unwrap();
    let attackers = gorge(at(&seeder), &metainfo);
    // By then it is known for what it is.
    while seeding.progress().uploaded < 9 << 20 {
        sleep(Duration::from_millis(50)).await;
    }
    let before = seeding.progress().uploaded;
    let (s, file) = (session().await, empty(LARGE));
    let torrent = s.fetch(common::fetch(&metainfo, &file, vec![at(&seeder)])).await.unwrap();
    completes(&torrent, file, &data).await;
    let others = (seeding.progress().uploaded - before) as usize - LARGE;
    assert!(
        others < LARGE / 4,
        "{others} bytes went to whoever had them already, {LARGE} to whoever had not"
    );
    attackers.iter().for_each(|a| a.abort());
}
