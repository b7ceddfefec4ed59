// SPDX-License-Identifier: GPL-3.0-or-later
//! Swarms of real processes on a network of their own: our server and our agents
//! (`boottorrent-agent fetch`). The payload is a real image.

use anyhow::{Result, ensure};
use bootspec::Progress;
use boottorrent_tests::{Lab, Peer, Server, assets};
use std::time::Duration;

fn lab(name: &str, flags: &[&str], test: impl FnOnce(&Lab, &mut Server) -> Result<()>) -> Result<()> {
    let catalogue = assets::catalogue(&assets::image(assets::Suite::own()?)?)?;
    Server::in_lab(name, &catalogue, flags, test)
}

fn agents<const N: usize>(lab: &Lab, server: &Server, names: [&str; N], flags: &[&str]) -> Result<Vec<Peer>> {
    names.into_iter().map(|name| Peer::agent(lab.host(name)?, &server.torrent_url(), flags)).collect()
}

fn finish(agents: &mut [Peer], server: &Server) -> Result<Vec<Progress>> {
    agents.iter_mut().map(|a| a.finish(server)).collect()
}

#[test]
fn machines_that_start_together_help_each_other() -> Result<()> {
    lab("together", &["--up", "30MB/s"], |lab, server| {
        let mut all = agents(lab, server, ["a", "b", "c"], &["--seed", "8s"])?;
        let progress = finish(&mut all, server)?;
        let sum = |of: fn(&Progress) -> u64| progress.iter().map(of).sum::<u64>();
        let (received, peers, payload) = (sum(Progress::received), sum(|p| p.from_peers), progress[0].total);
        println!(
            "3 machines: {:.2} copies from the server and its HTTP, {:.0} % of all bytes from other machines, {:.3} received/size",
            (received - peers) as f64 / payload as f64,
            peers as f64 * 100.0 / received as f64,
            received as f64 / (3 * payload) as f64,
        );
        ensure!(peers * 3 >= received, "less than a third came from other machines: {progress:?}");
        Ok(())
    })
}

#[test]
fn a_server_that_stops_seeding_half_way_and_a_cut_cable_cost_only_time() -> Result<()> {
    lab("faults", &["--up", "20MB/s"], |lab, server| {
        let mut all = agents(lab, server, ["cut", "other"], &[])?;
        std::thread::sleep(Duration::from_secs(4));
        all[0].host().cable(false)?;
        std::thread::sleep(Duration::from_secs(3));
        all[0].host().cable(true)?;
        ensure!(!all.iter().any(Peer::is_complete), "too fast to be cut half way");
        // The tracker and the payload endpoint stay; the seeder is gone.
        server.restart(&["--no-seed"])?;
        let all = finish(&mut all, server)?;
        // Each had one piece that way before.
        ensure!(
            all.iter().map(|p| p.from_http).sum::<u64>() > 2 << 20,
            "what nobody had came over HTTP: {all:?}"
        );
        Ok(())
    })
}
