// SPDX-License-Identifier: GPL-3.0-or-later
//! Addresses that are nobody's, and ids that are somebody else's: machines find each other all the same, and nobody
//! ends another's connection.

use super::*;

/// A list of peers (BEP 11).
fn pex(addresses: impl IntoIterator<Item = SocketAddr>) -> Vec<u8> {
    let bytes: Vec<u8> = addresses
        .into_iter()
        .flat_map(|a| match a {
            SocketAddr::V4(a) => [&a.ip().octets()[..], &a.port().to_be_bytes()].concat(),
            SocketAddr::V6(_) => panic!("IPv4 here"),
        })
        .collect();
    extended(1, &[format!("d5:added{}:", bytes.len()).as_bytes(), &bytes, b"e"].concat())
}

/// Somebody calls, and names others.
async fn gossip(from: [u8; 4], to: SocketAddr, metainfo: &Metainfo, list: Vec<u8>) -> TcpStream {
    let (mut stream, _) = greet_from(from, to, &handshake(metainfo, from[3])).await.unwrap();
    stream.write_all(&[extended(0, b"d1:md6:ut_pexi1eee"), list].concat()).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_addresses_that_are_nobodys_hide_no_peer() {
    let (data, metainfo) = payload();
    let seeder = seeder(&data, &metainfo, true).await;
    let (s, torrent, file) = fetcher(&metainfo, vec![]).await;
    let junk = (0..2400u16).map(|n| SocketAddr::from(([127, 9, (n >> 8) as u8, n as u8], 20_000)));
    let _liar = gossip([127, 0, 0, 66], at(&s), &metainfo, pex(junk)).await;
    // It has been heard when somebody who comes later is.
    sleep(Duration::from_millis(300)).await;
    let _honest = gossip([127, 0, 0, 7], at(&s), &metainfo, pex([at(&seeder)])).await;
    completes(&torrent, file, &data).await;
}

/// What a session's peer id is: it tells whoever calls.
async fn id_of(session: &Session, metainfo: &Metainfo) -> Vec<u8> {
    let (_, theirs) = greet_from([127, 0, 0, 200], at(session), &handshake(metainfo, b'?')).await.unwrap();
    theirs[48..].to_vec()
}

/// The impostor calls `victim` again and again as `id`, and keeps what is taken.
fn pretend(victim: SocketAddr, metainfo: &Metainfo, id: &[u8]) -> tokio::task::JoinHandle<()> {
    let mut hello = handshake(metainfo, 0);
    hello[48..].copy_from_slice(id);
    tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            if let Ok((mut stream, _)) = greet_from([127, 0, 0, 9], victim, &hello).await {
                say(&mut stream, &[0; 4]).await;
                open.push(stream);
                open.drain(..open.len().saturating_sub(4));
            }
            sleep(Duration::from_millis(50)).await;
        }
    })
}

/// Of the ids that crossed, the smaller one's call counts: an impostor could end the other half of all connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_uses_anothers_id_ends_no_connection() {
    let (data, metainfo) = payload();
    let slow = SessionConfig { port: 0, lsd: false, up: Some(1 << 20), ..Default::default() };
    let seeder = Session::start(slow).await.unwrap();
    seeder.seed(&metainfo, file_of(&data), Seeding { deal: true, weight: 1 }).await.unwrap();
    let (theirs, mut larger) = (id_of(&seeder, &metainfo).await, false);
    while !larger {
        let (s, torrent, file) = fetcher(&metainfo, vec![at(&seeder)]).await;
        let ours = id_of(&s, &metainfo).await;
        larger = ours > theirs;
        // As the server towards the machine, and as the machine towards the server.
        let both = [pretend(at(&s), &metainfo, &theirs), pretend(at(&seeder), &metainfo, &ours)];
        completes(&torrent, file, &data).await;
        both.iter().for_each(|b| b.abort());
    }
}
