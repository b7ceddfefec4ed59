// SPDX-License-Identifier: GPL-3.0-or-later
//! The server does not send what other machines have. What machines have is their own word.

use super::*;

/// Machines that claim everything and give nothing: with a bitfield, or piece by piece, so slowly that this would be the
/// usual pace.
async fn liars(seeder: SocketAddr, metainfo: &Metainfo, slowly: bool) -> Vec<TcpStream> {
    let mut open = Vec::new();
    for n in 0..4 {
        let (stream, _) = greet_from([127, 0, 6, n + 1], seeder, &handshake(metainfo, n)).await.unwrap();
        open.push(stream);
    }
    if !slowly {
        for stream in &mut open {
            stream.write_all(&message(5, &[0xff; PIECES as usize / 8])).await.unwrap();
        }
        return open;
    }
    for piece in 0..PIECES {
        for stream in &mut open {
            stream.write_all(&numbers(4, &[piece])).await.unwrap();
        }
        sleep(Duration::from_millis(40)).await;
    }
    open
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_claims_to_have_everything_starves_nobody() {
    let (data, metainfo) = payload();
    for slowly in [false, true] {
        let seeder = seeder(&data, &metainfo, true).await;
        let _open = liars(at(&seeder), &metainfo, slowly).await;
        // Not the first to come: there is a usual pace.
        for _ in 0..2 {
            let began = std::time::Instant::now();
            let (_s, torrent, file) = fetcher(&metainfo, vec![at(&seeder)]).await;
            completes(&torrent, file, &data).await;
            assert!(began.elapsed() < Duration::from_secs(10), "{slowly}: {:?}", began.elapsed());
        }
    }
}
