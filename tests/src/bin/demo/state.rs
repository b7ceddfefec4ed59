// SPDX-License-Identifier: GPL-3.0-or-later
//! One machine now, for the screen.

use bootspec::{
    Progress,
    units::{human_rate, human_size},
};
use boottorrent_tests::{Client, MULTI_USER, Vm};

/// One machine now.
pub struct State {
    pub name: String,
    pub phase: &'static str,
    pub detail: String,
    pub up: bool,
}

impl State {
    pub fn of(vm: &Vm, clients: &[Client]) -> Self {
        let seen = |text: &str| vm.console().has(text);
        let client = clients.iter().find(|c| c.id == vm.mac());
        let (up, linux) = (seen(MULTI_USER), seen("Linux version"));
        let phase = match client {
            _ if up => "up",
            Some(c) if c.phase == bootspec::Phase::Seed => "systemd",
            Some(c) => c.phase.as_str(),
            None if linux => "kernel",
            None if seen("/vmlinuz... ") => "loading kernel+initrd",
            None => "firmware, iPXE",
        };
        let detail = client.map(|c| detail(&c.progress, phase == "download")).unwrap_or_default();
        Self { name: vm.name().into(), phase, detail, up }
    }
}

/// A machine's bytes in one line; rates only while they mean something.
fn detail(p: &Progress, rates: bool) -> String {
    if p.total == 0 {
        return String::new();
    }
    let (server, machines) = (human_size(p.from_server + p.from_http), human_size(p.from_peers));
    let from = format!("{server} from server, {machines} from machines");
    if !rates {
        return from;
    }
    let (down, up) = (human_rate(p.down_rate), human_rate(p.up_rate));
    format!("{:3.0} %  down {down:>9}  up {up:>9}  {from}", p.percent())
}
