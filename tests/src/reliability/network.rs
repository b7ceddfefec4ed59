// SPDX-License-Identifier: GPL-3.0-or-later
//! What is between machines: links that go down, addresses that change or are there twice, frames that vanish.

use super::{
    Scenario, Seen,
    room::{agents, completed, hosts, identical, part_way, room, until_have},
};
use crate::{Host, Lab, Netns, Peer, Server, hostile::Silent};
use anyhow::{Result, ensure};
use std::time::{Duration, Instant};

pub(super) const ALL: [Scenario; 7] = [
    Scenario::full("server-link-down", "the server's link is down for 20 s at half", server_link_down),
    Scenario::full("machine-link-down", "one machine's link is down for 20 s at half", machine_link_down),
    Scenario::quick("address-changes", "one machine gets another address at half", address_changes),
    Scenario::full(
        "address-twice",
        "another machine takes the address of one at half, talks, and goes after 10 s",
        address_twice,
    ),
    Scenario::full(
        "mtu-too-large",
        "server and machines have jumbo frames (MTU 9000), the switch drops what is longer than 1500",
        mtu_too_large,
    ),
    Scenario::full("loss-2", "2 % of all packets that come in are lost, everywhere", || loss(2)),
    Scenario::quick("loss-10", "10 % of all packets that come in are lost, everywhere", || loss(10)),
];

fn server_link_down() -> Result<Seen> {
    link_down("server-down", |lab, _| lab.server().netns())
}

fn machine_link_down() -> Result<Seen> {
    link_down("machine-down", |_, all| all[0].host().netns())
}

fn link_down(name: &str, whose: for<'a> fn(&'a Lab, &'a [Peer]) -> &'a Netns) -> Result<Seen> {
    const CUT: Duration = Duration::from_secs(20);
    let race = |cut: bool| {
        let mut took = 0.0;
        room(&format!("{name}-{cut}"), 32, &[], |lab, server| {
            server.seeding()?;
            lab.limit(lab.server(), 40)?;
            let begun = Instant::now();
            let mut all = agents(hosts(lab, 4, 40)?, server, &[])?;
            if cut {
                until_have(&mut all, server, 0.5)?;
                whose(lab, &all).ip("link set eth0 down")?;
                std::thread::sleep(CUT);
                whose(lab, &all).ip("link set eth0 up")?;
            }
            took = completed(&mut all, server, begun)?;
            identical(4, "")
        })?;
        Ok::<_, anyhow::Error>(took)
    };
    let (whole, cut) = (race(false)?, race(true)?);
    let cost = cut - whole;
    ensure!(cost <= CUT.as_secs_f64() + 5.0, "{cut:.1} s, and {whole:.1} s without the cut");
    identical(4, format!("it cost {cost:.1} s"))
}

fn address_changes() -> Result<Seen> {
    room("moves", 32, &["--no-payload"], |lab, server| {
        let mut all = part_way(lab, server, (3, 40), 0.4, &[])?;
        let (ns, old) = (all[0].host().netns(), all[0].host().address());
        ns.ip(&format!("address del {old}/24 dev eth0"))?;
        ns.ip("address add 10.77.0.222/24 brd + dev eth0")?;
        let took = completed(&mut all, server, Instant::now())?;
        ensure!(took < 30.0, "{took:.1} s after the address has changed");
        identical(3, format!("complete {took:.1} s later"))
    })
}

fn address_twice() -> Result<Seen> {
    room("twice", 32, &[], |lab, server| {
        let twin = lab.host("twin")?;
        let mut all = part_way(lab, server, (3, 40), 0.4, &[])?;
        let (own, taken) = (twin.address(), all[0].host().address());
        twin.netns().ip(&format!("address del {own}/24 dev eth0"))?;
        twin.netns().ip(&format!("address add {taken}/24 brd + dev eth0"))?;
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(10) {
            // Whoever spoke last is the one that others believe in.
            drop(Silent::open(&twin, &format!("{}:6980", Lab::SERVER), 1, b"GET / HTTP/1.0\r\n\r\n"));
            std::thread::sleep(Duration::from_millis(500));
        }
        twin.cable(false)?;
        let took = completed(&mut all, server, Instant::now())?;
        ensure!(took < 60.0, "{took:.1} s after the other one has gone");
        identical(3, format!("complete {took:.1} s after the other one has gone"))
    })
}

/// Long frames, each by itself: what leaves is what the card would send.
fn jumbo(host: &Host) -> Result<()> {
    host.netns().ip("link set eth0 mtu 9000 gso_max_segs 1")
}

fn mtu_too_large() -> Result<Seen> {
    room("mtu", 24, &[], |lab, server: &mut Server| {
        server.seeding()?;
        jumbo(lab.server())?;
        let hosts = hosts(lab, 3, 50)?;
        hosts.iter().try_for_each(jumbo)?;
        let begun = Instant::now();
        let mut all = agents(hosts, server, &[])?;
        let took = completed(&mut all, server, begun)?;
        ensure!(took < 60.0, "{took:.1} s");
        identical(3, format!("{took:.1} s"))
    })
}

fn loss(percent: u32) -> Result<Seen> {
    room(&format!("loss-{percent}"), 16, &[], |lab, server| {
        server.seeding()?;
        let rule = format!("iif eth0 numgen random mod 100 < {percent} drop");
        let hosts = hosts(lab, 4, 50)?;
        hosts.iter().chain([lab.server()]).try_for_each(|h| h.filter(&rule))?;
        let begun = Instant::now();
        let mut all = agents(hosts, server, &[])?;
        let took = completed(&mut all, server, begun)?;
        identical(4, format!("{took:.1} s"))
    })
}
