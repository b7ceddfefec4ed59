// SPDX-License-Identifier: GPL-3.0-or-later
//! Swarms of ours with other people's programs: clients on either side, and a tracker.

use anyhow::{Result, ensure};
use bootspec::Progress;
use boottorrent_tests::{
    FETCH, Lab, Peer, Server, all_complete, assets,
    clients::{Opentracker, Other, infohash},
};

// MiB that two programs pass on to each other, and that many do.
const FEW: u32 = 24;
const MANY: u32 = 64;

/// It downloads from our seeder, found by our tracker.
fn leeches(client: Other) -> Result<()> {
    Server::in_noisy_lab(&format!("{}-leech", client.name()), FEW, &["--no-payload"], |lab, server| {
        server.seeding()?;
        let mut peer = client.leech(lab, &server.torrent_file()?)?;
        let took = all_complete([&mut peer], server, FETCH)?;
        println!("{} from our seeder: {:.1} s", client.name(), took.as_secs_f64());
        Ok(())
    })
}

/// Our agents get everything from it.
fn seeds(client: Other) -> Result<()> {
    Server::in_noisy_lab(
        &format!("{}-seed", client.name()),
        FEW,
        &["--no-seed", "--no-payload"],
        |lab, server| {
            let _seeder = client.seed(lab, &server.torrent_file()?, &server.payload())?;
            server.seeding()?;
            let took = from_the_seeder(lab, server, &server.torrent_url())?;
            println!("two agents from {}: {took:.1} s", client.name());
            Ok(())
        },
    )
}

/// Two agents, who have only a foreign seeder and each other. Gives the seconds it took.
fn from_the_seeder(lab: &Lab, server: &Server, torrent: &str) -> Result<f64> {
    let agent = |name| Peer::agent(lab.host(name)?, torrent, &["--seed", "forever"]);
    let mut agents = [agent("a")?, agent("b")?];
    let took = all_complete(&mut agents, server, FETCH)?;
    for agent in &agents {
        let p = agent.progress()?;
        ensure!(p.from_server + p.from_http == 0 && p.from_peers >= p.total, "somebody else helped: {p:?}");
    }
    Ok(took.as_secs_f64())
}

#[test]
fn aria2_downloads_from_our_seeder() -> Result<()> {
    leeches(Other::Aria2)
}

#[test]
fn transmission_downloads_from_our_seeder() -> Result<()> {
    leeches(Other::Transmission)
}

#[test]
fn libtorrent_downloads_from_our_seeder() -> Result<()> {
    leeches(Other::Libtorrent)
}

#[test]
fn our_agents_download_from_an_aria2_seeder() -> Result<()> {
    seeds(Other::Aria2)
}

#[test]
fn our_agents_download_from_a_transmission_seeder() -> Result<()> {
    seeds(Other::Transmission)
}

#[test]
fn our_agents_download_from_a_libtorrent_seeder() -> Result<()> {
    seeds(Other::Libtorrent)
}

// Tried: BitTorrent peers, in both directions | aria2 1.36, Transmission 3.00, libtorrent 2.0
#[test]
fn all_clients_in_one_swarm_finish() -> Result<()> {
    Server::in_noisy_lab("mixed", MANY, &["--up", "20MB/s", "--no-payload"], |lab, server| {
        let torrent = server.torrent_file()?;
        let mut all = Vec::new();
        for name in ["a", "b"] {
            all.push(Peer::agent(lab.host(name)?, &server.torrent_url(), &["--seed", "forever"])?);
        }
        for client in Other::ALL {
            all.push(client.leech(lab, &torrent)?);
        }
        let took = all_complete(&mut all, server, FETCH)?;
        let agents = all[..2].iter().map(Peer::progress).collect::<Result<Vec<_>>>()?;
        let sum = |of: fn(&Progress) -> u64| agents.iter().map(of).sum::<u64>();
        let (peers, received) = (sum(|p| p.from_peers), sum(Progress::received));
        println!(
            "2 agents, aria2, transmission and libtorrent: {:.1} s; {} % of the agents' bytes from others than the server",
            took.as_secs_f64(),
            peers * 100 / received
        );
        ensure!(peers > 0, "the agents had everything from the server: {agents:?}");
        Ok(())
    })
}

/// No .torrent at all: a link, as a distribution's page has it, and the name of a file in it.
#[test]
fn a_magnet_link_to_one_file_of_several() -> Result<()> {
    Server::in_noisy_lab("magnet", FEW, &["--no-seed", "--no-payload"], |lab, server| {
        let (torrent, seeder) = Other::seed_folder(lab, &server.payload())?;
        let link = format!("magnet:?xt=urn:btih:{}&dn=release", infohash(&torrent)?);
        let at = format!("{}:6881", seeder.host().address());
        // The second knows only the first, which has the metainfo by then, and the file's edges.
        let mut first = Peer::agent(
            lab.host("first")?,
            &format!("{link}&x.pe={at}"),
            &["--file", "lab.img", "--seed", "forever"],
        )?;
        let took = all_complete([&mut first], server, FETCH)?;
        drop(seeder);
        let at = format!("{}:6981", first.host().address());
        let mut second = Peer::agent(lab.host("second")?, &link, &["--peers", &at, "--file", "iso/lab.img"])?;
        all_complete([&mut second], server, FETCH)?;
        let p = first.progress()?;
        ensure!(p.received() < p.total * 11 / 10, "other files were fetched: {p:?}");
        println!("by a magnet link from aria2, one file of three: {:.1} s", took.as_secs_f64());
        Ok(())
    })
}

#[test]
fn another_tracker_does_as_well() -> Result<()> {
    Server::in_noisy_lab("opentracker", FEW, &["--no-seed", "--no-payload"], |lab, server| {
        let tracker = Opentracker::start(lab, &server.image(assets::IMAGE)?.infohash.to_string())?;
        let torrent = tracker.torrent(&server.torrent_file()?)?;
        // aria2 neither looks nor answers by multicast: agents find it by the tracker alone.
        let _seeder = Other::Aria2.seed(lab, &torrent, &server.payload())?;
        tracker.knows_a_seeder()?;
        let took = from_the_seeder(lab, server, &torrent.display().to_string())?;
        println!("two agents by opentracker: {took:.1} s");
        Ok(())
    })
}
