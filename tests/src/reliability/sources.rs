// SPDX-License-Identifier: GPL-3.0-or-later
//! Whoever sends the image: the seeder goes, nobody can be found, and those who are found are not what they say.

use super::{
    Scenario, Seen,
    room::{agents, completed, hosts, identical, part_way, refused, room, until_have},
};
use crate::{
    Cmd, FETCH, Lab, Peer, Server, assets,
    clients::Other,
    hostile::{Hostile, Silent, Vice, half_open},
};
use anyhow::{Result, ensure};
use std::{
    os::unix::fs::FileExt,
    path::PathBuf,
    time::{Duration, Instant},
};

pub(super) const ALL: [Scenario; 18] = [
    Scenario::quick(
        "seeder-killed",
        "the server is killed when the swarm holds every piece, most machines half",
        seeder_killed,
    ),
    Scenario::quick(
        "seeder-killed-early",
        "the server is killed when the swarm has half of the pieces (`--timeout 15`)",
        seeder_killed_early,
    ),
    Scenario::full("seeder-back", "the same, and the server is back after a minute", seeder_back),
    Scenario::full(
        "tracker-gone",
        "the tracker answers nobody, from the start; the server's seeder is where it always is",
        tracker_gone,
    ),
    Scenario::quick(
        "server-gone",
        "there is no server and no tracker, only a .torrent and one machine that has booted: local discovery",
        server_gone,
    ),
    Scenario::full(
        "discovery-loses-half",
        "the same, and half of what local discovery sends is lost",
        discovery_loses_half,
    ),
    Scenario::full("discovery-blocked", "a firewall drops local discovery: the tracker", discovery_blocked),
    Scenario::full(
        "both-blocked",
        "no seeder, no tracker, no local discovery: the server's HTTP",
        both_blocked,
    ),
    Scenario::full(
        "all-gone-and-back",
        "at half, the server is killed and every cable pulled; 20 s later all is back",
        all_gone_and_back,
    ),
    Scenario::quick(
        "wrong-pieces",
        "a libtorrent that sends wrong pieces (without the check that it makes of its own file)",
        wrong_pieces,
    ),
    Scenario::quick("never-sends", "a peer takes requests and never answers", never_sends),
    Scenario::full("one-byte-a-second", "a peer sends one byte a second", trickles),
    Scenario::full("boasts", "a peer has half of each piece, and says that it has everything", boasts),
    Scenario::full(
        "silent-connections",
        "a host opens 200 connections to the server's HTTP, to its seeder and to a machine, and says nothing, or half a request; another \
         opens as many only half (SYN, and nothing after it)",
        silent,
    ),
    Scenario::full(
        "server-reboots",
        "the server is killed at half, and starts again: machines, hosts and tracker are as they were",
        server_reboots,
    ),
    Scenario::full(
        "server-clock-wrong",
        "the server's clock is ten years behind, jumps to ten years ahead while machines fetch (it starts again), and an image is added",
        server_clock,
    ),
    Scenario::full(
        "image-replaced",
        "the image is replaced while machines fetch it: they end with what they began, one that comes later gets the new one",
        replaced,
    ),
    Scenario::quick(
        "image-removed",
        "the image is removed while machines fetch it; one comes too late",
        removed,
    ),
];

fn seeder_killed() -> Result<Seen> {
    room("killed", 32, &["--no-payload"], |lab, server| {
        server.seeding()?;
        lab.limit(lab.server(), 100)?;
        // Machines that send slower than the server: most have far to go when all is out.
        let mut all = agents(hosts(lab, 4, 40)?, server, &[])?;
        let (size, piece) = (server.payload().metadata()?.len(), server.image(assets::IMAGE)?.piece_length);
        let begun = Instant::now();
        loop {
            ensure!(begun.elapsed() < FETCH, "the swarm never holds every piece");
            std::thread::sleep(Duration::from_millis(50));
            if all.iter().map(Peer::have).sum::<u64>() < size {
                continue;
            }
            let mut out = vec![false; size.div_ceil(piece.into()) as usize];
            for peer in &all {
                out.iter_mut().zip(peer.pieces(piece.into())?).for_each(|(out, has)| *out |= has);
            }
            if out.iter().all(|o| *o) {
                break;
            }
        }
        let have = all.iter().map(Peer::have).sum::<u64>() as f64 / size as f64;
        server.stop();
        let took = completed(&mut all, server, Instant::now())?;
        ensure!(took <= 30.0, "all pieces were there, and yet it took {took:.1} s");
        identical(4, format!("killed with {:.0} % done, the rest took {took:.1} s", have * 25.0))
    })
}

/// Four machines whose server is killed when all of them together have half of an image.
fn half_an_image(lab: &Lab, server: &mut Server, flags: &[&str]) -> Result<Vec<Peer>> {
    let all = part_way(lab, server, (4, 40), 0.125, flags)?;
    server.stop();
    Ok(all)
}

fn seeder_killed_early() -> Result<Seen> {
    room("early", 24, &[], |lab, server| {
        let mut all = half_an_image(lab, server, &["--timeout", "15"])?;
        let end = refused(&mut all, Duration::from_secs(60))?;
        Ok(Seen { machines: 4, end, note: "each on its own".into() })
    })
}

fn seeder_back() -> Result<Seen> {
    room("back", 24, &["--no-payload"], |lab, server| {
        let mut all = half_an_image(lab, server, &[])?;
        std::thread::sleep(Duration::from_secs(60));
        let begun = Instant::now();
        server.restart(&["--no-payload"])?;
        let took = completed(&mut all, server, begun)?;
        ensure!(took < 40.0, "the server was back, and yet it took {took:.1} s");
        identical(4, format!("complete {took:.1} s after the server was back"))
    })
}

/// `GET /ann`, as the first bytes of what TCP carries.
const ANNOUNCES: &str = "tcp dport 6980 @ih,0,64 0x474554202f616e6e drop";
const DISCOVERY: &str = "udp dport 6771 drop";

fn from_peers(all: &[Peer]) -> Result<u64> {
    Ok(all.iter().map(Peer::progress).collect::<Result<Vec<_>>>()?.iter().map(|p| p.from_peers).sum())
}

fn tracker_gone() -> Result<Seen> {
    room("tracker", 24, &["--no-payload"], |lab, server| {
        server.seeding()?;
        lab.limit(lab.server(), 100)?;
        lab.server().filter(ANNOUNCES)?;
        let begun = Instant::now();
        let mut all = agents(hosts(lab, 4, 100)?, server, &[])?;
        let took = completed(&mut all, server, begun)?;
        let (peers, size) = (from_peers(&all)?, server.payload().metadata()?.len());
        ensure!(peers > size, "they did not find each other: {peers}");
        identical(4, format!("{took:.1} s, {} % from each other", peers * 25 / size))
    })
}

fn server_gone() -> Result<Seen> {
    no_server("alone", 0)
}

fn discovery_loses_half() -> Result<Seen> {
    no_server("half", 50)
}

fn no_server(name: &str, lost: u32) -> Result<Seen> {
    room(name, 24, &[], |lab, server| {
        let (mut hosts, torrent) = (hosts(lab, 4, 100)?, server.torrent_file()?);
        let rule = format!("udp dport 6771 numgen random mod 100 < {lost} drop");
        hosts.iter().filter(|_| lost > 0).try_for_each(|h| h.filter(&rule))?;
        let mut first = agents(vec![hosts.remove(0)], server, &[])?;
        completed(&mut first, server, Instant::now())?;
        server.stop();
        let begun = Instant::now();
        let agent = |h| Peer::agent(h, &torrent.to_string_lossy(), &["--seed", "forever"]);
        let mut all = hosts.into_iter().map(agent).collect::<Result<Vec<_>>>()?;
        let took = completed(&mut all, server, begun)?;
        identical(4, format!("{took:.1} s, all from each other"))
    })
}

fn discovery_blocked() -> Result<Seen> {
    room("lsd", 24, &["--no-payload"], |lab, server| {
        server.seeding()?;
        lab.limit(lab.server(), 100)?;
        let hosts = hosts(lab, 4, 100)?;
        hosts.iter().try_for_each(|h| h.filter(DISCOVERY))?;
        let begun = Instant::now();
        let mut all = agents(hosts, server, &[])?;
        let took = completed(&mut all, server, begun)?;
        let (peers, size) = (from_peers(&all)?, server.payload().metadata()?.len());
        ensure!(peers > size, "they did not find each other: {peers}");
        identical(4, format!("{took:.1} s, {} % from each other", peers * 25 / size))
    })
}

fn both_blocked() -> Result<Seen> {
    room("http", 24, &["--no-seed"], |lab, server| {
        lab.server().filter(ANNOUNCES)?;
        let hosts = hosts(lab, 4, 100)?;
        for host in &hosts {
            host.filter(DISCOVERY)?;
            lab.isolate(host)?;
        }
        let begun = Instant::now();
        let mut all = agents(hosts, server, &[])?;
        let took = completed(&mut all, server, begun)?;
        for peer in &all {
            let p = peer.progress()?;
            ensure!((p.total..p.total * 21 / 20).contains(&p.from_http), "not over HTTP: {p:?}");
        }
        identical(4, format!("{took:.1} s, all over HTTP"))
    })
}

fn all_gone_and_back() -> Result<Seen> {
    room("gone", 24, &[], |lab, server| {
        let mut all = part_way(lab, server, (4, 50), 0.5, &[])?;
        server.stop();
        all.iter().try_for_each(|p| p.host().cable(false))?;
        std::thread::sleep(Duration::from_secs(20));
        all.iter().try_for_each(|p| p.host().cable(true))?;
        server.restart(&[])?;
        let took = completed(&mut all, server, Instant::now())?;
        ensure!(took < 60.0, "all was back, and yet it took {took:.1} s");
        identical(4, format!("complete {took:.1} s after all was back"))
    })
}

/// The payload with a wrong byte in every 100 KiB: every piece of it is wrong.
fn spoilt(lab: &Lab, server: &Server) -> Result<PathBuf> {
    let wrong = lab.dir().join("wrong");
    std::fs::copy(server.payload(), &wrong)?;
    let file = std::fs::File::options().write(true).open(&wrong)?;
    (0..file.metadata()?.len()).step_by(100 << 10).try_for_each(|at| file.write_all_at(b"!", at))?;
    Ok(wrong)
}

/// Wrong pieces from one peer, before it is banned.
const MOST: usize = 3;

fn wrong_pieces() -> Result<Seen> {
    let race = |liar: bool| {
        let name = if liar { "wrong" } else { "right" };
        let (mut took, mut wrong, mut banned) = (0.0, 0, 0);
        room(name, 32, &["--no-payload"], |lab, server| {
            server.seeding()?;
            lab.limit(lab.server(), 40)?;
            let _liar = match liar {
                true => Some(Other::lie(lab, &server.torrent_file()?, &spoilt(lab, server)?)?),
                false => None,
            };
            if liar {
                known_seeders(server, 2)?;
            }
            let begun = Instant::now();
            let mut all = agents(hosts(lab, 4, 100)?, server, &["--verbose"])?;
            took = completed(&mut all, server, begun)?;
            for peer in &all {
                let (said, liar) = (peer.said(), _liar.as_ref().map(|l| l.host().address().to_owned()));
                let lines = |what: &str| said.lines().filter(|l| l.contains(what)).count();
                let bad = lines(" is wrong");
                ensure!(bad <= MOST, "{bad} wrong pieces until {liar:?} was banned");
                let bans = lines("has sent wrong pieces: banned");
                let right = liar.map_or(0, |l| lines(&format!("{l} has sent wrong pieces: banned")));
                ensure!(bans == right && bans <= 1, "others were banned: {said}");
                (wrong, banned) = (wrong.max(bad), banned + bans);
            }
            identical(4, "")
        })?;
        Ok::<_, anyhow::Error>((took, wrong, banned))
    };
    let ((clean, ..), (took, wrong, banned)) = (race(false)?, race(true)?);
    ensure!(banned > 0, "the liar was not asked, so this shows nothing");
    let times = took / clean;
    ensure!(times <= 1.5, "{took:.1} s, where it is {clean:.1} s without the liar: {times:.2} times");
    identical(
        4,
        format!(
            "banned by {banned} of 4 machines after at most {wrong} wrong pieces; {times:.2} × the time without it"
        ),
    )
}

/// Wait until the tracker knows so many who have everything.
fn known_seeders(server: &Server, count: usize) -> Result<()> {
    let (begun, known) = (Instant::now(), format!("8:completei{count}e"));
    while !server.get("/scrape")?.windows(known.len()).any(|w| w == known.as_bytes()) {
        ensure!(begun.elapsed() < Duration::from_secs(30), "the tracker does not know {count} seeders");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Three machines with a peer that has this vice.
fn with(name: &str, vice: Vice) -> Result<Seen> {
    room(name, 24, &["--no-payload"], |lab, server| {
        server.seeding()?;
        lab.limit(lab.server(), 50)?;
        let hostile = Hostile::start(lab, server, vice)?;
        known_seeders(server, 2)?;
        let begun = Instant::now();
        let mut all = agents(hosts(lab, 3, 50)?, server, &[])?;
        let took = completed(&mut all, server, begun)?;
        ensure!(hostile.asked() > 0, "nobody asked it, so this shows nothing");
        ensure!(took < 30.0, "{took:.1} s");
        identical(3, format!("{took:.1} s, {} blocks asked of it", hostile.asked()))
    })
}

fn never_sends() -> Result<Seen> {
    with("never", Vice::NeverSends)
}

fn trickles() -> Result<Seen> {
    with("trickles", Vice::Trickles)
}

fn boasts() -> Result<Seen> {
    with("boasts", Vice::Boasts)
}

fn silent() -> Result<Seen> {
    const EACH: usize = 200;
    room("silent", 24, &[], |lab, server| {
        server.seeding()?;
        lab.limit(lab.server(), 50)?;
        let crowd = lab.host("crowd")?;
        let hosts = hosts(lab, 4, 50)?;
        let machine = format!("{}:6981", hosts[0].address());
        let (http, seeder) = (format!("{}:6980", Lab::SERVER), format!("{}:6981", Lab::SERVER));
        let open = [
            Silent::open(&crowd, &http, EACH, b"")?,
            Silent::open(&crowd, &http, EACH, b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")?,
            Silent::open(&crowd, &seeder, EACH, b"\x13BitTorrent")?,
        ];
        let unheard = lab.host("unheard")?;
        for address in [&http, &seeder] {
            half_open(&unheard, address, EACH, Duration::from_secs(60))?;
        }
        let begun = Instant::now();
        let mut all = agents(hosts, server, &[])?;
        let half = lab.server().run(&Cmd::new("ss").args(["-Htn", "state", "syn-recv"]))?.lines().count();
        ensure!(half >= EACH, "only {half} connections are half open");
        // The machine listens as soon as it fetches.
        until_have(&mut all, server, 0.1)?;
        let _more = Silent::open(&crowd, &machine, EACH, b"")?;
        let took = completed(&mut all, server, begun)?;
        server.get("/")?;
        let left = Duration::from_secs(35).saturating_sub(begun.elapsed());
        std::thread::sleep(left);
        let still: usize = open.iter().map(Silent::count).sum();
        ensure!(still == 0, "{still} of them are still open");
        identical(4, format!("{took:.1} s; {} connections were closed within 35 s", 3 * EACH))
    })
}

fn server_reboots() -> Result<Seen> {
    room("reboots", 24, &[], |lab, server| {
        server.boottorrent(&["host", "set", "52:54:00:00:00:01", "--image", assets::IMAGE])?;
        let told = server.boottorrent(&["host", "list"])?;
        let mut all = part_way(lab, server, (4, 40), 0.5, &[])?;
        server.stop();
        let begun = Instant::now();
        server.restart(&[])?;
        ensure!(server.boottorrent(&["host", "list"])? == told, "hosts are not as they were");
        let took = completed(&mut all, server, begun)?;
        // Four machines and its own seeder.
        known_seeders(server, 5)?;
        let back = begun.elapsed().as_secs_f64();
        identical(4, format!("complete {took:.1} s, and known to the tracker {back:.1} s after the start"))
    })
}

fn server_clock() -> Result<Seen> {
    room("clock", 24, &[], |lab, server| {
        server.clock("-10y");
        server.restart(&[])?;
        let mut all = part_way(lab, server, (4, 40), 0.4, &[])?;
        server.clock("+10y");
        server.restart(&[])?;
        let took = completed(&mut all, server, Instant::now())?;
        // The time of what is on the disk is in the past now, and what comes is of today.
        let (file, kernel, initrd) = new_version(server)?;
        server.boottorrent(&[
            "image", "add", &file, "--name", "late", "--kernel", &kernel, "--initrd", &initrd,
        ])?;
        let begun = Instant::now();
        while server.image("late").is_err() {
            ensure!(begun.elapsed() < Duration::from_secs(30), "the server does not see the new image");
            std::thread::sleep(Duration::from_millis(100));
        }
        server.check()?;
        identical(4, format!("complete {took:.1} s after the jump"))
    })
}

fn replaced() -> Result<Seen> {
    room("replaced", 24, &[], |lab, server| {
        server.seeding()?;
        lab.limit(lab.server(), 40)?;
        let old = lab.dir().join("old");
        std::fs::copy(server.payload(), &old)?;
        let before = server.image(assets::IMAGE)?.infohash;
        let mut hosts = hosts(lab, 5, 40)?;
        let late = hosts.remove(4);
        let mut all = agents(hosts, server, &[])?;
        until_have(&mut all, server, 0.4)?;
        let (file, kernel, initrd) = new_version(server)?;
        let add = ["image", "add", &file, "--name", assets::IMAGE, "--replace"];
        server.boottorrent(&[&add[..], &["--kernel", &kernel, "--initrd", &initrd]].concat())?;
        let begun = Instant::now();
        while server.image(assets::IMAGE)?.infohash == before {
            ensure!(begun.elapsed() < Duration::from_secs(30), "the server does not see the new version");
            std::thread::sleep(Duration::from_millis(100));
        }
        let mut late = agents(vec![late], server, &[])?;
        completed(&mut late, server, begun)?;
        while !all.iter().all(Peer::is_complete) {
            all.iter_mut().try_for_each(Peer::check)?;
            ensure!(begun.elapsed() < FETCH, "the old version does not come to an end");
            std::thread::sleep(Duration::from_millis(50));
        }
        all.iter().try_for_each(|p| p.same_as(&old))?;
        identical(5, "4 with the old version, 1 with the new one")
    })
}

/// Another image of noise, as files for `image add`.
pub(super) fn new_version(server: &Server) -> Result<(String, String, String)> {
    let other = assets::random(16)?.join("images").join(assets::IMAGE);
    let text = |f: PathBuf| f.to_string_lossy().into_owned();
    let own = server.catalogue().join("images").join(assets::IMAGE);
    Ok((text(other.join("payload")), text(own.join("vmlinuz")), text(own.join("initrd"))))
}

fn removed() -> Result<Seen> {
    room("removed", 24, &[], |lab, server| {
        server.seeding()?;
        lab.limit(lab.server(), 40)?;
        let old = lab.dir().join("old");
        std::fs::copy(server.payload(), &old)?;
        let mut hosts = hosts(lab, 5, 40)?;
        let late = hosts.remove(4);
        let mut all = agents(hosts, server, &[])?;
        until_have(&mut all, server, 0.3)?;
        server.boottorrent(&["image", "remove", assets::IMAGE, "--force"])?;
        let begun = Instant::now();
        while server.image(assets::IMAGE).is_ok() {
            ensure!(begun.elapsed() < Duration::from_secs(30), "the server still serves it");
            std::thread::sleep(Duration::from_millis(100));
        }
        ensure!(!all.iter().all(Peer::is_complete), "too fast for something to happen half way");
        let late = refused(&mut agents(vec![late], server, &[])?, Duration::from_secs(30))?;
        while !all.iter().all(Peer::is_complete) {
            all.iter_mut().try_for_each(Peer::check)?;
            ensure!(begun.elapsed() < FETCH, "those who had begun do not come to an end");
            std::thread::sleep(Duration::from_millis(50));
        }
        all.iter().try_for_each(|p| p.same_as(&old))?;
        let end = format!("{}; who comes too late ends with {late}", super::IDENTICAL);
        Ok(Seen { machines: 5, end, note: "4 had begun".into() })
    })
}
