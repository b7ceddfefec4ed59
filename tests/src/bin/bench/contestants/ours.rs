// SPDX-License-Identifier: GPL-3.0-or-later
//! BootTorrent, with either of its seeders.

use super::stage::{Contestant, Done, Machine, Serving, Stage, until_seeded};
use crate::{payload::NAME, setup::Setup};
use anyhow::Result;
use boottorrent_tests::{
    Cmd, Lab, Server, agent_binary,
    follower::{self, Follower},
};
use std::fs;

/// `boottorrent serve`, and `boottorrent-agent fetch` on each machine.
pub struct Ours {
    id: &'static str,
    label: &'static str,
    settings: &'static str,
    flags: &'static [&'static str],
}

/// As it comes.
pub const DEALING: Ours = Ours {
    id: "ours",
    label: "BootTorrent",
    settings: "`boottorrent serve` and `boottorrent-agent fetch --seed forever`, as they come: the same code as in a boot, \
               without the mount",
    flags: &[],
};

/// With the open seeder that the engine brings.
pub const LIBRQBIT: Ours = Ours {
    id: "librqbit",
    label: "BootTorrent, librqbit as the seeder",
    settings: "the same, with `boottorrent serve --seeder librqbit`",
    flags: &["--seeder", "librqbit"],
};

/// As iPXE does: one file after the other, kept by nobody here.
const PHASE_ONE: &str =
    "for file in vmlinuz initrd; do curl -sSf -o /dev/null \"$1/$file\"; done; shift; exec \"$@\"";

impl Contestant for Ours {
    fn id(&self) -> &'static str {
        self.id
    }

    fn label(&self) -> &'static str {
        self.label
    }

    fn settings(&self) -> &'static str {
        self.settings
    }

    fn races(&self, setup: &Setup, n: usize) -> bool {
        // The other seeder is there to be compared with: where it is compared.
        self.flags.is_empty() || setup.name == "A" || (setup.name == "B" && [8, 32].contains(&n))
    }

    fn serve<'a>(&self, stage: &Stage<'a>) -> Result<Serving<'a>> {
        if let Some(first) = stage.setup.phase_one {
            stage.payload.set_phase_one(first)?;
        }
        let (lab, relays) = (&stage.network.lab, &stage.network.relays);
        let leading = if relays.is_empty() { None } else { Some(follower::leading(lab)?) };
        let flags: Vec<&str> =
            self.flags.iter().copied().chain(leading.iter().flatten().map(String::as_str)).collect();
        let server = Server::serve(lab, &stage.payload.catalogue, &flags)?;
        let mut followers = Vec::new();
        for host in relays {
            // The catalogue remembers those of the race before, and they remember the image.
            let _ = server.boottorrent(&["relay", "remove", host.name()]);
            let _ = fs::remove_dir_all(host.dir().join(host.name()));
            let mut follower = Follower::on(host, &server, &[])?;
            follower.has(NAME)?;
            followers.push(follower);
        }
        let mut serving = Serving { tracker: Some(server), sender: None, relays: followers };
        until_seeded(&mut serving)?;
        Ok(serving)
    }

    fn machine(&self, stage: &Stage, i: usize) -> Result<Machine> {
        let relays = &stage.network.relays;
        let server = if relays.is_empty() { Lab::SERVER } else { relays[i % relays.len()].address() };
        let base = format!("http://{server}:6980/images/{NAME}");
        let url = format!("{base}/{NAME}.torrent");
        let file = stage.folder("machines")?.join(i.to_string());
        let cmd = match stage.setup.phase_one {
            Some(_) => Cmd::new("sh").args(["-ec", PHASE_ONE, "sh", &base]).arg(agent_binary()?),
            None => Cmd::new(agent_binary()?),
        };
        let cmd = cmd.args(["fetch", "--json", "--seed", "forever", "--torrent", &url, "--to"]).arg(&file);
        Ok(Machine { cmd, done: Done::File(file.clone()), file })
    }
}
