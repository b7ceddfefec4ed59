// SPDX-License-Identifier: GPL-3.0-or-later
//! A disk that takes nothing for a while: a machine with one thread still serves what it has, and loses nobody.
//! Needs root: a file system of its own is frozen.

use super::{BLOCK, PIECE, PIECES, block, common, content, handshake, message, numbers, payload, session};
use std::{
    fs::{self, File},
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};
use swarm::Metainfo;

/// How long the disk takes nothing.
const FROZEN: Duration = Duration::from_secs(6);

fn run(program: &str, args: &[&str]) {
    let done = Command::new(program).args(args).output().unwrap();
    assert!(done.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// An ext4 of its own, which is thawed and unmounted at the end.
struct Disk(PathBuf);

impl Disk {
    fn new(dir: &Path) -> Self {
        let (image, place) = (dir.join("disk.img"), dir.join("disk"));
        File::create(&image).unwrap().set_len(64 << 20).unwrap();
        fs::create_dir(&place).unwrap();
        run("mkfs.ext4", &["-q", image.to_str().unwrap()]);
        run("mount", &["-o", "loop", image.to_str().unwrap(), place.to_str().unwrap()]);
        Self(place)
    }

    fn freeze(&self) {
        run("fsfreeze", &["--freeze", self.0.to_str().unwrap()]);
    }

    fn thaw(&self) {
        run("fsfreeze", &["--unfreeze", self.0.to_str().unwrap()]);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // It is not frozen any more if all went well.
        let _ = Command::new("fsfreeze").arg("--unfreeze").arg(&self.0).output();
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

/// A peer that has everything, and gives only what it is told to.
struct Peer {
    stream: TcpStream,
    read: Vec<u8>,
    data: Vec<u8>,
    /// What was asked of it, piece and offset.
    asked: Vec<(u32, u32)>,
    /// How many blocks the other side has sent.
    sent: usize,
}

impl Peer {
    fn call(to: SocketAddr, metainfo: &Metainfo, data: Vec<u8>) -> Self {
        let mut stream = TcpStream::connect(to).unwrap();
        let everything = message(5, &[0xff; PIECES as usize / 8]);
        let (unchoke, interested) = (message(1, &[]), message(2, &[]));
        let hello = [handshake(metainfo, b'f'), everything, unchoke, interested].concat();
        stream.write_all(&hello).unwrap();
        stream.read_exact(&mut [0; 68]).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        Self { stream, read: vec![], data, asked: vec![], sent: 0 }
    }

    /// Heed what has come. False: the other side has hung up.
    fn hear(&mut self) -> bool {
        let mut some = [0; 64 << 10];
        match self.stream.read(&mut some) {
            Ok(0) => return false,
            Ok(n) => self.read.extend(&some[..n]),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => panic!("{e}"),
        }
        let number = |b: &[u8]| u32::from_be_bytes(b[..4].try_into().unwrap());
        while self.read.len() >= 4 && self.read.len() - 4 >= number(&self.read) as usize {
            let whole: Vec<u8> = self.read.drain(..4 + number(&self.read) as usize).collect();
            match whole.get(4) {
                Some(6) => self.asked.push((number(&whole[5..]), number(&whole[9..]))),
                Some(7) => self.sent += 1,
                _ => {}
            }
        }
        true
    }

    /// Give the blocks that were asked for.
    fn give(&mut self) {
        for (piece, begin) in self.asked.drain(..) {
            let from = (piece * PIECE + begin) as usize;
            let said = block(piece, begin, &self.data[from..from + BLOCK as usize]);
            self.stream.write_all(&said).unwrap();
        }
    }

    /// Ask for a block that is verified.
    fn fetch(&mut self, piece: u32) {
        let before = self.sent;
        self.stream.write_all(&numbers(6, &[piece, 0, BLOCK])).unwrap();
        self.until("a block is sent", |p| p.sent > before);
    }

    fn until(&mut self, what: &str, so: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !so(self) {
            assert!(began.elapsed() < Duration::from_secs(30), "{what}: not within 30 s");
            assert!(self.hear(), "{what}: it has hung up");
        }
    }
}

/// A machine with one thread that fetches into this file, as an agent does. Returns its address.
fn machine(metainfo: &Metainfo, file: &File) -> (SocketAddr, mpsc::Receiver<()>) {
    let fetch = common::fetch(metainfo, file, vec![]);
    let ((says, address), (done, ends)) = (mpsc::channel(), mpsc::channel());
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let session = session().await;
            let torrent = session.fetch(fetch).await.unwrap();
            says.send(common::at(&session)).unwrap();
            common::complete(&torrent).await;
            done.send(()).unwrap();
        });
    });
    (address.recv().unwrap(), ends)
}

#[test]
fn a_disk_that_stands_still_keeps_nobody_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::new(dir.path());
    let (data, metainfo) = payload();
    let file = File::options().create_new(true).read(true).write(true).open(disk.0.join("payload")).unwrap();
    file.set_len(data.len() as u64).unwrap();
    let (address, ends) = machine(&metainfo, &file);

    let mut peer = Peer::call(address, &metainfo, data.clone());
    peer.until("a piece is asked for", |p| p.asked.len() >= (PIECE / BLOCK) as usize);
    let piece = peer.asked[0].0;
    peer.give();
    peer.until("what follows is asked for", |p| !p.asked.is_empty());
    thread::sleep(Duration::from_millis(500)); // To be hashed.
    peer.fetch(piece);

    disk.freeze();
    let frozen = Instant::now();
    // These land in the disk's queue, and whoever writes them waits.
    peer.give();
    thread::sleep(Duration::from_millis(500));
    peer.fetch(piece);
    let served = frozen.elapsed();
    while frozen.elapsed() < FROZEN {
        assert!(peer.hear(), "it has hung up while its disk stood still");
    }
    disk.thaw();
    assert!(served < FROZEN, "served after {served:?}, when the disk was thawed");

    while peer.hear() {
        peer.give();
    }
    ends.recv_timeout(Duration::from_secs(30)).expect("not complete 30 s after the last block");
    assert!(content(file) == data, "something else than the payload");
}
