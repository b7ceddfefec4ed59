// SPDX-License-Identifier: GPL-3.0-or-later
//! Machines that boot with an initrd that the server makes: the agent is its init, and there is nothing else in it but the
//! drivers of their cards.

use anyhow::{Context, Result, ensure};
use bootspec::Phase;
use boottorrent_tests::{
    BOOT, Cmd, Lab, MULTI_USER, Server, Vm,
    assets::{APPEND, IMAGE, Suite, bare_catalogue, image, own_initrd_catalogue},
    lives_on,
};
use std::{fs::File, path::Path, time::Duration};

/// What an initrd for one card may have, one for a machine that cannot tell its card, and one for all.
const ONE_CARD: usize = 2_000_000;
const USUAL_CARDS: usize = 6_000_000;
const ALL_CARDS: usize = 10_000_000;

#[test]
fn a_machine_boots_with_the_driver_of_its_card() -> Result<()> {
    let lab = Lab::new("init-card")?;
    let catalogue = own_initrd_catalogue(&image(Suite::own()?)?)?;
    let mut server = Server::of(&lab, &catalogue, &["--up", "20MB/s"])?;
    let mut sizes = Vec::new();
    // The last one is a ConnectX-4, whose driver is the largest of those that only servers have.
    for (what, most) in [
        ("card=01:1af4:1000", ONE_CARD),
        ("card=01:8086:100e", ONE_CARD),
        ("", USUAL_CARDS),
        ("card=01:1234:5678", USUAL_CARDS),
        ("drivers=all", ALL_CARDS),
        ("card=01:15b3:1013", 3_000_000),
    ] {
        let bytes = server.get(&format!("/images/{IMAGE}/own?{what}"))?.len();
        println!("initrd for '{what}': {bytes} bytes");
        ensure!(bytes <= most, "{what}: {bytes} bytes");
        sizes.push(bytes);
    }
    ensure!(sizes[4] >= sizes[2] + 1_000_000 && sizes[5] >= sizes[0] + 300_000, "{sizes:?}");
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
    let shown = "sent the drivers of all cards because it did not report with fewer";
    let row = status.lines().find(|l| l.contains(shown)).unwrap_or_default();
    ensure!(row.contains("52:54:00:77:01:01") && status.matches(shown).count() == 1, "{status}");
    server.check()
}

/// Nothing of ours is in the root, nor an initrd: its kernel and its modules are enough.
// Tried: root with a kernel, no initrd and nothing of ours, BIOS and UEFI | mmdebstrap 1.3.5 | on
// machines
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

/// Every card that a virtual machine may have gets the driver for it, or the general initrd.
#[test]
#[ignore = "three more boots: make test-full"]
fn cards_of_virtual_machines() -> Result<()> {
    let lab = Lab::new("init-cards")?;
    let catalogue = own_initrd_catalogue(&image(Suite::own()?)?)?;
    let mut server = Server::of(&lab, &catalogue, &["--up", "20MB/s"])?;
    let machines = ["e1000e", "rtl8139", "vmxnet3"].map(|card| Vm::pxe(card).card(card).start(&lab));
    for vm in &mut machines.into_iter().collect::<Result<Vec<_>>>()? {
        let said = vm.expect(MULTI_USER, BOOT)?;
        println!("{}: {:.0?}", vm.name(), said.at);
        ensure!(server.client(vm.mac())?.phase == Phase::Seed, "{}", vm.name());
    }
    let log = std::fs::read_to_string(lab.dir().join("serve-1.log"))?;
    ensure!(!log.contains("is sent"), "each had the driver of its card: {log}");
    server.check()
}

/// `break=` stops the boot where it says, in a shell that is in no other initrd, and the boot goes on from there.
#[test]
#[ignore = "a boot with a person at the console: make test-full"]
fn a_shell_where_it_is_asked_for() -> Result<()> {
    let lab = Lab::new("init-shell")?;
    let mut server = Server::of(&lab, &own_initrd_catalogue(&image(Suite::own()?)?)?, &["--up", "20MB/s"])?;
    let size =
        |with: &str| server.get(&format!("/images/{IMAGE}/own?card=01:1af4:1000&{with}")).map(|b| b.len());
    let (without, with) = (size("with=")?, size("with=shell")?);
    println!("initrd: {without} bytes, with a shell {with}");
    ensure!(with > without + 200_000, "there is no shell in it");
    server.boottorrent(&["host", "set", "default", "--param", "break=premount"])?;
    let mut vm = Vm::pxe("shell").start(&lab)?;
    vm.expect("break= stops the boot here", BOOT)?;
    // The network is there, and the image is not; the terminal is the shell's own.
    vm.send_line("grep IPV4ADDR /run/net-*.conf; ls /run/boottorrent; tty; echo asked-$((40 + 2))")?;
    for text in ["IPV4ADDR='10.77.0.", "No such file", "/dev/ttyS0", "asked-42"] {
        vm.expect(text, Duration::from_secs(60)).with_context(|| text.to_owned())?;
    }
    ensure!(!vm.console().has("can't access tty"), "the shell has no terminal");
    vm.send_line("exit")?;
    vm.expect(MULTI_USER, BOOT)?;
    ensure!(server.client(vm.mac())?.phase == Phase::Seed, "{}", vm.name());
    server.check()
}

/// What stands on the kernel command line, or happens to the cable, side by side: as with the hook
/// (`tests/tests/firmware.rs`).
#[test]
#[ignore = "four more boots: make test-full"]
fn addresses_cards_and_cables() -> Result<()> {
    let (image, lab) = (image(Suite::own()?)?, Lab::new("init-conditions")?);
    let mut server = Server::of(&lab, &own_initrd_catalogue(&image)?, &["--up", "20MB/s"])?;
    let initrd = lab.dir().join("own");
    std::fs::write(&initrd, server.get(&format!("/images/{IMAGE}/own?with=vlan"))?)?;
    let direct = |name: &str, more: &str| {
        let server = format!("boottorrent.server={} boottorrent.image={IMAGE}", Lab::SERVER);
        Vm::direct(name, &image.kernel(), &initrd, &format!("{APPEND} boot=boottorrent {server} {more}"))
    };
    let mut fixed = direct("static", "ip=10.77.0.60::10.77.0.1:255.255.255.0:still::off").start(&lab)?;
    // The other card is found first, and its DHCP server answers at once.
    let mut two = Vm::pxe("two-cards").other_network().start(&lab)?;
    // A trunk port: untagged there is nobody.
    let mut tagged = direct("tagged", "ip=dhcp BOOTIF=${mac} vlan=vlan20:BOOTIF").trunk(20).start(&lab)?;
    // The switch lets nothing through for 20 s, as with spanning tree.
    let mut late = direct("late", "ip=dhcp").start(&lab)?;
    late.cable(false)?;
    late.expect("check the cable; still waiting", BOOT)?;
    std::thread::sleep(Duration::from_secs(20));
    late.cable(true)?;
    for (vm, wanted) in [
        (&mut late, "inet 10.77.0."),
        (&mut two, "inet 10.77.0."),
        (&mut tagged, ": vlan20    inet 10.77.0."),
        (&mut fixed, "inet 10.77.0.60/24"),
    ] {
        let said = vm.expect(MULTI_USER, BOOT)?;
        println!("{}: {:.0?}", vm.name(), said.at);
        vm.login()?;
        let addresses = vm.sh("ip -o -4 addr; ip route")?;
        ensure!(addresses.contains(wanted), "{}: {addresses}", vm.name());
        ensure!(server.clients()?.iter().filter(|c| c.id == vm.mac()).count() == 1, "{}", vm.name());
    }
    let route = fixed.sh("ip route; hostname")?;
    ensure!(route.contains("default via 10.77.0.1") && route.ends_with("still"), "{route}");
    server.check()
}

/// This machine gets the driver of another card; then all drivers, among which its own is not; then the image's own initrd.
#[test]
#[ignore = "three boots: make test-full"]
fn a_card_without_a_driver_ends_with_the_images_initrd() -> Result<()> {
    const MAC: &str = "52:54:00:77:01:02";
    let lab = Lab::new("init-no-driver")?;
    let catalogue = own_initrd_catalogue(&image(Suite::own()?)?)?;
    let mut server = Server::of(&lab, &catalogue, &["--up", "20MB/s"])?;
    take_driver(&server.catalogue().join("images").join(IMAGE).join("own.json"), "e1000", "virtio_pci")?;
    server.restart(&["--up", "20MB/s"])?;
    let machine = || Vm::pxe("lies").card("e1000").mac_of(MAC).start(&lab);
    for _ in 0..2 {
        let mut vm = machine()?;
        let said = vm.expect("no network card with the address", BOOT)?;
        println!("{}", said.text);
        vm.wait_off(Duration::from_secs(120))?;
    }
    let mut vm = machine()?;
    vm.expect(MULTI_USER, BOOT)?;
    ensure!(server.client(MAC)?.phase == Phase::Seed, "{:#?}", server.clients());
    let status = server.boottorrent(&["status"])?;
    let shown = "sent the image's own initrd because it did not report with the server's";
    ensure!(status.lines().any(|l| l.contains(MAC) && l.contains(shown)), "{status}");
    server.check()
}

/// Machines with the first card are sent the driver of the second one, and nobody is sent another.
fn take_driver(index: &Path, from: &str, to: &str) -> Result<()> {
    let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(index)?)?;
    let cards = json["cards"].as_array().context("cards")?;
    let of = |driver: &str| cards.iter().find(|c| c["driver"] == driver).context("a driver").cloned();
    let (lacking, given) = (of(from)?, of(to)?);
    let card = serde_json::json!({
        "driver": to, "archive": given["archive"], "aliases": lacking["aliases"],
    });
    json["cards"] = vec![card].into();
    json["general"] = given["archive"].clone();
    json["rare"] = serde_json::json!({ "at": 0, "size": 0 });
    // Another file: this one is in other labs as well.
    std::fs::remove_file(index)?;
    std::fs::write(index, json.to_string()).context("writing the index of drivers")
}

/// No DHCP server answers for a minute.
#[test]
#[ignore = "a minute and a boot: make test-full"]
fn a_machine_waits_for_a_dhcp_server() -> Result<()> {
    let (image, lab) = (image(Suite::own()?)?, Lab::new("init-no-dhcp")?);
    let mut server = Server::of(&lab, &own_initrd_catalogue(&image)?, &["--up", "20MB/s"])?;
    let initrd = lab.dir().join("own");
    std::fs::write(&initrd, server.get(&format!("/images/{IMAGE}/own"))?)?;
    server.dnsmasq_with(|line| (!line.starts_with("dhcp-range")).then(|| line.to_owned()))?;
    let where_from = format!("boottorrent.server={} boottorrent.image={IMAGE}", Lab::SERVER);
    let append = format!("{APPEND} boot=boottorrent {where_from} ip=dhcp");
    let mut vm = Vm::direct("waits", &image.kernel(), &initrd, &append).start(&lab)?;
    vm.expect("no answer from any DHCP server on", BOOT)?;
    std::thread::sleep(Duration::from_secs(60));
    server.dnsmasq_with(|line| Some(line.to_owned()))?;
    vm.expect(MULTI_USER, BOOT)?;
    ensure!(server.client(vm.mac())?.phase == Phase::Seed, "{:#?}", server.clients());
    server.check()
}

/// The other release, whose modules are packed one by one: BIOS and UEFI.
#[test]
#[ignore = "another root and two boots: make test-full"]
fn the_other_release_boots() -> Result<()> {
    let own = Suite::own()?;
    for suite in Suite::ALL.into_iter().filter(|s| *s != own) {
        let lab = Lab::new(&format!("init-{}", suite.as_str()))?;
        let mut server = Server::of(&lab, &own_initrd_catalogue(&image(suite)?)?, &["--up", "20MB/s"])?;
        for (what, most) in
            [("card=01:1af4:1000", 2_100_000), ("card=01:8086:10d3", 2_100_000), ("", USUAL_CARDS)]
        {
            let bytes = server.get(&format!("/images/{IMAGE}/own?{what}"))?.len();
            println!("{}, initrd for '{what}': {bytes} bytes", suite.as_str());
            ensure!(bytes <= most, "{what}: {bytes} bytes");
        }
        let machines = [Vm::pxe("bios"), Vm::pxe("uefi").card("e1000e").uefi()].map(|vm| vm.start(&lab));
        for vm in &mut machines.into_iter().collect::<Result<Vec<_>>>()? {
            let said = vm.expect(MULTI_USER, BOOT)?;
            println!("{}: {:.0?}", vm.name(), said.at);
            ensure!(server.client(vm.mac())?.phase == Phase::Seed, "{}", vm.name());
        }
        let log = std::fs::read_to_string(lab.dir().join("serve-1.log"))?;
        ensure!(!log.contains("is sent"), "each had the driver of its card: {log}");
        server.check()?;
    }
    Ok(())
}

/// Disks, ext4 and what makes it come along where the kernel command line asks for them.
#[test]
#[ignore = "two boots: make test-full"]
fn a_disk_keeps_the_image() -> Result<()> {
    const MAC: &str = "52:54:00:77:01:01";
    let lab = Lab::new("init-disk")?;
    let catalogue = own_initrd_catalogue(&image(Suite::own()?)?)?;
    let mut server = Server::of(&lab, &catalogue, &["--up", "20MB/s"])?;
    let params = ["boottorrent.mkfs=/dev/vda", "boottorrent.target=LABEL=boottorrent"];
    for param in params {
        server.boottorrent(&["host", "set", MAC, "--param", param])?;
    }
    let disk = lab.dir().join("disk");
    File::create(&disk)?.set_len(768 << 20)?;
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

/// A disk with XFS that somebody made, by its label; and what the system writes in compressed RAM.
// Tried: an XFS for images, with the server's initrd | mkfs.xfs 6.1 | on machines
#[test]
#[ignore = "a boot: make test-full"]
fn an_xfs_keeps_the_image_and_zram_what_is_written() -> Result<()> {
    let lab = Lab::new("init-xfs")?;
    let catalogue = own_initrd_catalogue(&image(Suite::own()?)?)?;
    let mut server = Server::of(&lab, &catalogue, &["--up", "20MB/s"])?;
    for param in ["boottorrent.target=LABEL=images", "boottorrent.overlay=zram"] {
        server.boottorrent(&["host", "set", "default", "--param", param])?;
    }
    let disk = lab.dir().join("disk");
    File::create(&disk)?.set_len(1 << 30)?;
    Cmd::new("mkfs.xfs").args(["-q", "-L", "images"]).arg(&disk).run()?;
    let mut vm = Vm::pxe("xfs").disk(&disk, "IMAGES").start(&lab)?;
    vm.expect(MULTI_USER, BOOT)?;
    vm.login()?;
    let mounts = vm.sh("cat /proc/mounts; ls /run/boottorrent/disk/vda/boottorrent")?;
    let has = |device: &str, rest: &str| mounts.lines().any(|l| l.starts_with(device) && l.contains(rest));
    ensure!(has("/dev/vda", " /run/boottorrent/disk/vda xfs ") && mounts.contains(".img"), "{mounts}");
    // Its module has made zram0, which is somebody else's.
    ensure!(has("/dev/zram", " /run/boottorrent/overlay ext4 "), "{mounts}");
    server.check()
}
