// SPDX-License-Identifier: GPL-3.0-or-later
//! Peers that do what they should not, on a host of their own: a few lines of the protocol (BEP 3), no more.

pub mod attack;

use crate::{Host, Lab, Server, assets};
use anyhow::{Context, Result};
use std::{
    fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// Connections from `host` that are never made: the answer to its SYN does not reach it, so the other end waits for what
/// comes after. They end when the threads that ask for them give up, after `each`.
pub fn half_open(host: &Host, address: &str, count: usize, each: Duration) -> Result<()> {
    host.filter("tcp flags & (syn | ack) == (syn | ack) drop")?;
    let address: SocketAddr = address.parse().with_context(|| address.to_owned())?;
    host.netns().run(move || {
        for _ in 0..count {
            std::thread::spawn(move || TcpStream::connect_timeout(&address, each));
        }
        Ok(())
    })
}

/// What it does with who calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vice {
    /// It has everything, lets itself be asked, and never answers.
    NeverSends,
    /// It answers, one byte a second.
    Trickles,
    /// It has the first half of each piece, and says that it has everything.
    Boasts,
}

/// Such a peer. It goes on until dropped.
pub struct Hostile {
    _host: Host,
    over: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
}

/// What a peer needs to know of a torrent.
struct Torrent {
    infohash: [u8; 20],
    pieces: usize,
    piece_length: u64,
    payload: Vec<u8>,
}

impl Hostile {
    /// Start it, and have the tracker tell of it again and again.
    pub fn start(lab: &Lab, server: &Server, vice: Vice) -> Result<Self> {
        let (image, payload) = (server.image(assets::IMAGE)?, fs::read(server.payload())?);
        let pieces = (payload.len() as u64).div_ceil(image.piece_length.into()) as usize;
        let torrent =
            Torrent { infohash: image.infohash.0, pieces, piece_length: image.piece_length.into(), payload };
        let (over, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let host = lab.host("hostile")?;
        let (ended, counter, torrent) = (over.clone(), asked.clone(), Arc::new(torrent));
        host.netns().run(move || listen(vice, &torrent, &ended, &counter))?;
        Ok(Self { _host: host, over, asked })
    }

    /// How many blocks it was asked for.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Threads that this one starts are in its namespace too.
fn listen(
    vice: Vice,
    torrent: &Arc<Torrent>,
    over: &Arc<AtomicBool>,
    asked: &Arc<AtomicUsize>,
) -> Result<()> {
    let listener = TcpListener::bind("0.0.0.0:6881").context("listening as a hostile peer")?;
    listener.set_nonblocking(true)?;
    announce(torrent)?;
    let (torrent, over, asked) = (torrent.clone(), over.clone(), asked.clone());
    std::thread::spawn(move || {
        let mut told = Instant::now();
        while !over.load(Ordering::Relaxed) {
            if told.elapsed() > Duration::from_secs(10) {
                told = Instant::now();
                // The tracker may be gone: that is another test's business.
                let _ = announce(&torrent);
            }
            let Ok((stream, _)) = listener.accept() else {
                std::thread::sleep(Duration::from_millis(20));
                continue;
            };
            let (torrent, over, asked) = (torrent.clone(), over.clone(), asked.clone());
            std::thread::spawn(move || drop(talk(stream, vice, &torrent, &over, &asked)));
        }
    });
    Ok(())
}

fn announce(torrent: &Torrent) -> Result<()> {
    let hash: String = torrent.infohash.iter().map(|b| format!("%{b:02x}")).collect();
    let mut stream = TcpStream::connect((Lab::SERVER, 6980)).context("calling the tracker")?;
    let query = format!(
        "info_hash={hash}&peer_id=-XX0000-hostile00000&port=6881&uploaded=0&downloaded=0&left=0&compact=1"
    );
    write!(stream, "GET /announce?{query} HTTP/1.0\r\nHost: {}\r\n\r\n", Lab::SERVER)?;
    stream.read_to_end(&mut Vec::new())?;
    Ok(())
}

fn talk(
    mut stream: TcpStream,
    vice: Vice,
    torrent: &Torrent,
    over: &AtomicBool,
    asked: &AtomicUsize,
) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut hello = b"\x13BitTorrent protocol\0\0\0\0\0\0\0\0".to_vec();
    hello.extend(torrent.infohash);
    hello.extend(b"-XX0000-hostile00000");
    let mut bits = vec![0xff_u8; torrent.pieces.div_ceil(8)];
    if !torrent.pieces.is_multiple_of(8) {
        *bits.last_mut().expect("there is a piece") <<= 8 - torrent.pieces % 8;
    }
    hello.extend((bits.len() as u32 + 1).to_be_bytes());
    hello.push(5);
    hello.extend(bits);
    hello.extend([0, 0, 0, 1, 1]); // unchoke
    stream.write_all(&hello)?;
    stream.read_exact(&mut [0; 68])?;
    while !over.load(Ordering::Relaxed) {
        let mut len = [0; 4];
        stream.read_exact(&mut len)?;
        let mut body = vec![0; (u32::from_be_bytes(len) as usize).min(1 << 20)];
        stream.read_exact(&mut body)?;
        let [6, rest @ ..] = &body[..] else { continue };
        asked.fetch_add(1, Ordering::Relaxed);
        let n: Vec<u64> =
            rest.chunks_exact(4).map(|c| u64::from(u32::from_be_bytes([c[0], c[1], c[2], c[3]]))).collect();
        let &[piece, begin, length] = &n[..] else { continue };
        let at = (piece * torrent.piece_length + begin) as usize;
        let Some(data) = torrent.payload.get(at..at + length as usize) else { continue };
        let mut answer = (length as u32 + 9).to_be_bytes().to_vec();
        answer.push(7);
        answer.extend((piece as u32).to_be_bytes());
        answer.extend((begin as u32).to_be_bytes());
        answer.extend(data);
        match vice {
            Vice::NeverSends => {}
            Vice::Boasts if begin >= torrent.piece_length / 2 => {}
            Vice::Boasts => stream.write_all(&answer)?,
            Vice::Trickles => {
                for byte in answer {
                    stream.write_all(&[byte])?;
                    std::thread::sleep(Duration::from_secs(1));
                    if over.load(Ordering::Relaxed) {
                        return Ok(());
                    }
                }
            }
        }
    }
    Ok(())
}

/// Connections that stay open and say nothing more than `first`.
pub struct Silent {
    open: Vec<TcpStream>,
}

impl Silent {
    /// Open `count` of them from a host.
    pub fn open(from: &Host, to: &str, count: usize, first: &[u8]) -> Result<Self> {
        let (to, first) = (to.to_owned(), first.to_owned());
        let open = from.netns().run(move || {
            let one = |_| {
                let mut stream = TcpStream::connect(&to)?;
                stream.write_all(&first)?;
                Ok(stream)
            };
            (0..count).map(one).collect::<io::Result<Vec<_>>>()
        });
        Ok(Self { open: open.context("opening silent connections")? })
    }

    /// How many the other side has not closed.
    pub fn count(&self) -> usize {
        let open = |stream: &&TcpStream| {
            let peeked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0]));
            matches!(peeked, Err(e) if e.kind() == io::ErrorKind::WouldBlock)
        };
        self.open.iter().filter(open).count()
    }
}
