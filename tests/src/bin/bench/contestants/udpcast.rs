// SPDX-License-Identifier: GPL-3.0-or-later
//! udpcast: multicast, all machines at once.

use super::stage::{Contestant, Done, Machine, Serving, Stage, words};
use crate::setup::Setup;
use anyhow::Result;
use boottorrent_tests::Cmd;

/// `udp-sender` and `udp-receiver`.
pub struct Udpcast;

impl Contestant for Udpcast {
    fn id(&self) -> &'static str {
        "udpcast"
    }

    fn label(&self) -> &'static str {
        "udpcast"
    }

    fn settings(&self) -> &'static str {
        "`udp-sender --full-duplex --min-receivers N --rexmit-hello-interval 500`, no forward error correction, `--max-bitrate` 95 % of the \
         narrowest link (it knows the network, and begins when the last machine is there); switches do not filter \
         groups; receivers with `--exit-wait 50` (the defaults of these two cost it 2 s); it checks nothing"
    }

    fn races(&self, setup: &Setup, n: usize) -> bool {
        !setup.late && setup.name != "D-1G" && n <= 32
    }

    fn sender_ends(&self) -> bool {
        true
    }

    fn serve<'a>(&self, stage: &Stage<'a>) -> Result<Serving<'a>> {
        let setup = stage.setup;
        let n = stage.network.hosts.len().to_string();
        let mut cmd = Cmd::new("udp-sender")
            .args(words("--full-duplex --nokbd --no-progress --interface eth0 --rexmit-hello-interval 500 --min-receivers"))
            .args([&n, "--file"])
            .arg(stage.payload.file());
        if let Some(mbit) = [setup.server, setup.machine, setup.trunk].into_iter().flatten().min() {
            cmd = cmd.arg("--max-bitrate").arg(format!("{}k", mbit * 950));
        }
        let sender = Some(stage.server().spawn("udp-sender", &cmd)?);
        std::thread::sleep(std::time::Duration::from_millis(500));
        let mut serving = Serving { tracker: None, sender, relays: Vec::new() };
        serving.check()?;
        Ok(serving)
    }

    fn machine(&self, stage: &Stage, i: usize) -> Result<Machine> {
        let file = stage.folder("machines")?.join(i.to_string());
        let cmd = Cmd::new("udp-receiver")
            .args(words("--nokbd --no-progress --exit-wait 50 --interface eth0 --file"))
            .arg(&file);
        Ok(Machine { cmd, done: Done::End, file })
    }
}
