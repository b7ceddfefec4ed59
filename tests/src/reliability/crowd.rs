// SPDX-License-Identifier: GPL-3.0-or-later
//! A thousand machines, as the server sees them: each asks for its boot script, announces itself, is a peer of the
//! seeder, and reports to the server. What they would send each other, they are thought to have got from each other.

use super::{
    Scenario, Seen,
    process::{peak, processor},
    room::room,
};
use crate::{Cmd, Host, Server, assets, peerwire};
use anyhow::{Context, Result, ensure};
use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddrV4, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

pub(super) const ALL: [Scenario; 1] = [Scenario::full(
    "thousand-machines",
    "1000 machines behind a router fetch 48 MiB at once, each with a link of 100 Mbit/s, and report; the server has 1 Gbit/s",
    thousand,
)];

const MACHINES: usize = 1000;
/// Threads that act for them. Each looks after its machines this often.
const THREADS: usize = 4;
const TICK: Duration = Duration::from_millis(50);
/// Of a machine: 100 Mbit/s.
const BYTES_A_SECOND: f64 = 12.2e6;
const BEAT: Duration = Duration::from_secs(2);
/// After all are complete: they are booted, and report as such.
const BOOTED: Duration = Duration::from_secs(10);
const MEMORY_MIB: u64 = 200;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const HTTP: SocketAddrV4 = SocketAddrV4::new(SERVER, 6980);
const SEEDER: SocketAddrV4 = SocketAddrV4::new(SERVER, 6981);

/// What all machines know.
struct Crowd {
    infohash: [u8; 20],
    pieces: u32,
    piece_length: u32,
    length: u64,
    /// How many machines have each piece.
    holders: Vec<AtomicUsize>,
    complete: AtomicUsize,
    failed: AtomicBool,
    /// Bytes of pieces that came from the server.
    sent: AtomicUsize,
}

fn thousand() -> Result<Seen> {
    let mut seen = None;
    room("thousand", 48, &[], |lab, server| {
        server.seeding()?;
        lab.limit(lab.server(), 1000)?;
        let host = lab.host("crowd")?;
        // A router asks for its neighbours under its own address.
        host.run(&Cmd::new("sysctl").args(["-qw", "net.ipv4.conf.all.arp_announce=2"]))?;
        // Everything there is a machine, and the server needs one neighbour for all of them.
        host.netns().ip("route add local 10.78.0.0/16 dev lo")?;
        lab.server().netns().ip(&format!("route add 10.78.0.0/16 via {}", host.address()))?;
        seen = Some(race(server, &host)?);
        Ok(Seen { machines: MACHINES, end: String::new(), note: String::new() })
    })?;
    seen.context("it was run")
}

fn race(server: &Server, host: &Host) -> Result<Seen> {
    let image = server.image(assets::IMAGE)?;
    let (length, piece_length) = (server.payload().metadata()?.len(), image.piece_length);
    let pieces = length.div_ceil(u64::from(piece_length)) as u32;
    let crowd = Arc::new(Crowd {
        infohash: image.infohash.0,
        pieces,
        piece_length,
        length,
        holders: (0..pieces).map(|_| AtomicUsize::new(0)).collect(),
        complete: AtomicUsize::new(0),
        failed: AtomicBool::new(false),
        sent: AtomicUsize::new(0),
    });
    let id = server.id().context("the server runs")?;
    let (begun, before) = (Instant::now(), processor(id)?);
    let all = crowd.clone();
    let threads: Vec<_> = host.netns().run(move || {
        (0..THREADS)
            .map(|t| {
                let crowd = all.clone();
                thread::spawn(move || {
                    let acted = act(&crowd, (t..MACHINES).step_by(THREADS));
                    crowd.failed.fetch_or(acted.is_err(), Relaxed);
                    acted
                })
            })
            .collect()
    });
    let mut took = None;
    while threads.iter().any(|t| !t.is_finished()) {
        if took.is_none() && crowd.complete.load(Relaxed) == MACHINES {
            took = Some((begun.elapsed().as_secs_f64(), processor(id)? - before));
        }
        thread::sleep(Duration::from_millis(20));
    }
    for thread in threads {
        thread.join().expect("acting does not panic")?;
    }
    let (took, used) = took.context("not all were complete")?;
    let all = (processor(id)? - before).as_secs_f64() / begun.elapsed().as_secs_f64();
    let clients = server.clients()?;
    let booted = clients.iter().filter(|c| c.phase == bootspec::Phase::Seed).count();
    ensure!(booted == MACHINES, "of {MACHINES} machines {booted} of {} are known as booted", clients.len());
    let memory = peak(id)?;
    let cores = used.as_secs_f64() / took;
    let copies = crowd.sent.load(Relaxed) as f64 / length as f64;
    let note = format!(
        "all complete after {took:.1} s, {cores:.2} cores meanwhile, {all:.2} with the {} s after it; {copies:.2} copies from the server; at most {memory} MiB",
        BOOTED.as_secs()
    );
    ensure!(cores <= 1.0 && memory <= MEMORY_MIB, "{note}");
    Ok(Seen { machines: MACHINES, end: "nothing is lost".into(), note })
}

/// One machine.
struct Machine {
    number: usize,
    address: Ipv4Addr,
    mac: String,
    secret: String,
    stream: TcpStream,
    inbox: Vec<u8>,
    has: Vec<bool>,
    count: u32,
    /// Shown by the server, and not asked for.
    shown: Vec<u32>,
    /// On its way: bytes that are missing.
    coming: Vec<(u32, u32)>,
    /// What its link could have brought, in pieces.
    due: f64,
    beat: Option<Instant>,
    complete: Option<Instant>,
}

fn act(crowd: &Crowd, numbers: impl Iterator<Item = usize>) -> Result<()> {
    let mut machines = Vec::new();
    for number in numbers {
        machines.push(Machine::boot(crowd, number).with_context(|| format!("machine {number} begins"))?);
    }
    let (mut last, begun) = (Instant::now(), Instant::now());
    loop {
        let passed = last.elapsed().as_secs_f64();
        last = Instant::now();
        for machine in &mut machines {
            machine.tick(crowd, passed).with_context(|| format!("machine {}", machine.number))?;
        }
        let over = |m: &Machine| m.complete.is_some_and(|at| at.elapsed() > BOOTED);
        if crowd.complete.load(Relaxed) == MACHINES && machines.iter().all(over) {
            return Ok(());
        }
        ensure!(!crowd.failed.load(Relaxed), "another one has failed");
        ensure!(begun.elapsed() < Duration::from_secs(300), "{} complete", crowd.complete.load(Relaxed));
        thread::sleep(TICK.saturating_sub(last.elapsed()));
    }
}

impl Machine {
    fn boot(crowd: &Crowd, number: usize) -> Result<Self> {
        let [high, low] = [number / 250, number % 250 + 1];
        let address = Ipv4Addr::new(10, 78, high as u8, low as u8);
        let mac = format!("52:54:00:78:{high:02x}:{low:02x}");
        let script =
            http(address, &format!("GET /boot.ipxe?mac={mac} HTTP/1.0\r\nHost: {SERVER}:6980\r\n\r\n"))?;
        let secret =
            script.split("boottorrent.secret=").nth(1).with_context(|| format!("no secret in {script}"))?;
        let secret = secret.split_whitespace().next().unwrap_or_default().to_owned();
        let hash: String = crowd.infohash.iter().map(|b| format!("%{b:02x}")).collect();
        let query =
            format!("info_hash={hash}&peer_id=-XX0000-{number:012}&port=6981&left=1&compact=1&event=started");
        http(address, &format!("GET /announce?{query} HTTP/1.0\r\nHost: {SERVER}:6980\r\n\r\n"))?;
        let mut stream = peerwire::call_from(address, SEEDER)?;
        peerwire::greet(&mut stream, crowd.infohash, peerwire::id(number))?;
        stream.write_all(&peerwire::message(peerwire::INTERESTED, &[]))?;
        stream.set_nonblocking(true)?;
        let has = vec![false; crowd.pieces as usize];
        let (inbox, shown, coming) = Default::default();
        Ok(Self {
            number,
            address,
            mac,
            secret,
            stream,
            inbox,
            has,
            count: 0,
            shown,
            coming,
            due: 0.0,
            beat: None,
            complete: None,
        })
    }

    fn tick(&mut self, crowd: &Crowd, passed: f64) -> Result<()> {
        let pieces = BYTES_A_SECOND / f64::from(crowd.piece_length);
        self.due = (self.due + passed * pieces).min(pieces / 4.0);
        self.read(crowd)?;
        let mut say = Vec::new();
        while self.due >= 1.0 && self.complete.is_none() {
            match self.shown.pop().filter(|p| !self.has[*p as usize]) {
                Some(piece) => say.extend(self.ask(crowd, piece)),
                None => match self.had_elsewhere(crowd) {
                    Some(piece) => say.extend(self.got(crowd, piece)),
                    None if self.shown.is_empty() => break,
                    None => {}
                },
            }
            self.due -= 1.0;
        }
        self.write(&say)?;
        let every = if self.complete.is_some() { BEAT * 5 } else { BEAT };
        if self.beat.is_none_or(|at| at.elapsed() >= every) {
            self.report(crowd)?;
        }
        Ok(())
    }

    /// Ask for all blocks of a piece.
    fn ask(&mut self, crowd: &Crowd, piece: u32) -> Vec<u8> {
        let start = u64::from(piece) * u64::from(crowd.piece_length);
        let length = (crowd.length - start).min(crowd.piece_length.into()) as u32;
        self.coming.push((piece, length));
        let block =
            |at: u32| peerwire::numbers(peerwire::REQUEST, &[piece, at, peerwire::BLOCK.min(length - at)]);
        (0..length).step_by(peerwire::BLOCK as usize).flat_map(block).collect()
    }

    /// A piece that another machine has, and that is not on its way here.
    fn had_elsewhere(&self, crowd: &Crowd) -> Option<u32> {
        let from = (self.number * 7919) as u32 % crowd.pieces;
        (0..crowd.pieces).map(|n| (from + n) % crowd.pieces).find(|p| {
            let n = *p as usize;
            !self.has[n] && crowd.holders[n].load(Relaxed) > 0 && !self.coming.iter().any(|c| c.0 == *p)
        })
    }

    /// It has a piece: the server is told.
    fn got(&mut self, crowd: &Crowd, piece: u32) -> Vec<u8> {
        self.has[piece as usize] = true;
        self.count += 1;
        crowd.holders[piece as usize].fetch_add(1, Relaxed);
        if self.count == crowd.pieces {
            self.complete = Some(Instant::now());
            // What it tells next is that it has booted.
            self.beat = None;
            crowd.complete.fetch_add(1, Relaxed);
        }
        peerwire::numbers(peerwire::HAVE, &[piece])
    }

    fn read(&mut self, crowd: &Crowd) -> Result<()> {
        let mut space = [0; 64 << 10];
        loop {
            match self.stream.read(&mut space) {
                Ok(0) => anyhow::bail!("the seeder has hung up"),
                Ok(n) => self.inbox.extend(&space[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return Err(e).context("reading from the seeder"),
            }
        }
        let inbox = std::mem::take(&mut self.inbox);
        let (mut rest, mut say) = (&inbox[..], Vec::new());
        while let Some((body, after)) = peerwire::split(rest) {
            rest = after;
            match *body {
                [peerwire::HAVE, a, b, c, d] => self.shown.push(u32::from_be_bytes([a, b, c, d])),
                [peerwire::PIECE, a, b, c, d, _, _, _, _, ref data @ ..] => {
                    say.extend(self.landed(crowd, u32::from_be_bytes([a, b, c, d]), data.len()));
                }
                _ => {}
            }
        }
        self.inbox = rest.to_vec();
        self.write(&say)
    }

    fn landed(&mut self, crowd: &Crowd, piece: u32, bytes: usize) -> Vec<u8> {
        crowd.sent.fetch_add(bytes, Relaxed);
        let Some(at) = self.coming.iter().position(|c| c.0 == piece) else { return Vec::new() };
        self.coming[at].1 -= bytes as u32;
        if self.coming[at].1 > 0 {
            return Vec::new();
        }
        self.coming.remove(at);
        if self.has[piece as usize] { Vec::new() } else { self.got(crowd, piece) }
    }

    fn write(&mut self, what: &[u8]) -> Result<()> {
        if what.is_empty() {
            return Ok(());
        }
        self.stream.set_nonblocking(false)?;
        self.stream.write_all(what).context("writing to the seeder")?;
        Ok(self.stream.set_nonblocking(true)?)
    }

    fn report(&mut self, crowd: &Crowd) -> Result<()> {
        self.beat = Some(Instant::now());
        let phase = if self.complete.is_some() { bootspec::Phase::Seed } else { bootspec::Phase::Download };
        let beat = bootspec::Heartbeat {
            id: self.mac.clone(),
            hostname: Some(format!("pc{}", self.number)),
            address: Some(self.address.to_string()),
            image: Some(assets::IMAGE.into()),
            infohash: Some(bootspec::InfoHash(crowd.infohash)),
            phase,
            progress: bootspec::Progress {
                have: u64::from(self.count) * u64::from(crowd.piece_length),
                total: crowd.length,
                ..Default::default()
            },
            secret: Some(self.secret.clone()),
            log: (0..10).map(|n| format!("{n}.1 a line of a log, as long as they often are")).collect(),
            ..Default::default()
        };
        let body = serde_json::to_string(&beat)?;
        let head = format!(
            "POST /api/v1/heartbeat HTTP/1.0\r\nHost: {SERVER}:6980\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        http(self.address, &(head + &body)).map(drop)
    }
}

/// Ask the server over HTTP, from this address. Anything but success is an error.
fn http(from: Ipv4Addr, request: &str) -> Result<String> {
    let mut stream = peerwire::call_from(from, HTTP)?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    ensure!(answer.starts_with("HTTP/1.0 20") || answer.starts_with("HTTP/1.1 20"), "{request}: {answer}");
    Ok(answer)
}
