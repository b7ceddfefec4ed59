// SPDX-License-Identifier: GPL-3.0-or-later
//! What scenarios have in common: a server with some noise to serve, machines that fetch it, and how they end.

use super::Seen;
use crate::{FETCH, Host, Lab, Peer, Server, all_complete, assets};
use anyhow::{Context, Result, bail, ensure};
use std::time::{Duration, Instant};

/// How a scenario ends well.
pub const IDENTICAL: &str = "every machine has the image, byte for byte";
/// How one ends well where machines have booted before.
pub const RUNS_ON: &str = "the machine runs on and does not notice";

/// A test in a lab with a server that serves so many MiB.
pub fn room(
    name: &str,
    mib: u32,
    flags: &[&str],
    test: impl FnOnce(&Lab, &mut Server) -> Result<Seen>,
) -> Result<Seen> {
    let lab = Lab::new(&format!("fault-{name}"))?;
    let catalogue = lab.dir().join("catalogue");
    assets::copy_catalogue(&assets::random(mib)?, &catalogue)?;
    let mut server = Server::serve(&lab, &catalogue, flags)?;
    test(&lab, &mut server).with_context(|| format!("the logs are in {}", lab.dir().display()))
}

/// It has ended well.
pub fn identical(machines: usize, note: impl Into<String>) -> Result<Seen> {
    Ok(Seen { machines, end: IDENTICAL.into(), note: note.into() })
}

/// Hosts, each with a link of so many Mbit/s.
pub fn hosts(lab: &Lab, count: usize, mbit: u32) -> Result<Vec<Host>> {
    let host = |n| {
        let host = lab.host(&format!("m{n}"))?;
        lab.limit(&host, mbit)?;
        Ok(host)
    };
    (0..count).map(host).collect()
}

/// Agents that start together and go on seeding.
pub fn agents(hosts: Vec<Host>, server: &Server, flags: &[&str]) -> Result<Vec<Peer>> {
    let flags = [&["--seed", "forever"], flags].concat();
    hosts.into_iter().map(|h| Peer::agent(h, &server.torrent_url(), &flags)).collect()
}

/// Wait until they have so much of all their copies together, 0 to 1.
pub fn until_have(all: &mut [Peer], server: &Server, share: f64) -> Result<()> {
    let size = server.payload().metadata()?.len() as f64 * all.len() as f64;
    let begun = Instant::now();
    while (all.iter().map(Peer::have).sum::<u64>() as f64) < size * share {
        all.iter_mut().try_for_each(Peer::check)?;
        ensure!(begun.elapsed() < FETCH, "they do not get on");
        std::thread::sleep(Duration::from_millis(20));
    }
    ensure!(!all.iter().all(Peer::is_complete), "too fast for something to happen half way");
    Ok(())
}

/// As many agents with links of `mbit` Mbit/s, from a server with such a link, that have so much of all their copies
/// together, 0 to 1.
pub fn part_way(
    lab: &Lab,
    server: &mut Server,
    (count, mbit): (usize, u32),
    share: f64,
    flags: &[&str],
) -> Result<Vec<Peer>> {
    server.seeding()?;
    lab.limit(lab.server(), mbit)?;
    let mut all = agents(hosts(lab, count, mbit)?, server, flags)?;
    until_have(&mut all, server, share)?;
    Ok(all)
}

/// Wait until all have the image; give the seconds since `begun`.
pub fn completed(all: &mut [Peer], server: &Server, begun: Instant) -> Result<f64> {
    all_complete(all, server, FETCH)?;
    Ok(begun.elapsed().as_secs_f64())
}

/// All end with the same sentence and exit code. What differs from run to run stands in capitals.
pub fn refused(all: &mut [Peer], limit: Duration) -> Result<String> {
    let mut ends = Vec::new();
    for peer in all {
        let (code, sentence) = peer.refused(limit)?;
        ends.push(format!("exit code {code}: `{}`", general(&sentence)));
    }
    ends.dedup();
    match &ends[..] {
        [end] => Ok(end.clone()),
        _ => bail!("they end differently: {ends:#?}"),
    }
}

/// A sentence with SIZE for sizes and N for the number of peers, which differ each time.
pub fn general(sentence: &str) -> String {
    let words: Vec<&str> = sentence.split(' ').collect();
    let number = |w: &str| w.trim_start_matches('(').parse::<f64>().is_ok();
    let mut out: Vec<String> = Vec::new();
    let mut n = 0;
    while n < words.len() {
        let next = words.get(n + 1).map(|w| w.trim_matches(|c: char| !c.is_alphabetic())).unwrap_or_default();
        let open = if words[n].starts_with('(') { "(" } else { "" };
        if number(words[n]) && ["B", "KiB", "MiB", "GiB", "bytes"].contains(&next) {
            let rest = words[n + 1].trim_start_matches(next);
            out.push(format!("{open}SIZE{rest}"));
            n += 2;
        } else if number(words[n]) && next == "peers" {
            out.push(format!("{open}N"));
            n += 1;
        } else {
            out.push(words[n].into());
            n += 1;
        }
    }
    out.join(" ").replace('`', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_general() {
        assert_eq!(
            general(
                "nobody has sent a piece of x for 15 s (1.25 MiB of 16.1 MiB are here, 3 peers): check `y`"
            ),
            "nobody has sent a piece of x for 15 s (SIZE of SIZE are here, N peers): check y"
        );
    }
}
