// SPDX-License-Identifier: GPL-3.0-or-later
//! Live ISOs, unchanged, over the swarm: their own kernel, their own initrd, and our add-on beside it.

use anyhow::{Context, Result, ensure};
use bootspec::Phase;
use boottorrent_tests::{
    BOOT, Client, Lab, MULTI_USER, Server, Vm,
    assets::{
        APPEND,
        live::{LABEL, Live, catalogue},
    },
};

/// Said by the profile of the user that live-config makes, lets log in by itself and gives sudo to.
const SESSION: &str = "lab: live session of user";

#[test]
fn debian_live_boots_with_its_session() -> Result<()> {
    let lab = Lab::new("iso-live-boot")?;
    let mut server = Server::of(&lab, &catalogue(Live::LiveBoot)?, &["--up", "15MB/s"])?;
    let mut machines =
        ["one", "two"].map(|name| Vm::pxe(name).start(&lab)).into_iter().collect::<Result<Vec<_>>>()?;
    for vm in &mut machines {
        vm.expect(SESSION, BOOT)?;
    }
    let clients = machines.iter().map(|vm| server.client(vm.mac())).collect::<Result<Vec<_>>>()?;
    let from_peers: u64 = clients.iter().map(|c| c.progress.from_peers).sum();
    let received: u64 = clients.iter().map(|c| c.progress.received()).sum();
    println!("received {received} bytes, {from_peers} of them from each other");
    ensure!(from_peers * 4 >= received, "less than a quarter came from each other: {clients:#?}");
    for (vm, client) in machines.iter_mut().zip(&clients) {
        seeds_on(vm, client)?;
        let medium = vm.sh("findmnt -n -o SOURCE,FSTYPE /run/live/medium; findmnt -n -o FSTYPE /")?;
        ensure!(medium.starts_with("/dev/loop") && medium.ends_with("iso9660\noverlay"), "{medium}");
        // What live-config did, as from a USB stick.
        let user = vm.sh("id -un 1000; cat /etc/hostname; ls /var/lib/live/config | grep -c .")?;
        ensure!(user.starts_with("user\ndebian\n"), "{user}");
        let parameters = vm.sh("cat /proc/cmdline")?;
        ensure!(parameters.contains("boot=live components quiet"), "{parameters}");
    }
    server.check()
}

/// The agent lives in the booted system, knows what it did, and needs little memory.
fn seeds_on(vm: &mut Vm, client: &Client) -> Result<()> {
    ensure!(client.phase == Phase::Seed, "{client:#?}");
    vm.login()?;
    let loops = vm.sh("losetup -n -O BACK-FILE,RO")?;
    ensure!(loops.contains("/run/boottorrent/store/payload  1"), "the ISO is on no loop device: {loops}");
    let argv0 = vm.sh("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep '^@'")?;
    ensure!(argv0 == "@boottorrent-agent", "{argv0}");
    let status = vm.sh("/run/boottorrent/boottorrent-agent status --json")?;
    let status: Client = serde_json::from_str(&status).with_context(|| format!("reading {status}"))?;
    ensure!(status.id == vm.mac() && status.phase == Phase::Seed, "{status:#?}");
    println!("{}: {} KiB of memory beyond the ISO at the highest", vm.name(), status.memory >> 10);
    ensure!(status.memory > 0 && status.memory <= 48 << 20, "{status:#?}");
    Ok(())
}
