// SPDX-License-Identifier: GPL-3.0-or-later
//! Machines that boot through relays, with stock iPXE: to the next when one does not answer, and without the first server.

use anyhow::{Context, Result, ensure};
use boottorrent_tests::{
    AUTHORITATIVE, BOOT, Cmd, FETCH, Host, Lab, Peer, Relay, Seat, Server, Vm, agent_binary, all_complete,
    assets::{IMAGE, Suite, TINY, bootstrap, copy_catalogue, image, random, small_lessons, tiny},
    dhcp_and_tftp,
    follower::{Follower, LIMIT, leading, until},
    server_binary,
};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Wait until the first server knows that a machine is behind this relay, and in this phase.
fn is_behind(server: &Server, mac: &str, relay: Option<&str>, phase: &str) -> Result<()> {
    until(&format!("{mac} behind {relay:?}: {phase}"), || {
        let all: Vec<Value> = server.get_json("/api/v1/clients")?;
        let one = all.iter().find(|c| c["id"] == mac);
        Ok(one.is_some_and(|c| c["relay"].as_str() == relay && c["phase"] == phase))
    })
}

/// A first server with HTTPS and a small image, of which relays can be made.
fn first<'a>(lab: &'a Lab, catalogue: &Path) -> Result<Server<'a>> {
    let flags = leading(lab)?;
    Server::of(lab, catalogue, &flags.each_ref().map(String::as_str))
}

/// Two relays, and a machine that is in the group of the first. Nobody hears that one.
#[test]
fn a_machine_boots_through_the_relay_that_answers() -> Result<()> {
    let lab = Lab::new("relays")?;
    let server = first(&lab, &tiny(&image(Suite::own()?)?)?)?;
    let mac = "52:54:00:78:00:01";
    server.boottorrent(&["host", "set", "group:lab", "--image", IMAGE])?;
    server.boottorrent(&[
        "host",
        "set",
        mac,
        "--name",
        "pc1",
        "--group",
        "lab",
        "--param",
        "colour=green",
    ])?;
    // Its firmware takes longer than relays need.
    let mut vm = Vm::pxe("vm").mac_of(mac).start(&lab)?;
    let mut east = Follower::new(&lab, &server, "east", &["--group", "lab"])?;
    let mut west = Follower::new(&lab, &server, "west", &["--subnet", "10.77.0.0/24"])?;
    east.has(IMAGE)?;
    west.has(IMAGE)?;
    // It goes on reporting to the first server.
    east.host.filter("tcp dport 6980 drop")?;
    vm.expect(&format!("BootTorrent: relay east at {}", east.at()), BOOT)?;
    vm.expect("BootTorrent: relay east does not answer", LIMIT)?;
    vm.expect(&format!("BootTorrent: relay west at {}", west.at()), LIMIT)?;
    vm.expect(&format!("BootTorrent: {IMAGE} from {}", west.at()), LIMIT)?;
    vm.expect(TINY, BOOT)?;
    vm.login()?;
    let line = vm.sh("cat /proc/cmdline")?;
    ensure!(
        line.contains("colour=green")
            && line.contains(&format!("boottorrent.server={} ", west.host.address())),
        "{line}"
    );
    is_behind(&server, mac, Some("west"), "booted")
}

/// A machine that fetches its image from a relay waits for it when it dies, and goes on with what it has.
#[test]
fn a_relay_dies_while_a_machine_fetches_its_image() -> Result<()> {
    let lab = Lab::new("relays-image")?;
    let server = first(&lab, &random(32)?)?;
    let mut east = Follower::new(&lab, &server, "east", &[])?;
    east.has(IMAGE)?;
    // Slow enough to be met in the middle.
    lab.limit(&east.host, 40)?;
    let torrent = format!("http://{}/images/{IMAGE}/{IMAGE}.torrent", east.at());
    let mut peer = Peer::agent(lab.host("machine")?, &torrent, &[])?;
    until("some of it", || peer.check().map(|()| peer.have() > 8 << 20))?;
    east.running = None;
    ensure!(!peer.is_complete(), "it was too quick");
    east.start()?;
    let done = peer.finish(&server)?;
    println!("received {} of {} bytes", done.received(), done.total);
    // What it had counts; what was under way is fetched again.
    ensure!(done.received() < done.total + (4 << 20), "{done:?}");
    Ok(())
}

/// One that dies for good: the machine goes on with the first server, which hears it from then on. Nor does a machine that
/// comes when it is gone wait for it.
#[test]
fn the_first_server_takes_the_place_of_a_relay() -> Result<()> {
    let lab = Lab::new("relays-gone")?;
    let dir = lab.dir().join("assets");
    fs::create_dir_all(&dir)?;
    small_lessons(&dir, 24, 0, None)?;
    let server = first(&lab, &dir.join("catalogue"))?;
    let (one, other) = (lab.host("one")?, lab.host("other")?);
    for host in [&one, &other] {
        server.boottorrent(&["host", "set", &Seat::mac_of(host)?, "--image", "exam"])?;
    }
    let mut east = Follower::new(&lab, &server, "east", &[])?;
    east.has("exam")?;
    // Slow enough to be met in the middle.
    lab.limit(&east.host, 40)?;
    let told = |host: &Host| {
        let url = format!("http://{}/boot.ipxe?mac={}", east.at(), Seat::mac_of(host)?);
        host.run(&Cmd::new("curl").args(["-sSf", &url]))
    };
    until("the relay has heard of it", || {
        let script = told(&one)?;
        Ok(script.contains("images/exam/vmlinuz") && !script.contains("images/lesson/"))
    })?;
    let (to_one, to_other) = (told(&one)?, told(&other)?);
    let relays = format!(" boottorrent.relays={} ", Lab::SERVER);
    ensure!(
        to_one.contains(&relays) && to_one.contains(&format!(" boottorrent.server={} ", east.host.address())),
        "{to_one}"
    );
    let mut one = Seat::told(one, &to_one, None)?;
    until("some of it", || {
        let all: Vec<Value> = server.get_json("/api/v1/clients")?;
        let have = |c: &Value| c["id"] == one.mac() && c["progress"]["have"].as_u64() > Some(4 << 20);
        Ok(all.iter().any(have))
    })?;
    east.running = None;
    ensure!(!one.file("run/booted")?.exists(), "it was too quick");
    let mut other = Seat::told(other, &to_other, None)?;
    let payload = fs::read(server.catalogue().join("images/exam/payload"))?;
    for seat in [&mut one, &mut other] {
        seat.booted()?;
        let there = fs::read(seat.agents("store/payload")?)?;
        ensure!(
            there == payload,
            "{} has other bytes ({} of {}): {}",
            seat.mac(),
            there.len(),
            payload.len(),
            seat.log()
        );
        is_behind(&server, seat.mac(), None, "booted")?;
    }
    let said = format!("the server {} does not answer (", east.at());
    ensure!(other.log().contains(&said) && !one.log().contains(&said), "{}", other.log());
    Ok(())
}

/// The relay has what a room needs, its DHCP too: the first server is away for a day, and hears of it when it is back.
#[test]
#[ignore = "a boot: make test-full"]
fn a_room_boots_without_the_first_server() -> Result<()> {
    let lab = Lab::new("relays-alone")?;
    let catalogue = lab.dir().join("catalogue");
    copy_catalogue(&tiny(&image(Suite::own()?)?)?, &catalogue)?;
    let flags = leading(&lab)?;
    let flags = flags.each_ref().map(String::as_str);
    let mut server = Server::serve(&lab, &catalogue, &flags)?;
    let mut east = Follower::new(&lab, &server, "east", &["--subnet", "10.77.0.0/24"])?;
    east.has(IMAGE)?;
    let _dnsmasq = dhcp_and_tftp(&east.host, &east.dir, &east.dir.join("catalogue"), &AUTHORITATIVE)?;
    server.stop();
    // As after a power cut of everything but the first server.
    east.running = None;
    east.start()?;
    let mut vm = Vm::pxe("vm").start(&lab)?;
    vm.expect(&format!("BootTorrent: {IMAGE} from {}", east.at()), BOOT)?;
    vm.expect(TINY, BOOT)?;
    server.restart(&flags)?;
    is_behind(&server, vm.mac(), Some("east"), "booted")
}

/// Bytes of kernels and initrds that the server has sent.
fn sent(server: &Server) -> Result<u64> {
    let text = String::from_utf8(server.get("/metrics")?)?;
    let line = text.lines().find(|l| l.starts_with("boottorrent_boot_files_sent_bytes_total "));
    let value = line.and_then(|l| l.rsplit(' ').next()).context("no such metric")?;
    Ok(value.parse::<f64>()? as u64)
}

/// A rack: its group boots the image, and the first is its head. Where that gives kernels and initrds, once it does.
fn rack(server: &Server, head: &str, others: &[&str]) -> Result<()> {
    server.boottorrent(&["host", "set", "group:rack1", "--image", IMAGE])?;
    server.boottorrent(&["host", "set", head, "--name", "rack1-head", "--group", "rack1", "--relay"])?;
    others.iter().try_for_each(|mac| server.boottorrent(&["host", "set", mac, "--group", "rack1"]).map(drop))
}

/// Wait until this machine is told to load from the head of its rack. From where.
fn is_sent(server: &Server, mac: &str, head: &Host) -> Result<String> {
    let near = format!("http://{}:6980/images/{IMAGE}/", head.address());
    until("the node gives", || {
        let script = server.get(&format!("/boot.ipxe?mac={mac}"))?;
        Ok(String::from_utf8_lossy(&script).contains(&format!("kernel --timeout 2000 {near}")))
    })?;
    Ok(near)
}

/// An agent that has booted gives what the server gives, and the server sends it once. When it is gone the boot script says
/// so after a moment.
#[test]
fn an_agent_gives_its_rack_kernel_and_initrd() -> Result<()> {
    let lab = Lab::new("relays-agent")?;
    let catalogue = lab.dir().join("catalogue");
    copy_catalogue(&tiny(&image(Suite::own()?)?)?, &catalogue)?;
    let server = Server::serve(&lab, &catalogue, &[])?;
    server.seeding()?;
    let (host, other) = (lab.host("head")?, lab.host("n1")?);
    let macs = [Seat::mac_of(&host)?, Seat::mac_of(&other)?];
    rack(&server, &macs[0], &[&macs[1]])?;
    let address = host.address().to_owned();
    let mut head = Seat::boot(host, &server, None)?;
    head.booted()?;
    head.says("kernels and initrds are given to others, from 256 MiB of RAM")?;
    let near = is_sent(&server, &macs[1], head.host())?;

    let script = server.get(&format!("/boot.ipxe?mac={}", macs[1]))?;
    let script = String::from_utf8(script)?;
    let near_files: Vec<&str> = script.split_whitespace().filter(|w| w.starts_with(near.as_str())).collect();
    ensure!(near_files.len() == 2, "{script}");
    for near in near_files {
        let own = near.replace(&address, Lab::SERVER).replace(&format!("http://{}:6980", Lab::SERVER), "");
        let from_server = server.get(&own)?;
        let before = sent(&server)?;
        for _ in 0..5 {
            let file = lab.dir().join("given");
            other.run(&Cmd::new("curl").args(["-sSf", "-o"]).arg(&file).arg(near))?;
            let given = fs::read(&file)?;
            ensure!(given == from_server, "{near}: {} bytes of {}", given.len(), from_server.len());
        }
        ensure!(sent(&server)? - before == from_server.len() as u64, "it was sent more than once");
    }
    drop(head);
    until("the node is gone", || {
        let script = server.get(&format!("/boot.ipxe?mac={}", macs[1]))?;
        Ok(!String::from_utf8_lossy(&script).contains(&near))
    })
}

/// The same with iPXE: from the node, and from the server when the node is off and nobody knows yet.
#[test]
#[ignore = "three boots, one after the other: make test-full"]
fn a_node_gives_its_rack_what_it_boots() -> Result<()> {
    let lab = Lab::new("relays-node")?;
    let server = Server::of(&lab, &tiny(&image(Suite::own()?)?)?, &[])?;
    let (head, other) = ("52:54:00:78:01:01", "52:54:00:78:01:02");
    rack(&server, head, &[other])?;
    let mut node = Vm::pxe("head").mac_of(head).start(&lab)?;
    node.expect(TINY, BOOT)?;
    let address = server.client(head)?.address.context("it has no address")?;
    let near = format!("http://{address}:6980/images/{IMAGE}/vmlinuz");

    let mut vm = Vm::pxe("n1").mac_of(other).start(&lab)?;
    vm.expect(&near, BOOT)?;
    vm.expect(TINY, BOOT)?;
    let first = sent(&server)?;
    drop(vm);
    let mut vm = Vm::pxe("n1-again").mac_of(other).start(&lab)?;
    vm.expect(&near, BOOT)?;
    vm.expect(TINY, BOOT)?;
    ensure!(sent(&server)? == first, "the server has sent {} bytes more", sent(&server)? - first);
    drop(vm);

    let mut vm = Vm::pxe("n1-alone").mac_of(other).start(&lab)?;
    node.cable(false)?;
    vm.expect(&near, BOOT)?;
    vm.expect(TINY, BOOT)?;
    ensure!(sent(&server)? > first, "where did it come from?");
    Ok(())
}

/// UEFI goes through a relay with iPXE, and under Secure Boot with trixie's GRUB, which asks over HTTP.
// Tried: a relay's boot scripts on UEFI, with Secure Boot and without | iPXE of Debian 12, Debian 13's grub-efi-amd64-signed
#[test]
#[ignore = "three boots, and trixie's packages: make test-full"]
fn uefi_boots_through_a_relay() -> Result<()> {
    let grub = bootstrap("grub", Suite::Trixie, "grub-efi-amd64-signed")?
        .join("usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed");
    let lab = Lab::new("relays-uefi")?;
    let flags = leading(&lab)?;
    let setup = [&AUTHORITATIVE[..], &["--secure-boot"]].concat();
    let catalogue = tiny(&image(Suite::own()?)?)?;
    let server = Server::set_up(&lab, &catalogue, &setup, &flags.each_ref().map(String::as_str))?;
    fs::copy(grub, lab.dir().join("tftp/grubx64.efi")).context("putting trixie's GRUB into its place")?;
    let mut east = Follower::new(&lab, &server, "east", &["--subnet", "10.77.0.0/24"])?;
    east.has(IMAGE)?;
    let told = format!("boottorrent.server={} ", east.host.address());
    let boots = |vm: &mut Vm, through: Option<&str>| -> Result<()> {
        vm.expect(TINY, BOOT)?;
        is_behind(&server, vm.mac(), through, "booted")?;
        vm.login()?;
        let line = vm.sh("cat /proc/cmdline")?;
        ensure!(line.contains(&told) == through.is_some(), "{line}");
        Ok(())
    };
    boots(&mut Vm::pxe("ipxe").uefi().start(&lab)?, Some("east"))?;
    boots(&mut Vm::pxe("grub").secure_boot().start(&lab)?, Some("east"))?;
    // GRUB takes its own time to find that it is gone, and goes on with the first server.
    east.host.filter("tcp dport 6980 drop")?;
    let mut vm = Vm::pxe("grub-alone").secure_boot().start(&lab)?;
    vm.expect("BootTorrent: relay east does not answer", BOOT)?;
    boots(&mut vm, None)
}

/// A key of a site, in a folder, and that folder with its public half alone.
fn key(lab: &Lab) -> Result<(PathBuf, PathBuf)> {
    let (keys, public) = (lab.dir().join("signing"), lab.dir().join("initrd-keys"));
    fs::create_dir_all(&public)?;
    Cmd::new(server_binary()?).arg("--keys").arg(&keys).args(["key", "generate", "--no-password"]).run()?;
    fs::copy(keys.join("boottorrent.pub"), public.join("boottorrent.pub"))?;
    Ok((keys, public))
}

/// A relay that has been taken over says what it likes: another image, and an older one that was signed when it was new. With
/// keys a machine boots neither, nor does it give up: it waits for the first server.
#[test]
fn what_a_relay_makes_up_boots_nowhere() -> Result<()> {
    let lab = Lab::new("relays-lie")?;
    let (keys, public) = key(&lab)?;
    let catalogue = |name: &str, keys: Option<&Path>| -> Result<PathBuf> {
        let dir = lab.dir().join(name);
        small_lessons(&dir, 4, 0, keys)?;
        Ok(dir.join("catalogue"))
    };
    // The relay's are of other bytes, and older.
    let (unsigned, older) = (catalogue("unsigned", None)?, catalogue("older", Some(&keys))?);
    let mut server = first(&lab, &catalogue("newest", Some(&keys))?)?;
    let hosts = ["one", "two"].map(|name| lab.host(name));
    let [one, two] = hosts;
    let (one, two) = (one?, two?);
    server.boottorrent(&["host", "set", "default", "--image", "exam"])?;
    let mut east = Follower::new(&lab, &server, "east", &[])?;
    east.has("exam")?;
    let told = |host: &Host, by: &str| {
        // As a machine that has tried its relay.
        let url = format!("http://{by}:6980/boot.ipxe?mac={}&relay=none", Seat::mac_of(host)?);
        host.run(&Cmd::new("curl").args(["-sSf", &url]))
    };
    let relays = format!(" boottorrent.relays={} ", east.host.address());
    let mut script = String::new();
    until("the first server names the relay", || {
        script = told(&one, Lab::SERVER)?;
        Ok(script.contains(&relays))
    })?;
    east.running = None;
    let lie = |catalogue: &Path| {
        let cmd = Cmd::new(server_binary()?).args(["serve", "--listen", "0.0.0.0:6980", "--dir"]);
        let cmd = cmd.arg(catalogue).arg("--keys").arg(lab.dir().join("none"));
        east.host.spawn("liar", &cmd.arg("--agent").arg(agent_binary()?))
    };

    // A machine that the relay alone has told what to boot: its image has no signature.
    let liar = lie(&unsigned)?;
    until("it lies", || Ok(told(&two, east.host.address()).is_ok_and(|s| s.contains("images/exam/"))))?;
    let misled = told(&two, east.host.address())?;
    let refused = Seat::told(two, &misled, Some(&public))?.booted();
    let why = refused.err().map(|e| format!("{e:#}")).unwrap_or_default();
    ensure!(why.contains("image exam is not signed, and only what key "), "{why}");

    // One that the first server has told it, which is away now.
    server.stop();
    let mut one = Seat::told(one, &script, Some(&public))?;
    let unlike = format!("what {} sent is not used: it is not the image", east.at());
    one.says(&unlike)?;
    drop(liar);
    let _liar = lie(&older)?;
    let said = |seat: &Seat| seat.log().matches(&unlike).count();
    let before = said(&one);
    one.until("it lies again", |seat| Ok(said(seat) > before))?;
    ensure!(!one.file("run/booted")?.exists(), "it has booted: {}", one.log());
    let flags = leading(&lab)?;
    server.restart(&flags.each_ref().map(String::as_str))?;
    one.booted()?;
    let there = fs::read(one.agents("store/payload")?)?;
    ensure!(there == fs::read(server.catalogue().join("images/exam/payload"))?, "other bytes: {}", one.log());
    Ok(())
}

/// A relay dies while a machine loads its kernel, which then boots from the first server, and after another one has booted.
// Tried: a relay that dies while a machine loads its kernel | iPXE of Debian 12, QEMU
#[test]
#[ignore = "two boots one after the other: make test-full"]
fn a_relay_dies_during_the_kernel_and_after_the_boot() -> Result<()> {
    let lab = Lab::new("relays-die")?;
    let server = first(&lab, &tiny(&image(Suite::own()?)?)?)?;
    let mut east = Follower::new(&lab, &server, "east", &["--subnet", "10.77.0.0/24"])?;
    east.has(IMAGE)?;
    // Slow enough to be met in the middle.
    lab.limit(&east.host, 8)?;
    let mut vm = Vm::pxe("kernel").start(&lab)?;
    vm.expect(&format!("http://{}/images/{IMAGE}/vmlinuz", east.at()), BOOT)?;
    east.running = None;
    vm.expect(&format!("BootTorrent: nothing was booted from {}", east.at()), LIMIT)?;
    vm.expect(&format!("BootTorrent: {IMAGE} from {}:6980", Lab::SERVER), LIMIT)?;
    vm.expect(TINY, BOOT)?;
    is_behind(&server, vm.mac(), None, "booted")?;
    drop(vm);

    lab.unlimit(&east.host)?;
    east.start()?;
    let mut vm = Vm::pxe("after").start(&lab)?;
    vm.expect(&format!("BootTorrent: {IMAGE} from {}", east.at()), BOOT)?;
    vm.expect(TINY, BOOT)?;
    is_behind(&server, vm.mac(), Some("east"), "booted")?;
    east.running = None;
    vm.login()?;
    ensure!(vm.sh("cat /proc/cmdline")?.contains(east.host.address()), "it has not booted from there");
    // The first server hears it from then on.
    is_behind(&server, vm.mac(), None, "booted")
}

/// Must-hold: machines behind a router of 100 Mbit/s, and what of kernel, initrd and image crosses it.
fn over_the_router(name: &str, machines: u8) -> Result<(f64, Duration)> {
    let lab = Lab::new(name)?;
    let server = first(&lab, &random(32)?)?;
    let subnet = Relay::new(&lab, &[lab.server()])?;
    lab.limit(subnet.router(), 100)?;
    let mut east = Follower::on(subnet.host(&lab, "east", 9)?, &server, &["--subnet", "10.78.0.0/24"])?;
    let begun = Instant::now();
    east.has(IMAGE)?;
    let hosts =
        (1..=machines).map(|n| subnet.host(&lab, &format!("m{n}"), 10 + n)).collect::<Result<Vec<_>>>()?;
    let loaded = begun.elapsed();
    let begun = Instant::now();
    let torrent = format!("http://{}/images/{IMAGE}/{IMAGE}.torrent", east.at());
    let files = format!("http://{}/images/{IMAGE}/{{vmlinuz,initrd}}", east.at());
    let load = Cmd::new("curl").args(["-sSf", &files]);
    let phase_one: Vec<_> =
        hosts.iter().map(|host| host.spawn(&format!("{}-one", host.name()), &load)).collect::<Result<_>>()?;
    for mut loading in phase_one {
        ensure!(loading.wait(FETCH)?.success(), "no kernel and initrd");
    }
    let mut peers =
        hosts.into_iter().map(|host| Peer::agent(host, &torrent, &[])).collect::<Result<Vec<_>>>()?;
    all_complete(&mut peers, &server, FETCH)?;
    let took = loaded + begun.elapsed();
    let shown = subnet.router().run(&Cmd::new("cat").arg("/proc/net/dev"))?;
    let eth0 = shown.lines().find_map(|l| l.trim().strip_prefix("eth0:")).context("no eth0")?;
    let crossed: f64 = eth0.split_whitespace().next().context("no bytes")?.parse()?;
    let folder = server.catalogue().join("images").join(IMAGE);
    let once: u64 = ["payload", "vmlinuz", "initrd"]
        .iter()
        .map(|file| Ok(fs::metadata(folder.join(file))?.len()))
        .sum::<Result<u64>>()?;
    println!("{machines} machines: {:.3} copies over the router, {took:.1?}", crossed / once as f64);
    Ok((crossed / once as f64, took))
}

#[test]
#[ignore = "24 agents on two cores: make test-full"]
fn over_the_router_goes_one_copy() -> Result<()> {
    let (_, one) = over_the_router("router-one", 1)?;
    let (copies, all) = over_the_router("router", 24)?;
    println!("T(24)/T(1): {:.2}", all.as_secs_f64() / one.as_secs_f64());
    ensure!(copies <= 1.15, "{copies:.3} copies went over the router");
    Ok(())
}
