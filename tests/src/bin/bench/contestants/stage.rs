// SPDX-License-Identifier: GPL-3.0-or-later
//! What a contestant is, and what a race is held on.

use crate::{network::Network, payload::Payload, setup::Setup};
use anyhow::{Context, Result, ensure};
use boottorrent_tests::{Background, Cmd, Host, Lab, Server, follower::Follower};
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How long a contestant's seeder may take until it is ready.
const READY: Duration = Duration::from_secs(120);

/// What a race is held on.
pub struct Stage<'a> {
    /// The links.
    pub setup: &'a Setup,
    /// The hosts.
    pub network: &'a Network,
    /// What is sent.
    pub payload: &'a Payload,
    /// A folder in memory for this race.
    pub dir: &'a Path,
}

impl Stage<'_> {
    /// The server's host.
    pub fn server(&self) -> &Host {
        self.network.lab.server()
    }

    /// A folder for one of the processes.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let dir = self.dir.join(name);
        std::fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
        Ok(dir)
    }
}

/// A machine's program, ready to be started.
pub struct Machine {
    /// The program.
    pub cmd: Cmd,
    /// What it fetches.
    pub file: PathBuf,
    /// When it is done.
    pub done: Done,
}

/// How it is seen that a machine has everything.
#[derive(Clone, Debug)]
pub enum Done {
    /// A file is there that was not. The program goes on, for others.
    File(PathBuf),
    /// The program has ended, without an error.
    End,
}

/// What runs on the server's host until it is dropped.
pub struct Serving<'a> {
    /// The tracker, or all.
    pub(super) tracker: Option<Server<'a>>,
    /// What sends the payload, where that is not the same.
    pub(super) sender: Option<Background>,
    /// The relays.
    pub(super) relays: Vec<Follower<&'a Host>>,
}

impl Serving<'_> {
    /// The process whose CPU time counts.
    pub fn pid(&self) -> Option<u32> {
        self.sender.as_ref().map(Background::id).or_else(|| self.tracker.as_ref()?.id())
    }

    /// An error when something of it has ended.
    pub fn check(&mut self) -> Result<()> {
        self.tracker.as_mut().map_or(Ok(()), Server::check)?;
        self.sender.as_mut().map_or(Ok(()), Background::check)?;
        self.relays.iter_mut().try_for_each(Follower::check)
    }
}

/// One way of getting a file to many machines.
pub trait Contestant: Sync {
    /// Its name in the results and on the command line.
    fn id(&self) -> &'static str;

    /// Its name on the page.
    fn label(&self) -> &'static str;

    /// What it is run with, for the page.
    fn settings(&self) -> &'static str;

    /// Whether it is measured in a setup with so many machines.
    fn races(&self, setup: &Setup, n: usize) -> bool;

    /// Whether its sender ends when all machines have everything.
    fn sender_ends(&self) -> bool {
        false
    }

    /// Start what serves; it is ready when this returns.
    fn serve<'a>(&self, stage: &Stage<'a>) -> Result<Serving<'a>>;

    /// A machine's program. Everything that takes time and is not part of it is done here.
    fn machine(&self, stage: &Stage, i: usize) -> Result<Machine>;
}

/// Our tracker with a foreign seeder beside it, which begins with the payload in its folder.
/// `seeder` makes its command from the folder and the torrent.
pub(super) fn foreign<'a>(
    stage: &Stage<'a>,
    seeder: impl Fn(&Path, &Path) -> Result<Cmd>,
) -> Result<Serving<'a>> {
    let lab: &'a Lab = &stage.network.lab;
    let tracker = Server::serve(lab, &stage.payload.catalogue, &["--no-seed", "--no-payload"])?;
    let dir = stage.folder("seed")?;
    // The name in the torrent is the image's.
    std::fs::hard_link(stage.payload.file(), dir.join(crate::payload::NAME))?;
    std::fs::write(torrent(stage), tracker.get(&format!("/images/{0}/{0}.torrent", crate::payload::NAME))?)?;
    let sender = Some(lab.server().spawn("seeder", &seeder(&dir, &torrent(stage))?)?);
    let mut serving = Serving { tracker: Some(tracker), sender, relays: Vec::new() };
    until_seeded(&mut serving)?;
    Ok(serving)
}

/// The torrent with our tracker in it.
pub(super) fn torrent(stage: &Stage) -> PathBuf {
    stage.dir.join("payload.torrent")
}

/// Wait until the tracker knows somebody who has everything.
pub(super) fn until_seeded(serving: &mut Serving) -> Result<()> {
    let start = Instant::now();
    loop {
        serving.check()?;
        let tracker = serving.tracker.as_ref().context("a tracker")?;
        let counts = String::from_utf8_lossy(&tracker.get("/scrape")?).into_owned();
        if counts.contains("8:completei") && !counts.contains("8:completei0e") {
            return Ok(());
        }
        ensure!(start.elapsed() < READY, "the seeder was not ready after {READY:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Words of a text, as a shell would see them if there were no quotes.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_ascii_whitespace()
}
