// SPDX-License-Identifier: GPL-3.0-or-later
//! A program in a swarm, on a host of its own: our agent here, others' in [`crate::clients`].

use crate::{Background, Cmd, Host, Server, agent_binary};
use anyhow::{Context, Result, ensure};
use bootspec::Progress;
use nix::unistd::{Whence, lseek};
use std::{
    fs::File,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// The longest that a download in a lab may take.
pub const FETCH: Duration = Duration::from_secs(180);

/// A program in a swarm; it is killed when dropped.
pub struct Peer {
    host: Host,
    process: Background,
    file: PathBuf,
    /// Appears when the file is whole.
    sign: PathBuf,
}

impl Peer {
    /// `boottorrent-agent fetch` of a .torrent, by URL or file.
    pub fn agent(host: Host, torrent: &str, flags: &[&str]) -> Result<Self> {
        let file = host.dir().join(host.name());
        let cmd = Cmd::new(agent_binary()?).args(["fetch", "--json", "--torrent", torrent, "--to"]);
        Self::start(host, &cmd.arg(&file).args(flags), file.clone(), file)
    }

    pub(crate) fn start(host: Host, cmd: &Cmd, file: PathBuf, sign: PathBuf) -> Result<Self> {
        let process = host.spawn(host.name(), cmd)?;
        Ok(Self { host, process, file, sign })
    }

    /// Where it runs.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Whether its file is whole.
    pub fn is_complete(&self) -> bool {
        self.sign.exists()
    }

    /// An error when it has ended without its file.
    pub fn check(&mut self) -> Result<()> {
        if self.is_complete() { Ok(()) } else { self.process.check() }
    }

    /// How many bytes an agent has on its disk.
    pub fn have(&self) -> u64 {
        let size = |f: &Path| f.metadata().map_or(0, |m| m.blocks() * 512);
        size(&self.part()).max(size(&self.file))
    }

    /// Which pieces an agent has every byte of.
    pub fn pieces(&self, length: u64) -> Result<Vec<bool>> {
        // It is renamed at some moment: one of the two is there.
        let file = File::open(self.part()).or_else(|_| File::open(&self.file))?;
        let size = file.metadata()?.len();
        let whole = |at: u64| {
            let end = (at + length).min(size);
            Ok(seek(&file, at, Whence::SeekData)? == at && seek(&file, at, Whence::SeekHole)? >= end)
        };
        (0..size).step_by(length as usize).map(whole).collect()
    }

    fn part(&self) -> PathBuf {
        self.file.with_extension("part")
    }

    /// Check the file byte by byte.
    pub fn same_as(&self, payload: &Path) -> Result<()> {
        Cmd::new("cmp").arg(&self.file).arg(payload).run().map(drop)
    }

    /// What an agent that is complete said last.
    pub fn progress(&self) -> Result<Progress> {
        let start = Instant::now();
        loop {
            let said = String::from_utf8_lossy(&self.process.output()).into_owned();
            // The file gets its name just before the last word.
            match said.lines().filter_map(|l| serde_json::from_str::<Progress>(l).ok()).next_back() {
                Some(p) if p.have == p.total => return Ok(p),
                _ => {
                    ensure!(start.elapsed() < Duration::from_secs(30), "no JSON that says complete:\n{said}")
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// End it; its host stays.
    pub fn into_host(self) -> Host {
        self.host
    }

    /// Wait for an agent that cannot succeed: its exit code, and the sentence that it ends with.
    pub fn refused(&mut self, limit: Duration) -> Result<(i32, String)> {
        let status = self.process.wait(limit)?;
        let said = self.said();
        let last = said.lines().filter_map(|l| l.trim().strip_prefix("boottorrent: ")).next_back();
        let code = status.code().filter(|c| *c != 0);
        let code = code.with_context(|| format!("{} was to fail: {status}\n{said}", self.host.name()))?;
        Ok((code, last.with_context(|| format!("no last sentence in:\n{said}"))?.to_owned()))
    }

    /// All that it has said.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&self.process.output()).into_owned()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Wait for an agent's end; check the file, and give what it said last.
    pub fn finish(&mut self, server: &Server) -> Result<Progress> {
        let status = self.process.wait(FETCH)?;
        ensure!(status.success(), "{status}\n{}", String::from_utf8_lossy(&self.process.output()));
        self.same_as(&server.payload())?;
        self.progress()
    }
}

/// Wait until every one has the file, whole and right; give how long that took.
pub fn all_complete<'a>(
    peers: impl IntoIterator<Item = &'a mut Peer>,
    server: &Server,
    limit: Duration,
) -> Result<Duration> {
    let (start, mut peers) = (Instant::now(), peers.into_iter().collect::<Vec<_>>());
    while !peers.iter().all(|p| p.is_complete()) {
        peers.iter_mut().try_for_each(|p| p.check())?;
        let late = || peers.iter().filter(|p| !p.is_complete()).map(|p| p.host.name()).collect::<Vec<_>>();
        ensure!(start.elapsed() < limit, "not complete after {limit:?}: {:?}", late());
        std::thread::sleep(Duration::from_millis(20));
    }
    let took = start.elapsed();
    peers.iter().try_for_each(|p| {
        p.same_as(&server.payload()).with_context(|| format!("the file of {}", p.host.name()))
    })?;
    Ok(took)
}

/// Where the next data or hole is; the end when there is none.
fn seek(file: &File, at: u64, what: Whence) -> Result<u64> {
    match lseek(file, at as i64, what) {
        Ok(found) => Ok(found as u64),
        Err(nix::Error::ENXIO) => Ok(file.metadata()?.len()),
        Err(e) => Err(io::Error::from(e)).context("looking for holes"),
    }
}
