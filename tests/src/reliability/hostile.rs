// SPDX-License-Identifier: GPL-3.0-or-later
//! A hostile host without any secret, beside machines that fetch: what it costs them, the server, and a machine that has
//! booted. Each is a race with the attack, and the same one without it.

use super::{
    Scenario, Seen,
    process::{memory, processor},
    room::{agents, completed, identical, room},
};
use crate::{
    Host, Lab, Peer, Server, assets,
    hostile::attack::{self, Attack, Infohash},
};
use anyhow::{Context, Result, ensure};
use std::{
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
        || beside("cancels", &FAST, |t| at_both(t, "cutter", 4, attack::cancels)),
    ),
    Scenario::full(
        "hostile-floods",
        "a host floods the server's seeder and a booted machine with extension handshakes, bitfields and messages that do not parse",
        || beside("floods", &FAST, |t| at_both(t, "flood", 6, attack::floods)),
    ),
    Scenario::full(
        "hostile-gorges",
        "a host asks a server that may send 8 MB/s for one piece over and over, on 100 connections; one machine fetches",
        || beside("gorges", &LONE, gorges),
    ),
    Scenario::full(
        "hostile-addresses",
        "a host names thousands of addresses that are nobody's, by local discovery, the tracker and gossip; \
         another one calls them with the id of the only one that has the image; the server is gone",
        || beside("addresses", &GONE, addresses),
    ),
    Scenario::full(
        "hostile-seats",
        "a host with 8 addresses takes every place of a booted machine that alone has the image, and says nothing",
        || beside("seats", &GONE, seats),
    ),
    Scenario::full(
        "hostile-heartbeats",
        "a host reports 4096 machines that do not exist, and asks for lists on 80 connections, of which it reads none",
        || beside("heartbeats", &ROOM, heartbeats),
    ),
];

/// What an attack is made upon.
struct Setting {
    /// How many machines fetch in the race.
    machines: usize,
    /// Whether one has booted before, and seeds.
    booted: bool,
    /// Of every link, in Mbit/s. Without one, whatever the processor can do.
    mbit: Option<u32>,
    /// The server's.
    flags: &'static [&'static str],
    /// The server is gone, and the booted machine's cable is out until [`LATER`]: the attacker speaks first.
    gone: bool,
}

const ROOM: Setting = Setting { machines: 3, booted: true, mbit: Some(60), flags: &[], gone: false };
/// Nobody but the server has the image, and only the server's own limit is in the way: what it sends to an attacker,
/// the machine does not get.
const LONE: Setting =
    Setting { machines: 1, booted: false, mbit: None, flags: &["--up", "8MB/s"], gone: false };
/// The same with a booted machine: the attacker sends as fast as the processor can.
const FAST: Setting = Setting { booted: true, ..LONE };
/// Nobody has the image but the booted machine.
const GONE: Setting = Setting { gone: true, ..ROOM };
const LATER: Duration = Duration::from_secs(5);
/// What agents may send where links have no limit.
const UP: &str = "4MB/s";

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
    setting: &'a Setting,
    /// A machine that has booted, if one has, and the ones that will fetch.
    booted: Option<SocketAddr>,
    machines: Vec<SocketAddr>,
}

const SEEDER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 77, 0, 1)), 6981);
const HTTP: SocketAddr = SocketAddr::new(SEEDER.ip(), 6980);

impl Setting {
    fn limit(&self, lab: &Lab, host: &Host) -> Result<()> {
        self.mbit.map_or(Ok(()), |mbit| lab.limit(host, mbit))
    }
}

impl Targets<'_> {
    fn booted(&self) -> Result<SocketAddr> {
        self.booted.context("this attack is made upon a machine that has booted")
    }

    /// A host for an attack, with a link like a machine's.
    fn attacker(&self, name: &str) -> Result<Host> {
        let host = self.lab.host(name)?;
        self.setting.limit(self.lab, &host)?;
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
    [SEEDER, t.booted()?].into_iter().enumerate().map(attack).collect()
}

fn gorges(t: &Targets) -> Result<Vec<Attack>> {
    let infohash = t.infohash;
    Ok(vec![Attack::start(t.attacker("gorge")?, 100, move |a| attack::gorge(a, SEEDER, infohash))])
}

fn addresses(t: &Targets) -> Result<Vec<Attack>> {
    let (infohash, machines, booted) = (t.infohash, t.machines.clone(), t.booted()?);
    Ok(vec![
        Attack::start(t.attacker("gossip")?, 1, move |a| attack::addresses(a, HTTP, booted, infohash)),
        Attack::start(t.attacker("impostor")?, 2 * machines.len(), move |a| {
            attack::pretend(a, booted, machines[a.number % machines.len()], infohash)
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
    let (infohash, booted) = (t.infohash, t.booted()?);
    Ok(vec![Attack::start(many("sits", 200)?, 64, move |a| attack::sit(a, booted, infohash))])
}

fn heartbeats(t: &Targets) -> Result<Vec<Attack>> {
    let attack = Attack::start(t.attacker("liar")?, 16, move |a| attack::heartbeats(a, HTTP));
    attack.acted_times(16)?;
    Ok(vec![attack])
}

/// What a race showed.
struct Race {
    took: f64,
    health: Duration,
    server_mib: u64,
    /// The booted machine's share of a processor.
    share: f64,
}

fn beside(name: &str, setting: &Setting, attack: fn(&Targets) -> Result<Vec<Attack>>) -> Result<Seen> {
    let alone = race(&format!("{name}-alone"), setting, |_| Ok(Vec::new()))?;
    let Race { took, health, server_mib, share } = race(name, setting, attack)?;
    let (times, more) = (took / alone.took, (share - alone.share).max(0.0));
    ensure!(
        times <= TIMES,
        "{took:.1} s, where it is {:.1} s without the attack: {times:.2} times",
        alone.took
    );
    ensure!(server_mib <= MEMORY_MIB, "the server took {server_mib} MiB");
    ensure!(health <= HEALTH, "the server's health was answered after {health:?}");
    ensure!(more <= SHARE, "it cost the booted machine {:.0} % of a processor", more * 100.0);
    let mut note = format!("{times:.2} × the time without it");
    if !setting.gone {
        note += &format!("; health within {} ms; server {server_mib} MiB", health.as_millis());
    }
    if setting.booted {
        note += &format!("; {:.0} % of a processor more in the booted machine", more * 100.0);
    }
    identical(setting.machines + usize::from(setting.booted), note)
}

fn race(name: &str, setting: &Setting, attack: impl Fn(&Targets) -> Result<Vec<Attack>>) -> Result<Race> {
    let mut seen = None;
    room(name, 48, setting.flags, |lab, server| {
        server.seeding()?;
        setting.limit(lab, lab.server())?;
        let host = |name: &str| {
            let host = lab.host(name)?;
            setting.limit(lab, &host)?;
            Ok::<_, anyhow::Error>(host)
        };
        let booted = if setting.booted { vec![host("m0")?] } else { Vec::new() };
        let flags = if setting.mbit.is_none() { &["--up", UP][..] } else { &[] };
        let mut booted = agents(booted, server, flags)?;
        completed(&mut booted, server, Instant::now())?;
        let machines =
            (0..setting.machines).map(|n| host(&format!("late{n}"))).collect::<Result<Vec<_>>>()?;
        let at = |h: &Host| format!("{}:6981", h.address()).parse().context("a machine's address");
        let targets = Targets {
            lab,
            infohash: server.image(assets::IMAGE)?.infohash.0,
            setting,
            booted: booted.first().map(|b| at(b.host())).transpose()?,
            machines: machines.iter().map(at).collect::<Result<_>>()?,
        };
        let torrent = server.torrent_file()?;
        let attacks = attack(&targets)?;
        let attacked = !attacks.is_empty();
        thread::sleep(Duration::from_secs(2));
        if setting.gone {
            server.stop();
            booted.iter().try_for_each(|b| b.host().cable(false))?;
        }

        let watch = (!setting.gone).then(|| Watch::start(lab, server)).transpose()?;
        let (begun, before) = (Instant::now(), of_all(&booted)?);
        let torrent =
            if setting.gone { torrent.to_string_lossy().into_owned() } else { server.torrent_url() };
        let flags = [&["--seed", "forever"], flags].concat();
        let machines = machines.into_iter().map(|h| Peer::agent(h, &torrent, &flags));
        let mut all = machines.collect::<Result<Vec<_>>>()?;
        if setting.gone {
            thread::sleep(LATER);
            booted.iter().try_for_each(|b| b.host().cable(true))?;
        }
        let took = completed(&mut all, server, begun)?;
        let share = (of_all(&booted)? - before).as_secs_f64() / took;
        let (health, server_mib) = watch.map_or(Ok((Duration::ZERO, 0)), Watch::end)?;
        for machine in &all {
            let p = machine.progress()?;
            ensure!(
                p.from_http * 10 < p.total,
                "a machine had to use HTTP, since peers gave it nothing: {p:?}"
            );
        }
        ensure!(attacks.iter().all(Attack::acted), "an attack did nothing, so this shows nothing");
        drop(attacks);
        if attacked {
            over_in_five_seconds(server, &booted)?;
        }
        seen = Some(Race { took, health, server_mib, share });
        identical(setting.machines, "")
    })?;
    seen.context("the race was run")
}

/// Five seconds after the attacker has left, nobody works for it any more.
fn over_in_five_seconds(server: &Server, booted: &[Peer]) -> Result<()> {
    thread::sleep(Duration::from_secs(5));
    let ids: Vec<u32> = server.id().into_iter().chain(booted.iter().map(Peer::id)).collect();
    let before = ids.iter().map(|id| processor(*id)).collect::<Result<Vec<_>>>()?;
    thread::sleep(Duration::from_secs(2));
    for (id, before) in ids.into_iter().zip(before) {
        let share = (processor(id)? - before).as_secs_f64() / 2.0;
        ensure!(share < 0.2, "5 s after it, {:.0} % of a processor are still spent", share * 100.0);
    }
    Ok(())
}

fn of_all(peers: &[Peer]) -> Result<Duration> {
    peers.iter().map(|p| processor(p.id())).sum()
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
