// SPDX-License-Identifier: GPL-3.0-or-later
//! A torrent made elsewhere, and a seeder of somebody else's making.

use crate::common::until;
use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

/// A seeder of somebody else's making. Killed when dropped.
pub struct Seeder(Child);

impl Drop for Seeder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Seeder {
    /// One that has the files already, and the port that it listens on.
    pub fn start(dir: &Path, torrent: &Path) -> (Seeder, u16) {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("aria2c")
            .args([
                "--no-conf",
                "--enable-dht=false",
                "--enable-dht6=false",
                "--bt-enable-lpd=false",
                "--seed-ratio=0.0",
            ])
            .args(["--check-integrity=true", "--bt-external-ip=127.0.0.1", "--interface=127.0.0.1"])
            .arg(format!("--listen-port={port}"))
            .arg(format!("--dir={}", dir.display()))
            .arg(torrent)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let seeder = Seeder(child);
        until("the seeder", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        (seeder, port)
    }
}

/// A torrent of a folder, announced to `tracker`.
pub fn torrent(folder: &Path, tracker: &str) -> (Vec<u8>, String) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let options = librqbit::CreateTorrentOptions {
        trackers: vec![tracker.to_owned()],
        piece_length: Some(1 << 16),
        ..Default::default()
    };
    let made = runtime.block_on(async {
        let spawner = librqbit::spawn_utils::BlockingSpawner::new(1);
        librqbit::create_torrent(folder, options, &spawner).await.unwrap()
    });
    (made.as_bytes().unwrap().to_vec(), made.info_hash().as_string())
}
