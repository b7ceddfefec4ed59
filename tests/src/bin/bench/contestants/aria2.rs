// SPDX-License-Identifier: GPL-3.0-or-later
//! aria2, everywhere.

use super::stage::{Contestant, Done, Machine, Serving, Stage, foreign, torrent, words};
use crate::{payload::NAME, setup::Setup};
use anyhow::Result;
use boottorrent_tests::Cmd;
use std::{os::unix::fs::PermissionsExt, path::Path};

/// `aria2c` as seeder and on each machine.
pub struct Aria2;

const SETTINGS: &str = "--no-conf --quiet --seed-ratio=0.0 --enable-dht=false --enable-dht6=false \
     --bt-enable-lpd=true --enable-peer-exchange=true --bt-max-peers=0 --bt-request-peer-speed-limit=1000M \
     --disk-cache=64M --file-allocation=none --listen-port=6981";

impl Contestant for Aria2 {
    fn id(&self) -> &'static str {
        "aria2"
    }

    fn label(&self) -> &'static str {
        "aria2"
    }

    fn settings(&self) -> &'static str {
        "`--enable-dht=false --bt-enable-lpd=true --bt-max-peers=0 --bt-request-peer-speed-limit=1000M` (always more peers) \
         `--disk-cache=64M --file-allocation=none --seed-ratio=0.0`; seeder `--bt-seed-unverified`; pieces and tracker as ours"
    }

    fn races(&self, setup: &Setup, n: usize) -> bool {
        !setup.late && setup.name != "D-1G" && n <= 32
    }

    fn serve<'a>(&self, stage: &Stage<'a>) -> Result<Serving<'a>> {
        foreign(stage, |dir, torrent| Ok(command(dir).arg("--bt-seed-unverified=true").arg(torrent)))
    }

    fn machine(&self, stage: &Stage, i: usize) -> Result<Machine> {
        let dir = stage.folder(&format!("machines/{i}"))?;
        let (hook, done) = (dir.join("hook"), dir.join("done"));
        std::fs::write(&hook, format!("#!/bin/sh\n: >{}\n", done.display()))?;
        std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755))?;
        let cmd = command(&dir).arg("--on-bt-download-complete").arg(&hook).arg(torrent(stage));
        Ok(Machine { cmd, file: dir.join(NAME), done: Done::File(done) })
    }
}

fn command(dir: &Path) -> Cmd {
    Cmd::new("aria2c").args(words(SETTINGS)).arg("--dir").arg(dir)
}
