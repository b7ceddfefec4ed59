// SPDX-License-Identifier: GPL-3.0-or-later
//! Two hours of mornings in some minutes: many machines fetch the same small image again and again, and
//! neither the server nor a machine that seeds takes more memory for it.

use anyhow::{Context, Result, ensure};
use boottorrent_tests::{
    Cmd, Host, Lab, Peer, Server, assets,
    reliability::page::{Sample, Soak},
};
use std::{
    fs,
    time::{Duration, Instant},
};

/// Machines in each round.
const MACHINES: usize = 40;
/// MiB of the image.
const MIB: u32 = 8;
/// Rounds after which memory is looked at.
const LOOKED: usize = 10;
/// Memory at the end, beside that after the first [`LOOKED`] rounds.
const FLAT: f64 = 1.2;

/// Run it.
pub fn run(rounds: usize) -> Result<Soak> {
    let lab = Lab::new("soak")?;
    let catalogue = lab.dir().join("catalogue");
    assets::copy_catalogue(&assets::random(MIB)?, &catalogue)?;
    let server = Server::serve(&lab, &catalogue, &[])?;
    server.seeding()?;
    let url = server.torrent_url();
    let mut stays = Peer::agent(lab.host("stays")?, &url, &["--seed", "forever"])?;
    boottorrent_tests::all_complete([&mut stays], &server, Duration::from_secs(60))?;
    let mut hosts = (0..MACHINES).map(|n| lab.host(&format!("m{n}"))).collect::<Result<Vec<Host>>>()?;
    let (begun, mut samples) = (Instant::now(), Vec::new());
    for round in 1..=rounds {
        let mut all = Vec::new();
        for host in hosts.drain(..) {
            // From the last round.
            let _ = fs::remove_file(host.dir().join(host.name()));
            all.push(Peer::agent(host, &url, &["--seed", "forever"])?);
        }
        boottorrent_tests::all_complete(&mut all, &server, Duration::from_secs(120))?;
        hosts = all.into_iter().map(Peer::into_host).collect();
        if round == 1 || round % LOOKED == 0 {
            let sample = Sample {
                round,
                server: memory(server.id().context("the server has ended")?)?,
                agent: memory(stays.id())?,
            };
            println!("soak: {sample:?} after {:.0} s", begun.elapsed().as_secs_f64());
            samples.push(sample);
        }
    }
    let early = samples.iter().find(|s| s.round >= LOOKED).copied().unwrap_or_default();
    let last = samples.last().copied().unwrap_or_default();
    for (who, early, last) in [("server", early.server, last.server), ("agent", early.agent, last.agent)] {
        ensure!(last as f64 <= early as f64 * FLAT, "the {who} had {early} KiB, and in the end {last} KiB");
    }
    let say = |cmd: Cmd| Ok::<_, anyhow::Error>(cmd.run()?.trim().to_owned());
    Ok(Soak {
        date: say(Cmd::new("date").args(["-u", "+%Y-%m-%d"]))?,
        commit: say(Cmd::new("git").args(["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always"]))?,
        machines: MACHINES,
        mib: MIB,
        seconds: begun.elapsed().as_secs_f64().round(),
        samples,
    })
}

/// KiB that a process holds now. `spawn` starts it through setpriv(1), which becomes it.
fn memory(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
