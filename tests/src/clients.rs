// SPDX-License-Identifier: GPL-3.0-or-later
//! Other people's BitTorrent programs, as they come but for what leaves the network.

use crate::{Background, Cmd, Host, Lab, Peer, assets, workspace};
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// A client that is not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    /// aria2.
    Aria2,
    /// Transmission, the program for one torrent: its package starts no daemon.
    Transmission,
    /// libtorrent-rasterbar, by a script of a few lines.
    Libtorrent,
}

impl Other {
    /// Every one that tests know.
    pub const ALL: [Other; 3] = [Other::Aria2, Other::Transmission, Other::Libtorrent];

    /// What its host is called.
    pub fn name(self) -> &'static str {
        match self {
            Other::Aria2 => "aria2",
            Other::Transmission => "transmission",
            Other::Libtorrent => "libtorrent",
        }
    }

    /// Start downloading; it seeds afterwards.
    pub fn leech(self, lab: &Lab, torrent: &Path) -> Result<Peer> {
        let dir = self.dir(lab)?;
        let sign = dir.join("complete");
        let hook = dir.join("hook");
        fs::write(&hook, format!("#!/bin/sh\n: >'{}'\n", sign.display()))?;
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755))?;
        let cmd = match self {
            Other::Aria2 => aria2(&dir)
                // The hook may come before what is in its cache.
                .args(["--seed-ratio=0.0", "--disk-cache=0", "--on-bt-download-complete"])
                .arg(&hook)
                .arg(torrent),
            Other::Transmission => transmission(&dir)?.arg("-f").arg(&hook).arg(torrent),
            Other::Libtorrent => libtorrent(&dir, torrent).arg(&sign),
        };
        Peer::start(lab.host(self.name())?, &cmd, dir.join(assets::IMAGE), sign)
    }

    /// Start seeding a copy of `payload`. aria2 does not look at what it is given.
    pub fn seed(self, lab: &Lab, torrent: &Path, payload: &Path) -> Result<Peer> {
        let dir = self.dir(lab)?;
        let file = dir.join(assets::IMAGE);
        fs::copy(payload, &file)?;
        let cmd = match self {
            Other::Aria2 => aria2_seeds(&dir, torrent),
            Other::Transmission => transmission(&dir)?.arg("--verify").arg(torrent),
            Other::Libtorrent => libtorrent(&dir, torrent),
        };
        Peer::start(lab.host(self.name())?, &cmd, file.clone(), file)
    }

    /// A libtorrent that takes what it is given for right, and sends it.
    pub fn lie(lab: &Lab, torrent: &Path, wrong: &Path) -> Result<Peer> {
        let dir = lab.dir().join("liar-files");
        fs::create_dir_all(&dir)?;
        let file = dir.join(assets::IMAGE);
        fs::copy(wrong, &file)?;
        let cmd = libtorrent(&dir, torrent).env("UNCHECKED", "1");
        Peer::start(lab.host("liar")?, &cmd, file.clone(), file)
    }

    /// A torrent of several files, made by transmission-create and seeded by aria2: `payload` as `iso/lab.img` among others.
    pub fn seed_folder(lab: &Lab, payload: &Path) -> Result<(PathBuf, Peer)> {
        let dir = Other::Aria2.dir(lab)?;
        let (folder, torrent) = (dir.join("release"), dir.join("release.torrent"));
        fs::create_dir_all(folder.join("iso"))?;
        fs::write(folder.join("SHA256SUMS"), "a".repeat(1000))?;
        fs::copy(payload, folder.join("iso/lab.img"))?;
        fs::write(folder.join("zsource.tar"), vec![b'z'; 3 << 20])?;
        Cmd::new("transmission-create").args(["-s", "256", "-o"]).args([&torrent, &folder]).run()?;
        let seeder = Peer::start(
            lab.host("aria2")?,
            &aria2_seeds(&dir, &torrent),
            folder.join("iso/lab.img"),
            torrent.clone(),
        )?;
        Ok((torrent, seeder))
    }

    fn dir(self, lab: &Lab) -> Result<PathBuf> {
        let dir = lab.dir().join(format!("{}-files", self.name()));
        fs::create_dir_all(&dir)?;
        Ok(dir)
    }
}

/// The infohash of a torrent, as transmission-show says it.
pub fn infohash(torrent: &Path) -> Result<String> {
    let shown = Cmd::new("transmission-show").arg(torrent).run()?;
    let is_hash = |word: &&str| word.len() == 40 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let hash = shown.split_whitespace().find(is_hash).map(str::to_owned);
    hash.with_context(|| format!("transmission-show names no infohash: {shown}"))
}

fn aria2(dir: &Path) -> Cmd {
    Cmd::new("aria2c")
        .args(["--no-conf", "--enable-dht=false", "--enable-dht6=false", "--summary-interval=0"])
        .arg(format!("--dir={}", dir.display()))
}

fn aria2_seeds(dir: &Path, torrent: &Path) -> Cmd {
    aria2(dir)
        .args([
            "--listen-port=6881",
            "--seed-ratio=0.0",
            "--bt-seed-unverified=true",
            "--allow-overwrite=true",
        ])
        .arg(torrent)
}

fn transmission(dir: &Path) -> Result<Cmd> {
    let config = dir.join("config");
    fs::create_dir_all(&config)?;
    // With µTP, 3.00 dials every peer by UDP first, and one that knows only TCP not again for 15 minutes.
    let settings = r#"{ "dht-enabled": false, "port-forwarding-enabled": false, "utp-enabled": false }"#;
    fs::write(config.join("settings.json"), settings)?;
    // It takes itself for stopped, and ends, when it has not started after 200 ms: again, then.
    let again = r#"while :; do setpriv --pdeathsig KILL -- transmission-cli "$@"; sleep 0.2; done"#;
    Ok(Cmd::new("sh").args(["-c", again, "sh", "-g"]).arg(config).arg("-w").arg(dir))
}

fn libtorrent(dir: &Path, torrent: &Path) -> Cmd {
    // Debian's Python, whatever the PATH says: the library is Debian's too.
    Cmd::new("/usr/bin/python3")
        .arg(workspace().join("tests/fixtures/libtorrent-client.py"))
        .arg(torrent)
        .arg(dir)
}

/// opentracker on a host of its own.
pub struct Opentracker {
    host: Host,
    _process: Background,
}

impl Opentracker {
    /// Start it for one torrent: Debian's tracks only what it is told to.
    pub fn start(lab: &Lab, infohash: &str) -> Result<Self> {
        let (host, dir) = (lab.host("opentracker")?, lab.dir().join("opentracker"));
        fs::create_dir_all(&dir)?;
        fs::write(dir.join("whitelist"), format!("{infohash}\n"))?;
        // It runs as anybody but root. One that dropped its rights by itself could outlive us, and
        // one without this capability could not read what is in root's folders.
        let cmd = Cmd::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--pdeathsig=KILL"])
            .args(["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"])
            .args(["--", "opentracker", "-w", "whitelist", "-i", host.address(), "-d"]);
        let process = host.spawn("opentracker", &cmd.arg(dir))?;
        Ok(Self { host, _process: process })
    }

    /// The torrent with this tracker instead of the one that it names.
    pub fn torrent(&self, of: &Path) -> Result<PathBuf> {
        let bytes = fs::read(of)?;
        let info = bytes.windows(7).position(|w| w == b"4:infod").context("a torrent without info")?;
        let url = format!("http://{}:6969/announce", self.host.address());
        let head = format!("d8:announce{}:{url}", url.len());
        let file = of.with_file_name("opentracker.torrent");
        fs::write(&file, [head.as_bytes(), &bytes[info..]].concat())?;
        Ok(file)
    }

    /// Wait until it knows a seeder.
    pub fn knows_a_seeder(&self) -> Result<()> {
        let start = Instant::now();
        let url = format!("http://{}:6969/scrape", self.host.address());
        let ask = Cmd::new("curl").args(["-sS", "--max-time", "2", &url]);
        loop {
            let told = self.host.run(&ask);
            if told.as_ref().is_ok_and(|t| t.contains("8:completei1e")) {
                return Ok(());
            }
            ensure!(start.elapsed() < Duration::from_secs(20), "opentracker knows no seeder: {told:?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}
