// SPDX-License-Identifier: GPL-3.0-or-later
//! Floods of messages that are all allowed. They cost their sender, and little of anybody else: neither memory, nor a
//! processor, nor others their turn.

use super::*;
use std::{
    fs, io,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};
use tokio::runtime;

/// Sessions on one thread of their own, as an agent is: what occupies it stops everything there.
struct Machine {
    seeder: SocketAddr,
    fetcher: SocketAddr,
    thread: u64,
}

impl Machine {
    /// A seeder that shows everything, and a machine that has nothing and knows nobody.
    fn start(data: Vec<u8>, metainfo: Metainfo) -> Self {
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            let stat = fs::read_link("/proc/thread-self").unwrap();
            let thread = stat.file_name().unwrap().to_str().unwrap().parse().unwrap();
            runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let seeder = seeder(&data, &metainfo, false).await;
                let (s, _torrent, _file) = fetcher(&metainfo, vec![]).await;
                tell.send(Self { seeder: at(&seeder), fetcher: at(&s), thread }).unwrap();
                std::future::pending::<()>().await;
            });
        });
        told.recv().unwrap()
    }

    /// What its thread has had of a processor.
    fn processor(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/self/task/{}/stat", self.thread)).unwrap();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }
}

/// Say it again and again, and read nothing.
async fn flood(victim: SocketAddr, hello: Vec<u8>, first: Vec<u8>, again: Vec<u8>, long: Duration) -> usize {
    let begun = Instant::now();
    let mut said = 0;
    let again = again.repeat((64 << 10) / again.len() + 1);
    while begun.elapsed() < long {
        let talk = async {
            let mut stream = TcpStream::connect(victim).await?;
            stream.write_all(&[&hello[..], &first].concat()).await?;
            loop {
                stream.write_all(&again).await?;
                said += again.len();
            }
            #[allow(unreachable_code)]
            io::Result::Ok(())
        };
        let _ = timeout(long.saturating_sub(begun.elapsed()), talk).await;
        sleep(Duration::from_millis(10)).await;
    }
    said
}

/// Each kind of message that makes us do something, over and over: what comes first, and what comes then.
fn floods() -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    let none = Vec::new();
    let request = numbers(6, &[0, 0, PIECE]);
    let pex_on = extended(0, b"d1:md6:ut_pexi1ee1:pi7000ee");
    let addresses: Vec<u8> = (0..50u8).flat_map(|i| [127, 9, 9, i, 0x30, 0x39]).collect();
    let pex = extended(1, &[format!("d5:added{}:", addresses.len()).as_bytes(), &addresses, b"e"].concat());
    vec![
        ("extension handshakes", none.clone(), pex_on.clone()),
        ("lists of peers", pex_on, pex),
        ("bitfields", none.clone(), message(5, &[0xf0, 0, 0, 0])),
        ("one HAVE", none.clone(), numbers(4, &[3])),
        ("interested, not interested", none.clone(), [message(2, &[]), message(3, &[])].concat()),
        ("choke, unchoke", message(5, &[0xff; 4]), [message(0, &[]), message(1, &[])].concat()),
        ("keep-alives", none.clone(), vec![0; 4]),
        ("what nobody knows", none.clone(), message(99, &[7; 40])),
        ("extensions that do not parse", none.clone(), extended(0, &[b'l'; 16_000])),
        ("requests of what is not there", none.clone(), numbers(6, &[PIECES, 0, BLOCK])),
        ("blocks that nobody asked for", none.clone(), block(1, BLOCK, &[0xee; BLOCK as usize])),
        ("blocks of nothing", none.clone(), block(1, u32::MAX, &[])),
        ("cancels of nothing", request.repeat(4000), numbers(8, &[1, 1, 1])),
        (
            "requests and cancels",
            request.repeat(2000),
            [request.clone(), numbers(8, &[0, 0, PIECE])].concat(),
        ),
        ("the metainfo", extended(0, b"d1:md11:ut_metadatai3eee"), extended(3, b"d8:msg_typei0e5:piecei0ee")),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_useless_messages_costs_whoever_sends_it() {
    const LONG: Duration = Duration::from_millis(1500);
    let (data, metainfo) = payload();
    for (what, first, again) in floods() {
        let machine = Machine::start(data.clone(), metainfo.clone());
        let (memory_before, before, begun) = (memory(), machine.processor(), Instant::now());
        let all = (0..4u8).map(|n| {
            let victim = if n % 2 == 0 { machine.seeder } else { machine.fetcher };
            tokio::spawn(flood(victim, handshake(&metainfo, n), first.clone(), again.clone(), LONG))
        });
        for attacker in all.collect::<Vec<_>>() {
            attacker.await.unwrap();
        }
        let spent = machine.processor() - before;
        let share = spent.as_secs_f64() / begun.elapsed().as_secs_f64();
        let grown = memory().saturating_sub(memory_before);
        eprintln!("{what}: {:.0} % of a processor, {grown} KiB", share * 100.0);
        // Without optimisation, and the first burst is in it: a tenth of this otherwise.
        assert!(share < 0.3, "{what}: {:.0} % of a processor", share * 100.0);
        assert!(grown < 40 << 10, "{what}: {grown} KiB more");
    }
}

/// Cancels that cut the middle out of requests would make each queue longer, and cost a walk over it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancels_of_parts_stop_nobody() {
    let (data, metainfo) = payload();
    let machine = Machine::start(data.clone(), metainfo.clone());
    let before = memory();
    let cuts: Vec<u8> = (0..12_000).flat_map(|n| numbers(8, &[0, 2 * n + 1, 1])).collect();
    let mut open = Vec::new();
    for victim in [machine.seeder, machine.seeder, machine.fetcher] {
        let mut stream = TcpStream::connect(victim).await.unwrap();
        say(&mut stream, &handshake(&metainfo, open.len() as u8)).await;
        say(&mut stream, &numbers(6, &[0, 0, PIECE]).repeat(4000)).await;
        say(&mut stream, &cuts).await;
        open.push(stream);
    }
    let (_s, torrent, file) = fetcher(&metainfo, vec![machine.seeder, machine.fetcher]).await;
    completes(&torrent, file, &data).await;
    let grown = memory().saturating_sub(before);
    assert!(grown < 40 << 10, "{grown} KiB more");
}

/// Who has all of the metainfo often enough is not sent more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_metainfo_is_not_sent_without_end() {
    let (data, metainfo) = payload();
    let seeder = seeder(&data, &metainfo, true).await;
    let (mut stream, _) = greet_from([127, 0, 0, 1], at(&seeder), &handshake(&metainfo, 1)).await.unwrap();
    stream.write_all(&extended(0, b"d1:md11:ut_metadatai3eee")).await.unwrap();
    let ask = extended(3, b"d8:msg_typei0e5:piecei0ee");
    let (mut from, mut to) = stream.into_split();
    let asking = tokio::spawn(async move { while to.write_all(&ask).await.is_ok() {} });
    let mut came = Vec::new();
    let ended = timeout(Duration::from_secs(30), from.read_to_end(&mut came)).await;
    assert!(ended.is_ok(), "{} bytes, and no end", came.len());
    asking.abort();
}
