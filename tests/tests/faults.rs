// SPDX-License-Identifier: GPL-3.0-or-later
//! What may go wrong in a swarm, and must cost nothing but time: TCP between
//! machines is dropped, the server or a machine goes away, a machine comes late. More, by name: reliability.rs.

use anyhow::{Result, ensure};
use bootspec::Progress;
use boottorrent_tests::{FETCH, Host, Lab, Peer, Server, all_complete};
use std::time::{Duration, Instant};

/// Agents that start together and go on seeding, on hosts that `wire` had before.
fn agents(lab: &Lab, server: &Server, count: usize, wire: impl Fn(&Host) -> Result<()>) -> Result<Vec<Peer>> {
    let mut hosts = Vec::new();
    for n in 0..count {
        let host = lab.host(&format!("m{n}"))?;
        wire(&host)?;
        hosts.push(host);
    }
    hosts.into_iter().map(|h| Peer::agent(h, &server.torrent_url(), &["--seed", "forever"])).collect()
}

/// Seconds that a link takes for a payload, at best.
fn bound(server: &Server, mbit: u32) -> Result<f64> {
    Ok(server.payload().metadata()?.len() as f64 * 8.0 / (f64::from(mbit) * 1e6))
}

/// Wait until `what` is so.
fn until(peers: &mut [Peer], mut what: impl FnMut(&[Peer]) -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !what(peers)? {
        peers.iter_mut().try_for_each(Peer::check)?;
        ensure!(start.elapsed() < FETCH, "they do not get on");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Six machines that reach only the server.
fn alone(name: &str, flags: &[&str], check: impl Fn(&Progress) -> bool) -> Result<()> {
    const N: usize = 6;
    Server::in_noisy_lab(name, 32, flags, |lab, server| {
        lab.limit(lab.server(), 200)?;
        let mut all = agents(lab, server, N, |host| lab.isolate(host))?;
        let took = all_complete(&mut all, server, FETCH)?.as_secs_f64();
        let best = N as f64 * bound(server, 200)?;
        println!("{name}: {N} machines that reach only the server: {took:.1} s, {:.2} × bound", took / best);
        for peer in &all {
            let p = peer.progress()?;
            ensure!(p.from_peers == 0 && check(&p), "from where it could not come: {p:?}");
        }
        ensure!(took <= 1.5 * best + 3.0, "{took:.1} s, where {best:.1} s are the least");
        Ok(())
    })
}

#[test]
fn machines_that_cannot_reach_each_other_have_the_server() -> Result<()> {
    alone("isolated", &[], |p| p.from_server > 0)
}

#[test]
fn http_alone_is_enough() -> Result<()> {
    alone("http-only", &["--no-seed"], |p| (p.total..p.total * 21 / 20).contains(&p.from_http))
}

#[test]
fn a_cut_of_the_servers_link_costs_as_long_as_it_lasts() -> Result<()> {
    const CUT: Duration = Duration::from_secs(10);
    let race = |cut: bool| {
        let mut took = 0.0;
        Server::in_noisy_lab(if cut { "cut" } else { "uncut" }, 96, &[], |lab, server| {
            server.seeding()?;
            lab.limit(lab.server(), 50)?;
            let begin = Instant::now();
            let mut all = agents(lab, server, 8, |host| lab.limit(host, 50))?;
            if cut {
                let size = server.payload().metadata()?.len();
                until(&mut all, |all| Ok(all.iter().map(Peer::have).sum::<u64>() >= 8 * size * 3 / 10))?;
                lab.server().cable(false)?;
                std::thread::sleep(CUT);
                lab.server().cable(true)?;
            }
            all_complete(&mut all, server, FETCH)?;
            took = begin.elapsed().as_secs_f64();
            Ok(())
        })?;
        Ok::<_, anyhow::Error>(took)
    };
    let (whole, cut) = (race(false)?, race(true)?);
    println!(
        "8 machines: {whole:.1} s; with the server's link cut for 10 s: {cut:.1} s, {:+.1} s",
        cut - whole
    );
    ensure!(cut - whole <= CUT.as_secs_f64() + whole / 4.0, "the cut cost {:.1} s", cut - whole);
    Ok(())
}

#[test]
fn one_goes_half_way_and_one_comes_late() -> Result<()> {
    Server::in_noisy_lab("come-and-go", 64, &["--no-payload"], |lab, server| {
        server.seeding()?;
        lab.limit(lab.server(), 100)?;
        let begin = Instant::now();
        let mut all = agents(lab, server, 5, |host| lab.limit(host, 100))?;
        let size = server.payload().metadata()?.len();
        until(&mut all, |all| Ok(all[0].have() >= size * 3 / 10))?;
        // Killed, with its part of what the server had dealt to nobody else.
        let dead = all.remove(0);
        ensure!(!dead.is_complete(), "too fast to be killed half way");
        drop(dead);
        until(&mut all, |all| Ok(all[0].have() >= size * 6 / 10))?;
        let (late, start) = (lab.host("late")?, Instant::now());
        lab.limit(&late, 100)?;
        let mut late = Peer::agent(late, &server.torrent_url(), &["--seed", "forever"])?;
        all_complete(&mut all, server, FETCH)?;
        let took = begin.elapsed().as_secs_f64();
        all_complete([&mut late], server, FETCH)?;
        let (late, best) = (start.elapsed().as_secs_f64(), bound(server, 100)?);
        println!("one of 5 killed: the others took {took:.1} s, a late one {late:.1} s; bound {best:.1} s");
        ensure!(took <= 3.0 * best + 10.0 && late <= 3.0 * best + 10.0, "much longer than they should");
        Ok(())
    })
}
