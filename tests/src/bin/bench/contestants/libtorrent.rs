// SPDX-License-Identifier: GPL-3.0-or-later
//! libtorrent (rasterbar), everywhere, by way of a small script in Python.

use super::stage::{Contestant, Done, Machine, Serving, Stage, foreign, torrent};
use crate::{payload::NAME, setup::Setup};
use anyhow::Result;
use boottorrent_tests::{Cmd, workspace};

/// The script, with the settings, in the workspace.
const SCRIPT: &str = "tests/src/bin/bench/contestants/lt_peer.py";

/// `python3-libtorrent` as seeder and on each machine.
pub struct Libtorrent;

impl Contestant for Libtorrent {
    fn id(&self) -> &'static str {
        "libtorrent"
    }

    fn label(&self) -> &'static str {
        "libtorrent"
    }

    fn settings(&self) -> &'static str {
        "[a script](../tests/src/bin/bench/contestants/lt_peer.py): TCP only, LSD, no DHT, UPnP and NAT-PMP; every peer \
         unchoked; 500 connections, 500 new ones a second; longer request queues, 3 MiB send buffers; local peers \
         not limited; the seeder in seed mode; pieces and tracker as ours"
    }

    fn races(&self, setup: &Setup, n: usize) -> bool {
        !setup.late && setup.name != "D-1G" && n <= 32
    }

    fn serve<'a>(&self, stage: &Stage<'a>) -> Result<Serving<'a>> {
        foreign(stage, |dir, torrent| Ok(python().args(["seed", "-"]).arg(torrent).arg(dir)))
    }

    fn machine(&self, stage: &Stage, i: usize) -> Result<Machine> {
        let dir = stage.folder(&format!("machines/{i}"))?;
        let done = dir.join("done");
        let cmd = python().arg("fetch").arg(&done).arg(torrent(stage)).arg(&dir);
        Ok(Machine { cmd, file: dir.join(NAME), done: Done::File(done) })
    }
}

/// Debian's own Python: another one in the path does not see Debian's modules.
fn python() -> Cmd {
    Cmd::new("/usr/bin/python3").arg(workspace().join(SCRIPT))
}
