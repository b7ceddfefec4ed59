// SPDX-License-Identifier: GPL-3.0-or-later
//! Transmission, everywhere.

use super::stage::{Contestant, Done, Machine, Serving, Stage, foreign, torrent};
use crate::{payload::NAME, setup::Setup};
use anyhow::Result;
use boottorrent_tests::Cmd;
use serde_json::json;
use std::{fs, path::Path};

/// `transmission-daemon` as seeder and on each machine.
pub struct Transmission;

impl Contestant for Transmission {
    fn id(&self) -> &'static str {
        "transmission"
    }

    fn label(&self) -> &'static str {
        "Transmission"
    }

    fn settings(&self) -> &'static str {
        "`transmission-daemon` with `dht-enabled` and `utp-enabled` off, `lpd-enabled` and `pex-enabled` on, `encryption` 0, \
         `peer-limit-*` 500, `upload-slots-per-torrent` 500, `cache-size-mb` 64, `preallocation` 1, no speed, queue or ratio \
         limits; done when it has moved the file out of `incomplete-dir`; pieces and tracker as ours"
    }

    fn races(&self, setup: &Setup, n: usize) -> bool {
        !setup.late && setup.name != "D-1G" && n <= 32
    }

    fn serve<'a>(&self, stage: &Stage<'a>) -> Result<Serving<'a>> {
        foreign(stage, |dir, torrent| daemon(&stage.folder("seeder")?, dir, torrent))
    }

    fn machine(&self, stage: &Stage, i: usize) -> Result<Machine> {
        let (own, dir) = (stage.folder(&format!("own/{i}"))?, stage.folder(&format!("machines/{i}"))?);
        let cmd = daemon(&own, &dir, &torrent(stage))?;
        let file = dir.join(NAME);
        Ok(Machine { cmd, done: Done::File(file.clone()), file })
    }
}

/// It keeps what is its own in `own` and the payload in `dir`.
fn daemon(own: &Path, dir: &Path, torrent: &Path) -> Result<Cmd> {
    let (config, watch, incomplete) = (own.join("config"), own.join("watch"), own.join("incomplete"));
    for folder in [&config, &watch, &incomplete] {
        fs::create_dir_all(folder)?;
    }
    fs::copy(torrent, watch.join("payload.torrent"))?;
    let settings = json!({
        "dht-enabled": false,
        "utp-enabled": false,
        "lpd-enabled": true,
        "pex-enabled": true,
        "port-forwarding-enabled": false,
        "peer-port": 6981,
        "encryption": 0,
        "peer-limit-global": 500,
        "peer-limit-per-torrent": 500,
        "upload-slots-per-torrent": 500,
        "speed-limit-up-enabled": false,
        "speed-limit-down-enabled": false,
        "download-queue-enabled": false,
        "seed-queue-enabled": false,
        "ratio-limit-enabled": false,
        "idle-seeding-limit-enabled": false,
        "cache-size-mb": 64,
        "preallocation": 1,
        "download-dir": dir,
        "incomplete-dir": incomplete,
        "incomplete-dir-enabled": true,
        "rename-partial-files": true,
        "start-added-torrents": true,
        "trash-original-torrent-files": false,
        "watch-dir": watch,
        "watch-dir-enabled": true,
        "rpc-bind-address": "127.0.0.1",
        "scrape-paused-torrents-enabled": false,
    });
    fs::write(config.join("settings.json"), settings.to_string())?;
    Ok(Cmd::new("transmission-daemon").args(["--foreground", "--config-dir"]).arg(config))
}
