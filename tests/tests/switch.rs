// SPDX-License-Identifier: GPL-3.0-or-later
//! Machines that run are switched from one image to another, in a lesson's break.

use anyhow::{Context, Result, ensure};
use boottorrent_tests::{
    BOOT, Cmd, Lab, MULTI_USER, Server, Vm,
    assets::{Suite, lessons},
    kernel_time,
};
use std::time::{Duration, Instant};

const SWITCH: Duration = Duration::from_secs(300);

/// Wait until a machine reports this of its order.
fn reports(server: &Server, mac: &str, what: &str) -> Result<()> {
    let begun = Instant::now();
    loop {
        let said = server.boottorrent(&["host", "switch", "--json"])?;
        let rows: Vec<serde_json::Value> = serde_json::from_str(&said)?;
        let row = rows.iter().find(|r| r["machine"] == mac);
        if row.is_some_and(|r| r["state"].as_str().is_some_and(|s| s.contains(what))) {
            return Ok(());
        }
        ensure!(begun.elapsed() < SWITCH, "{mac} does not report '{what}': {said}");
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Seconds from the agent's word until the next root was reached, the last time.
fn took(vm: &mut Vm, image: &str) -> Result<f64> {
    let log = vm.sh("dmesg | grep -e 'soft-reboot to ' -e 'reached multi-user'")?;
    let at = |what: &str| kernel_time(log.lines().rfind(|l| l.contains(what)).unwrap_or_default());
    Ok(at("reached multi-user")? - at(&format!("soft-reboot to {image}"))?)
}

fn agent(vm: &mut Vm) -> Result<String> {
    vm.sh("for p in /proc/[0-9]*; do read -r -d '' a < $p/cmdline; [ \"$a\" = @boottorrent-agent ] && echo ${p#/proc/}; done; true")
}

#[test]
#[ignore = "a root of Debian 13 and three boots, eight minutes; room.rs switches without virtual machines: make test-full"]
fn a_machine_is_switched_and_its_agent_stays() -> Result<()> {
    const MAC: &str = "52:54:00:77:02:01";
    let lab = Lab::new("switch")?;
    let mut server = Server::of(&lab, &lessons(Suite::Trixie, None)?, &["--up", "40MB/s"])?;
    let remote = ["--param", "boottorrent.remote=switch"];
    server
        .boottorrent(&[&["host", "set", MAC, "--name", "pc1", "--image", "lesson"], &remote[..]].concat())?;
    let mut vm = Vm::pxe("pc1").mac_of(MAC).memory(1536).start(&lab)?;
    let to_first = kernel_time(&vm.expect(MULTI_USER, BOOT)?.text)?;
    vm.login()?;
    let pid = agent(&mut vm)?;
    let before = available(&mut vm)?;

    // What its command line does not allow.
    server.boottorrent(&["host", "poweroff", "pc1"])?;
    reports(
        &server,
        MAC,
        "refused: boottorrent.remote= on this machine's kernel command line does not allow poweroff",
    )?;
    // Who is logged in is waited for; that can be taken back.
    server.boottorrent(&[
        "host",
        "switch",
        "pc1",
        "exam",
        "--wait-for-users",
        "--message",
        "Save your work",
    ])?;
    vm.expect("as soon as you log out.", SWITCH)?;
    reports(&server, MAC, "waiting: logged in: root")?;
    server.boottorrent(&["host", "switch", "pc1", "--cancel"])?;
    std::thread::sleep(Duration::from_secs(15));
    ensure!(vm.sh("test ! -e /exam && { grep -c next- /proc/mounts || true; }")? == "0", "it was taken back");

    let mut seconds = Vec::new();
    for image in ["exam", "lesson"] {
        server.boottorrent(&["host", "switch", "pc1", image])?;
        // Its console has been made quiet.
        vm.expect("login: root (automatic login)", SWITCH)?;
        reports(&server, MAC, "done (soft-reboot)")?;
        vm.login()?;
        seconds.push(took(&mut vm, image)?);
        ensure!(vm.sh("test -e /exam && echo exam || echo lesson")? == image, "it runs {image}");
        ensure!(agent(&mut vm)? == pid, "the agent stays");
        ensure!(
            vm.sh("ls /sys/block/*/loop/backing_file")?.lines().count() == 1,
            "the old image is given back"
        );
        let status = vm.sh("/run/boottorrent/boottorrent-agent status")?;
        ensure!(status.starts_with(image), "{status}");
        let after = available(&mut vm)?;
        println!("MemAvailable {before} kB, after {image} {after} kB");
        ensure!(after + 80_000 > before, "the old image is given back");
        let client = server.client(MAC)?;
        ensure!(client.image.as_deref() == Some(image), "{client:#?}");
    }
    println!("kernel to first root {to_first:.1} s, soft-reboots {seconds:.1?} s");
    // `make bench` (part switch) measures it: beside other tests the figure means little.
    ensure!(seconds.iter().any(|s| *s < to_first), "{seconds:.1?} s, kernel to first root {to_first:.1} s");
    server.check()
}

fn available(vm: &mut Vm) -> Result<u64> {
    vm.sh("awk '/MemAvailable/ {print $2}' /proc/meminfo")?.parse().context("MemAvailable")
}

/// Its systemd has no soft-reboot.
#[test]
#[ignore = "two boots: make test-full"]
fn an_older_system_reboots_into_the_image() -> Result<()> {
    const MAC: &str = "52:54:00:77:02:02";
    let lab = Lab::new("switch-old")?;
    let catalogue = lessons(Suite::Trixie, Some(Suite::Bookworm))?;
    let mut server = Server::of(&lab, &catalogue, &["--up", "40MB/s"])?;
    let remote = ["--param", "boottorrent.remote=switch,reboot"];
    server.boottorrent(
        &[&["host", "set", MAC, "--name", "pc2", "--image", "old-lesson"], &remote[..]].concat(),
    )?;
    let machine = |name: &str| Vm::pxe(name).mac_of(MAC).memory(1536).start(&lab);
    let mut vm = machine("pc2")?;
    vm.expect(MULTI_USER, BOOT)?;
    server.boottorrent(&["host", "switch", "pc2", "exam"])?;
    reports(&server, MAC, "in progress (reboot)")?;
    vm.wait_off(SWITCH)?;
    let mut vm = machine("pc2-again")?;
    vm.expect(MULTI_USER, BOOT)?;
    vm.login()?;
    ensure!(vm.sh("cat /exam")? == "2027", "it has booted the exam");
    reports(&server, MAC, "done (reboot)")?;
    server.check()
}

/// Each as it can: two by soft-reboot at the same minute, an older system by a reboot; who may not says so.
#[test]
#[ignore = "four machines and five boots, ten minutes: make test-full"]
fn a_room_of_different_systems_switches_at_one_minute() -> Result<()> {
    let lab = Lab::new("switch-room")?;
    let mut server = Server::of(&lab, &lessons(Suite::Trixie, Some(Suite::Bookworm))?, &["--up", "40MB/s"])?;
    server.boottorrent(&["host", "set", "group:room", "--image", "lesson"])?;
    let mac = |n: usize| format!("52:54:00:77:03:0{n}");
    for (n, image, remote) in [
        (1, "lesson", "switch"),
        (2, "lesson", "switch"),
        (3, "old-lesson", "switch,reboot"),
        (4, "lesson", "reboot"),
    ] {
        let param = format!("boottorrent.remote={remote}");
        let name = format!("pc{n}");
        let set = ["host", "set", &mac(n), "--name", &name, "--group", "room", "--image", image];
        server.boottorrent(&[&set[..], &["--param", &param]].concat())?;
    }
    let mut vms = Vec::new();
    for n in 1..=4 {
        // Two processors for all of them: one boots after the other.
        let mut vm = Vm::pxe(&format!("pc{n}")).mac_of(&mac(n)).memory(1536).start(&lab)?;
        vm.expect(MULTI_USER, BOOT)?;
        vms.push(vm);
    }
    vms[0].login()?;
    let pid = agent(&mut vms[0])?;
    let at = Cmd::new("date").args(["-u", "-d", "+180 seconds", "+%Y-%m-%dT%H:%M:%SZ"]).run()?;
    server.boottorrent(&["host", "switch", "group:room", "exam", "--at", at.trim()])?;
    reports(&server, &mac(4), "does not allow switch")?;
    for (n, end) in [(1, "done (soft-reboot)"), (2, "done (soft-reboot)"), (3, "in progress (reboot)")] {
        reports(&server, &mac(n), end)?;
    }
    vms[2].wait_off(SWITCH)?;
    for (n, runs) in [(0, "exam"), (1, "exam"), (3, "lesson")] {
        let vm = &mut vms[n];
        if n < 2 {
            vm.expect("login: root (automatic login)", SWITCH)?;
        }
        vm.login()?;
        ensure!(
            vm.sh("test -e /exam && echo exam || echo lesson")? == runs,
            "pc{} does not run {runs}",
            n + 1
        );
    }
    ensure!(agent(&mut vms[0])? == pid, "the agent stays");
    let mut again = Vm::pxe("pc3-again").mac_of(&mac(3)).memory(1536).start(&lab)?;
    again.expect(MULTI_USER, BOOT)?;
    again.login()?;
    ensure!(again.sh("cat /exam")? == "2027", "it has booted the exam");
    reports(&server, &mac(3), "done (reboot)")?;
    server.check()
}
