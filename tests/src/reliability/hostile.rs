// SPDX-License-Identifier: GPL-3.0-or-later
//! A hostile host without any secret, beside machines that fetch: what it costs them, the server, and a machine that has
//! booted. Each is a race with the attack, and the same one without it.

use super::{
    Scenario, Seen,
    room::{agents, completed, hosts, identical, room},
};
use crate::{
    Host, Lab, Peer, Server, assets,
    hostile::attack::{self, Attack, Infohash},
};
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

pub(super) const ALL: [Scenario; 6] = [
    Scenario::quick(
        "hostile-cancels",
        "a host asks the server's seeder and a booted machine for 4000 blocks, and cancels single bytes of them, on 4 connections each",
        || beside("cancels", |t| at_both(t, "cutter", 4, attack::cancels)),
    ),
    Scenario::full(
        "hostile-floods",
        "a host floods the server's seeder and a booted machine with extension handshakes, bitfields and messages that do not parse",
        || beside("floods", |t| at_both(t, "flood", 6, attack::floods)),
    ),
    Scenario::full(
        "hostile-gorges",
        "a host asks the server's seeder for one piece over and over, on 100 connections",
        || beside("gorges", gorges),
    ),
    Scenario::full(
        "hostile-addresses",
        "a host names thousands of addresses that are nobody's, by local discovery, the tracker and gossip; \
         another one calls machines with the seeder's id",
        || beside("addresses", addresses),
    ),
    Scenario::full(
        "hostile-seats",
        "a host with 8 addresses takes every place of the server's seeder and of a booted machine, and says nothing",
        || beside("seats", seats),
    ),
    Scenario::full(
        "hostile-heartbeats",
        "a host reports 4096 machines that do not exist, and asks for lists that it does not read",
        || beside("heartbeats", heartbeats),
    ),
];

/// Machines that fetch in a race.
const MACHINES: usize = 3;
/// Of every link.
const MBIT: u32 = 60;
/// The most that a race beside an attack may take, compared with one alone.
const TIMES: f64 = 1.5;
/// The server's memory.
const MEMORY_MIB: u64 = 150;
/// The share of a processor that an attack may cost a booted machine.
const SHARE: f64 = 0.1;
/// The longest that the server's health may be waited for.
const HEALTH: Duration = Duration::from_secs(1);

/// What may be attacked.
struct Targets<'a> {
    lab: &'a Lab,
    infohash: Infohash,
    /// A machine that has booted, and the ones that will fetch.
    booted: SocketAddr,
    machines: Vec<SocketAddr>,
}

const SEEDER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 77, 0, 1)), 6981);
const HTTP: SocketAddr = SocketAddr::new(SEEDER.ip(), 6980);

impl Targets<'_> {
    /// A host for an attack, with a link like a machine's.
    fn attacker(&self, name: &str) -> Result<Host> {
        let host = self.lab.host(name)?;
        self.lab.limit(&host, MBIT)?;
        host.netns().ip("route add 224.0.0.0/4 dev eth0")?;
        Ok(host)
    }
}

type Act = fn(&attack::Attacker, SocketAddr, Infohash) -> std::io::Result<()>;

fn at_both(t: &Targets, name: &str, threads: usize, act: Act) -> Result<Vec<Attack>> {
    let attack = |(n, to): (usize, SocketAddr)| {
        let (host, infohash) = (t.attacker(&format!("{name}{n}"))?, t.infohash);
        Ok(Attack::start(host, threads, move |a| act(a, to, infohash)))
    };
    [SEEDER, t.booted].into_iter().enumerate().map(attack).collect()
}

fn gorges(t: &Targets) -> Result<Vec<Attack>> {
    let infohash = t.infohash;
    Ok(vec![Attack::start(t.attacker("gorge")?, 100, move |a| attack::gorge(a, SEEDER, infohash))])
}

fn addresses(t: &Targets) -> Result<Vec<Attack>> {
    let (infohash, machines, booted) = (t.infohash, t.machines.clone(), t.booted);
    Ok(vec![
        Attack::start(t.attacker("gossip")?, 1, move |a| attack::addresses(a, HTTP, booted, infohash)),
        Attack::start(t.attacker("impostor")?, 2 * MACHINES, move |a| {
            attack::pretend(a, SEEDER, machines[a.number % MACHINES], infohash)
        }),
    ])
}

fn seats(t: &Targets) -> Result<Vec<Attack>> {
    let many = |name: &str, first: u8| {
        let host = t.attacker(name)?;
        (first..first + 7)
            .try_for_each(|n| host.netns().ip(&format!("address add 10.77.0.{n}/24 dev eth0")))?;
        // Each connection from the next of its addresses.
        let from = format!("snat to numgen inc mod 8 map {{ {} }}", {
            let own = host.address().rsplit('.').next().context("an IPv4 address")?.parse::<u8>()?;
            let all = (first..first + 7).chain([own]).enumerate();
            all.map(|(i, n)| format!("{i} : 10.77.0.{n}")).collect::<Vec<_>>().join(", ")
        });
        let table =
            format!("table ip many {{ chain out {{ type nat hook postrouting priority 100; {from}; }}; }}");
        host.run(&crate::Cmd::new("nft").arg(table))?;
        Ok::<_, anyhow::Error>(host)
    };
    let (infohash, booted) = (t.infohash, t.booted);
    Ok(vec![
        Attack::start(many("sits", 200)?, 600, move |a| attack::sit(a, SEEDER, infohash)),
        Attack::start(many("sits2", 210)?, 64, move |a| attack::sit(a, booted, infohash)),
    ])
}

fn heartbeats(t: &Targets) -> Result<Vec<Attack>> {
    Ok(vec![Attack::start(t.attacker("liar")?, 16, move |a| attack::heartbeats(a, HTTP))])
}

/// What a race showed.
struct Race {
    took: f64,
    health: Duration,
    server_mib: u64,
    /// The booted machine's share of a processor.
    share: f64,
}

fn beside(name: &str, attack: fn(&Targets) -> Result<Vec<Attack>>) -> Result<Seen> {
    let alone = race(&format!("{name}-alone"), |_| Ok(Vec::new()))?;
    let Race { took, health, server_mib, share } = race(name, attack)?;
    let (times, more) = (took / alone.took, (share - alone.share).max(0.0));
    ensure!(
        times <= TIMES,
        "{took:.1} s, where it is {:.1} s without the attack: {times:.2} times",
        alone.took
    );
    ensure!(server_mib <= MEMORY_MIB, "the server took {server_mib} MiB");
    ensure!(health <= HEALTH, "the server's health was answered after {health:?}");
    ensure!(more <= SHARE, "it cost the booted machine {:.0} % of a processor", more * 100.0);
    let note = format!(
        "{times:.2} × the time without it; health within {} ms; server {server_mib} MiB; {:.0} % of a processor more in the booted machine",
        health.as_millis(),
        more * 100.0
    );
    identical(MACHINES + 1, note)
}

fn race(name: &str, attack: impl Fn(&Targets) -> Result<Vec<Attack>>) -> Result<Race> {
    let mut seen = None;
    room(name, 48, &[], |lab, server| {
        server.seeding()?;
        lab.limit(lab.server(), MBIT)?;
        let mut booted = agents(hosts(lab, 1, MBIT)?, server, &[])?;
        completed(&mut booted, server, Instant::now())?;
        let machines = (0..MACHINES).map(|n| lab.host(&format!("late{n}"))).collect::<Result<Vec<_>>>()?;
        machines.iter().try_for_each(|h| lab.limit(h, MBIT))?;
        let at = |h: &Host| format!("{}:6981", h.address()).parse().context("a machine's address");
        let targets = Targets {
            lab,
            infohash: server.image(assets::IMAGE)?.infohash.0,
            booted: at(booted[0].host())?,
            machines: machines.iter().map(at).collect::<Result<_>>()?,
        };
        let attacks = attack(&targets)?;
        let attacked = !attacks.is_empty();
        thread::sleep(Duration::from_secs(2));

        let watch = Watch::start(lab, server)?;
        let (begun, before) = (Instant::now(), processor(booted[0].id())?);
        let mut all = agents(machines, server, &[])?;
        let took = completed(&mut all, server, begun)?;
        let share = (processor(booted[0].id())? - before).as_secs_f64() / took;
        let (health, server_mib) = watch.end()?;
        ensure!(attacks.iter().all(Attack::acted), "an attack did nothing, so this shows nothing");
        drop(attacks);
        if attacked {
            over_in_five_seconds(server, &booted[0])?;
        }
        seen = Some(Race { took, health, server_mib, share });
        identical(MACHINES + 1, "")
    })?;
    seen.context("the race was run")
}

/// Five seconds after the attacker has left, nobody works for it any more.
fn over_in_five_seconds(server: &Server, booted: &Peer) -> Result<()> {
    thread::sleep(Duration::from_secs(5));
    let ids = [server.id().context("the server runs")?, booted.id()];
    let before = ids.map(processor);
    thread::sleep(Duration::from_secs(2));
    for (id, before) in ids.into_iter().zip(before) {
        let share = (processor(id)? - before?).as_secs_f64() / 2.0;
        ensure!(share < 0.2, "5 s after it, {:.0} % of a processor are still spent", share * 100.0);
    }
    Ok(())
}

/// What a process has had of processors.
fn processor(id: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks =
        |n: usize| fields.get(n).and_then(|f| f.parse::<u64>().ok()).context("reading /proc/PID/stat");
    Ok(Duration::from_millis((ticks(11)? + ticks(12)?) * 10))
}

/// Asks for the server's health five times a second, on its own host: a full link may lose what others ask. Its memory
/// is watched too.
struct Watch {
    over: Arc<AtomicBool>,
    seen: JoinHandle<Result<(Duration, u64)>>,
}

impl Watch {
    fn start(lab: &Lab, server: &Server) -> Result<Self> {
        let id = server.id().context("the server runs")?;
        let over = Arc::new(AtomicBool::new(false));
        let ended = over.clone();
        let seen = lab.server().netns().run(move || {
            thread::spawn(move || {
                let (mut slowest, mut largest) = (Duration::ZERO, 0);
                while !ended.load(Relaxed) {
                    slowest = slowest.max(health()?);
                    largest = largest.max(memory(id)?);
                    thread::sleep(Duration::from_millis(200));
                }
                Ok((slowest, largest))
            })
        });
        Ok(Self { over, seen })
    }

    fn end(self) -> Result<(Duration, u64)> {
        self.over.store(true, Relaxed);
        self.seen.join().expect("watching does not panic")
    }
}

fn health() -> Result<Duration> {
    let begun = Instant::now();
    let mut stream = TcpStream::connect_timeout(&HTTP, Duration::from_secs(10))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET /api/v1/health HTTP/1.0\r\nHost: {}\r\n\r\n", HTTP.ip())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("waiting for the server's health")?;
    ensure!(answer.contains("\"status\":\"ok\""), "{answer}");
    Ok(begun.elapsed())
}

/// Resident memory of a process, in MiB.
fn memory(id: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("it has ended")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? >> 10)
}
