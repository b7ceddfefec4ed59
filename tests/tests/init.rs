// SPDX-License-Identifier: GPL-3.0-or-later
//! Machines that boot with an initrd that the server makes: the agent is its init, and there is nothing else in it but the
//! drivers of their cards.

use anyhow::{Result, ensure};
use bootspec::Phase;
use boottorrent_tests::{
    BOOT, Cmd, Lab, MULTI_USER, Server, Vm,
    assets::{IMAGE, Suite, bare_catalogue, image, own_initrd_catalogue},
    lives_on,
};
use std::fs::File;

/// What an initrd for one card may have, and one for all.
const ONE_CARD: usize = 2_000_000;
const ALL_CARDS: usize = 10_000_000;

#[test]
fn a_machine_boots_with_the_driver_of_its_card() -> Result<()> {
    let lab = Lab::new("init-card")?;
    let catalogue = own_initrd_catalogue(&image(Suite::own()?)?)?;
    let mut server = Server::of(&lab, &catalogue, &["--up", "20MB/s"])?;
    for (what, most) in [("card=01:1af4:1000", ONE_CARD), ("card=01:8086:100e", ONE_CARD), ("", ALL_CARDS)] {
        let bytes = server.get(&format!("/images/{IMAGE}/own?{what}"))?.len();
        println!("initrd for '{what}': {bytes} bytes");
        ensure!(bytes <= most, "{what}: {bytes} bytes");
    }
    // Its agent never speaks: the next time, it is sent all drivers.
    let e1000 = Vm::pxe("e1000").card("e1000").mac_of("52:54:00:77:01:01");
    e1000.start(&lab)?.expect("Linux version", BOOT)?;
    let machines = [Vm::pxe("virtio"), e1000];
    let mut machines = machines.map(|vm| vm.start(&lab)).into_iter().collect::<Result<Vec<_>>>()?;
    for vm in &mut machines {
        vm.expect(MULTI_USER, BOOT)?;
        let client = server.client(vm.mac())?;
        ensure!(client.phase == Phase::Seed, "{client:#?}");
        vm.login()?;
        // udev would call it so, and has left it.
        let seen = vm.sh("ip -o link show up | cut -d' ' -f2; systemctl is-system-running")?;
        ensure!(seen.contains("ens3:") && !seen.contains("eth0:") && seen.ends_with("running"), "{seen}");
        let drivers = vm.sh("dmesg | grep -c 'boottorrent: loading the kernel module' || true")?;
        ensure!(drivers == "0", "a driver was not loaded");
        lives_on(vm)?;
    }
    let log = std::fs::read_to_string(lab.dir().join("serve-1.log"))?;
    let told = "52:54:00:77:01:01 is sent an initrd with the drivers of all cards";
    ensure!(log.contains(told) && log.matches("is sent").count() == 1, "{log}");
    let status = server.boottorrent(&["status"])?;
    let shown = "sent the drivers of all cards: it did not report with those of its own";
    let row = status.lines().find(|l| l.contains(shown)).unwrap_or_default();
    ensure!(row.contains("52:54:00:77:01:01") && status.matches(shown).count() == 1, "{status}");
    server.check()
}

/// Nothing of ours is in the root, nor an initrd: its kernel and its modules are enough.
#[test]
fn a_root_without_any_initrd_boots() -> Result<()> {
    let lab = Lab::new("init-bare")?;
    let mut server = Server::of(&lab, &bare_catalogue(Suite::own()?)?, &["--up", "20MB/s"])?;
    let machines = [Vm::pxe("bios"), Vm::pxe("uefi").uefi()];
    let mut machines = machines.map(|vm| vm.start(&lab)).into_iter().collect::<Result<Vec<_>>>()?;
    for vm in &mut machines {
        // Of its own: the console on the kernel command line has a login.
        vm.expect(" login:", BOOT)?;
        let client = server.client(vm.mac())?;
        ensure!(client.phase == Phase::Seed, "{client:#?}");
    }
    server.check()
}

/// Disks and ext4 come along where the kernel command line asks for them.
#[test]
#[ignore = "two boots: make test-full"]
fn a_disk_keeps_the_image() -> Result<()> {
    const MAC: &str = "52:54:00:77:01:01";
    let lab = Lab::new("init-disk")?;
    let catalogue = own_initrd_catalogue(&image(Suite::own()?)?)?;
    let mut server = Server::of(&lab, &catalogue, &["--up", "20MB/s"])?;
    server.boottorrent(&["host", "set", MAC, "--param", "boottorrent.target=LABEL=images"])?;
    let disk = lab.dir().join("disk");
    File::create(&disk)?.set_len(768 << 20)?;
    Cmd::new("mke2fs").args(["-q", "-t", "ext4", "-m", "0", "-L", "images"]).arg(&disk).run()?;
    for (boot, most) in [(1, u64::MAX), (2, 0)] {
        let mut vm = Vm::pxe("disk").disk(&disk, "CACHE1").mac_of(MAC).start(&lab)?;
        vm.expect(MULTI_USER, BOOT)?;
        let client = server.client(MAC)?;
        let received = client.progress.received();
        println!("boot {boot}: {received} of {} bytes received", client.progress.total);
        ensure!(client.phase == Phase::Seed && received <= most, "{client:#?}");
        vm.login()?;
        vm.sh("ls /run/boottorrent/disk/*/boottorrent/*.img && sync")?;
    }
    server.check()
}
