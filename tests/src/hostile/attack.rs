// SPDX-License-Identifier: GPL-3.0-or-later
//! Attacks of one host on a server and on machines: each needs no secret, and is repeated until dropped.
//! What they are named after: shared/cases/hostile.md.

pub use crate::peerwire::Infohash;
use crate::{
    Host,
    peerwire::{self, BITFIELD, BLOCK, CANCEL, HAVE, REQUEST, call, extended, message, numbers},
};
use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

/// A running attack. It ends when dropped.
pub struct Attack {
    _host: Host,
    over: Arc<AtomicBool>,
    acts: Arc<AtomicUsize>,
}

/// What one thread of an attack needs.
pub struct Attacker {
    /// Its number, from 0.
    pub number: usize,
    over: Arc<AtomicBool>,
    acts: Arc<AtomicUsize>,
}

impl Attack {
    /// Start `threads` attackers on a host. Each repeats `act`; what fails is tried again.
    pub fn start(
        host: Host,
        threads: usize,
        act: impl Fn(&Attacker) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let (over, acts, act) = (Arc::default(), Arc::default(), Arc::new(act));
        let attackers: Vec<Attacker> = (0..threads)
            .map(|number| Attacker { number, over: Arc::clone(&over), acts: Arc::clone(&acts) })
            .collect();
        // Threads that this one starts are in its namespace too.
        host.netns().run(move || {
            for attacker in attackers {
                let act = act.clone();
                thread::spawn(move || {
                    while !attacker.is_over() {
                        let _ = act(&attacker);
                        thread::sleep(Duration::from_millis(20));
                    }
                });
            }
        });
        Self { _host: host, over, acts }
    }

    /// Wait until it has done what it does so many times.
    ///
    /// # Errors
    /// A minute is over before.
    pub fn acted_times(&self, times: usize) -> anyhow::Result<()> {
        let begun = Instant::now();
        while self.acts.load(Relaxed) < times {
            anyhow::ensure!(begun.elapsed() < Duration::from_secs(60), "the attack does not get on");
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Whether it has done something.
    pub fn acted(&self) -> bool {
        self.acts.load(Relaxed) > 0
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
    }
}

impl Attacker {
    fn is_over(&self) -> bool {
        self.over.load(Relaxed)
    }

    /// Something was done.
    fn acted(&self) {
        self.acts.fetch_add(1, Relaxed);
    }

    /// Keep what is open until the other end closes it or the attack is over, and read nothing.
    fn hold(&self, stream: &TcpStream, long: Duration) {
        let begun = Instant::now();
        let closed = || matches!(stream.peek(&mut [0]), Ok(0));
        let _ = stream.set_nonblocking(true);
        while !self.is_over() && begun.elapsed() < long && !closed() {
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Connect and shake hands. Gives the stream and the id of the other end.
fn greet(to: SocketAddr, infohash: Infohash, id: [u8; 20]) -> io::Result<(TcpStream, [u8; 20])> {
    let mut stream = call(to)?;
    let theirs = peerwire::greet(&mut stream, infohash, id)?;
    Ok((stream, theirs))
}

/// Read until a piece is shown, by HAVE or in a bitfield.
fn shown(stream: &mut TcpStream) -> io::Result<u32> {
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut body = vec![0; u32::from_be_bytes(length).min(1 << 20) as usize];
        stream.read_exact(&mut body)?;
        match &body[..] {
            &[HAVE, a, b, c, d] => return Ok(u32::from_be_bytes([a, b, c, d])),
            [BITFIELD, bits @ ..] => {
                if let Some(byte) = bits.iter().position(|b| *b != 0) {
                    return Ok(byte as u32 * 8 + bits[byte].leading_zeros());
                }
            }
            _ => {}
        }
    }
}

/// A1: 4000 requests of one block, and cancels that cut bytes out of them.
pub fn cancels(a: &Attacker, to: SocketAddr, infohash: Infohash) -> io::Result<()> {
    let (mut stream, _) = greet(to, infohash, peerwire::id(a.number))?;
    let piece = shown(&mut stream)?;
    stream.write_all(&numbers(REQUEST, &[piece, 0, BLOCK]).repeat(4000))?;
    let cuts: Vec<u8> = (0..12_000).flat_map(|n| numbers(CANCEL, &[piece, 2 * (n % 8000) + 1, 1])).collect();
    a.acted();
    stream.write_all(&cuts)?;
    a.hold(&stream, Duration::from_secs(2));
    Ok(())
}

/// A9: one piece, again and again, as fast as it comes.
pub fn gorge(a: &Attacker, to: SocketAddr, infohash: Infohash) -> io::Result<()> {
    let (mut stream, _) = greet(to, infohash, peerwire::id(a.number))?;
    let piece = shown(&mut stream)?;
    let ask = numbers(REQUEST, &[piece, 0, BLOCK]);
    stream.write_all(&ask.repeat(16))?;
    let (mut came, mut asked, mut space) = (0, 16 * BLOCK as usize, vec![0; 64 << 10]);
    while !a.is_over() {
        came += match stream.read(&mut space)? {
            0 => return Ok(()),
            n => n,
        };
        a.acted();
        while asked < came + 16 * BLOCK as usize {
            stream.write_all(&ask)?;
            asked += BLOCK as usize;
        }
    }
    Ok(())
}

/// A11, B11: messages that are allowed and make the other end do something, without a pause. Nothing is read.
pub fn floods(a: &Attacker, to: SocketAddr, infohash: Infohash) -> io::Result<()> {
    let (mut stream, _) = greet(to, infohash, peerwire::id(a.number))?;
    let again = match a.number % 3 {
        0 => extended(0, b"d1:md6:ut_pexi1ee1:pi7000ee"),
        1 => message(BITFIELD, &[0xff; 64]),
        _ => extended(0, &[b'l'; 16_000]),
    };
    let again = again.repeat((64 << 10) / again.len() + 1);
    while !a.is_over() {
        stream.write_all(&again)?;
        a.acted();
    }
    Ok(())
}

/// A7: call machines as somebody who has the image, and stay.
pub fn pretend(a: &Attacker, seeder: SocketAddr, to: SocketAddr, infohash: Infohash) -> io::Result<()> {
    let (_, theirs) = greet(seeder, infohash, peerwire::id(a.number))?;
    let (mut stream, _) = greet(to, infohash, theirs)?;
    stream.write_all(&[0; 4])?;
    a.acted();
    a.hold(&stream, Duration::from_secs(3));
    Ok(())
}

/// A8: connections that say that they are there, and then nothing.
pub fn sit(a: &Attacker, to: SocketAddr, infohash: Infohash) -> io::Result<()> {
    let (stream, _) = greet(to, infohash, peerwire::id(a.number))?;
    a.acted();
    a.hold(&stream, Duration::from_secs(120));
    Ok(())
}

/// A6: 2200 addresses that are nobody's, by local discovery (BEP 14), by the tracker, and by gossip to a machine (BEP 11).
pub fn addresses(a: &Attacker, tracker: SocketAddr, to: SocketAddr, infohash: Infohash) -> io::Result<()> {
    let hex: String = infohash.iter().map(|b| format!("{b:02x}")).collect();
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let group = SocketAddr::from(([239, 192, 152, 143], 6771));
    for port in 10_000..12_200 {
        let search = format!(
            "BT-SEARCH * HTTP/1.1\r\nHost: 239.192.152.143:6771\r\nPort: {port}\r\nInfohash: {hex}\r\n\r\n\r\n"
        );
        socket.send_to(search.as_bytes(), group)?;
    }
    let hash: String = infohash.iter().map(|b| format!("%{b:02x}")).collect();
    for port in 20_000..20_064 {
        // It may be gone.
        let Ok(mut stream) = call(tracker) else { break };
        let query = format!("info_hash={hash}&peer_id=-XX0000-0000000{port}&port={port}&left=0&compact=1");
        write!(stream, "GET /announce?{query} HTTP/1.0\r\nHost: {}\r\n\r\n", tracker.ip())?;
        stream.read_to_end(&mut Vec::new())?;
    }
    a.acted();
    let (mut stream, _) = greet(to, infohash, peerwire::id(a.number))?;
    let junk: Vec<u8> =
        (0..2000u16).flat_map(|n| [10, 77, 0, 100 + (n % 100) as u8, 0x30, n as u8]).collect();
    stream.write_all(&extended(0, b"d1:md6:ut_pexi1eee"))?;
    let list = [format!("d5:added{}:", junk.len()).as_bytes(), &junk, b"e"].concat();
    stream.write_all(&extended(1, &list))?;
    a.hold(&stream, Duration::from_secs(1));
    Ok(())
}

/// A2: machines that there are not, as large as they can be; and lists of them, on 5 connections of which nothing is
/// read.
pub fn heartbeats(a: &Attacker, http: SocketAddr) -> io::Result<()> {
    let mut stream = call(http)?;
    for n in 0..256 {
        stream.write_all(made_up(a.number * 256 + n, http).as_bytes())?;
        answered(&mut stream)?;
    }
    let ask = format!("GET /api/v1/clients HTTP/1.1\r\nHost: {http}\r\n\r\n");
    let mut asks = (0..5).map(|_| call(http)).collect::<io::Result<Vec<_>>>()?;
    asks.iter_mut().try_for_each(|s| s.write_all(ask.as_bytes()))?;
    a.acted();
    a.hold(&asks[0], Duration::from_secs(60));
    Ok(())
}

/// Read the head of an answer that has no body, or a short one that comes with it.
fn answered(stream: &mut TcpStream) -> io::Result<()> {
    let mut space = [0; 1024];
    match stream.read(&mut space)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

fn made_up(n: usize, http: SocketAddr) -> String {
    let wide = "\u{1f600}".repeat(60);
    let log = vec![format!("\"{wide}\""); 20].join(",");
    let body = format!(
        "{{\"id\":\"52:54:00:fe:{:02x}:{:02x}\",\"hostname\":\"{wide}\",\"image\":\"{wide}\",\"error\":\"{wide}\",\"log\":[{log}]}}",
        n / 256,
        n % 256
    );
    format!(
        "POST /api/v1/heartbeat HTTP/1.1\r\nHost: {http}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
