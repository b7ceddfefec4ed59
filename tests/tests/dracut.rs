// SPDX-License-Identifier: GPL-3.0-or-later
//! Our dracut module, on the real thing: roots of Debian in which dracut made the initrd. The root comes
//! up over the swarm, and the agent seeds on after a systemd initrd has switched to it.

use anyhow::{Result, ensure};
use bootspec::Phase;
use boottorrent_tests::{
    BOOT, Client, Lab, MULTI_USER, Server, Vm,
    assets::{APPEND, IMAGE, Image, Suite, dracut_image},
    lives_on,
};

/// Without anybody naming it, our module is in every initrd that dracut makes where it is installed.
#[test]
fn the_module_is_complete() -> Result<()> {
    complete(Suite::own()?)
}

#[test]
#[ignore = "another root to make: make test-full"]
fn the_module_is_complete_in_other_releases() -> Result<()> {
    let own = Suite::own()?;
    Suite::ALL.into_iter().filter(|s| *s != own).try_for_each(complete)
}

fn complete(suite: Suite) -> Result<()> {
    let image = dracut_image(suite)?;
    let files = image.initrd_files()?;
    let log = std::fs::read_to_string(image.build_log())?;
    // Of our module: others miss programs that a small root has not (pgrep).
    let ours =
        log.lines().find(|l| l.contains("boottorrent") && (l.contains("FAILED") || l.contains("ERROR")));
    ensure!(ours.is_none(), "dracut warned: {ours:?}");
    for file in [
        "bin/boottorrent-agent",
        "lib/boottorrent-lib.sh",
        "lib/boottorrent-url.sh",
        "/50-mount-boottorrent.sh",
    ] {
        ensure!(files.iter().any(|f| f.ends_with(file)), "{file} is not in the initrd: {log}");
    }
    for module in [
        "af_packet",
        "loop",
        "squashfs",
        "erofs",
        "overlay",
        "ext4",
        "isofs",
        "virtio_net",
        "e1000e",
        "r8169",
    ] {
        ensure!(image.has_module(module)?, "module {module} is neither in the initrd nor built in");
    }
    Ok(())
}

/// One machine by PXE, with the command line that our server writes for every image; another beside it as
/// dracut's users write one.
#[test]
#[ignore = "two minutes: make test-full"]
fn a_root_comes_up_and_the_agent_stays() -> Result<()> {
    boots(Suite::own()?)
}

#[test]
#[ignore = "another root to make and to boot: make test-full"]
fn the_same_with_the_other_releases() -> Result<()> {
    let own = Suite::own()?;
    Suite::ALL.into_iter().filter(|s| *s != own).try_for_each(boots)
}

fn boots(suite: Suite) -> Result<()> {
    let image = dracut_image(suite)?;
    let lab = Lab::new(&format!("dracut-{}", suite.as_str()))?;
    let mut server = Server::start(&lab, &image, &["--up", "30MB/s"])?;
    let url = format!("http://{}:6980/images/{IMAGE}/{IMAGE}.torrent", Lab::SERVER);
    // No ip= either: our module knows that it needs the network.
    let append = format!("{APPEND} root=boottorrent:{url}");
    // The first has a card that answers sooner and is not the one it booted from: cases/boot.md 10.
    let mut machines =
        [Vm::pxe("pxe").other_network(), Vm::direct("root", &image.kernel(), &image.initrd(), &append)]
            .map(|vm| vm.start(&lab))
            .into_iter()
            .collect::<Result<Vec<_>>>()?;
    for vm in &mut machines {
        let said = vm.expect(MULTI_USER, BOOT)?;
        println!("{} {}: {:.0?} {}", suite.as_str(), vm.name(), said.at, said.text);
    }
    for vm in &mut machines {
        let client = server.client(vm.mac())?;
        println!("{}: {:?}", vm.name(), client.progress);
        vm.login()?;
        stays(vm, &client)?;
    }
    // By another machine, although the server sends nothing any more: the agents of both do.
    server.restart(&["--no-seed", "--no-payload"])?;
    let append =
        format!("{APPEND} boot=boottorrent boottorrent.server={} boottorrent.image={IMAGE}", Lab::SERVER);
    let mut third = Vm::direct("third", &image.kernel(), &image.initrd(), &append).start(&lab)?;
    third.expect(MULTI_USER, BOOT)?;
    let client = server.client(third.mac())?;
    println!("third: {:?}", client.progress);
    ensure!(
        client.progress.from_peers >= client.progress.total && client.progress.from_server == 0,
        "{client:#?}"
    );
    // dracut 059 calls its livenet where NetworkManager or dhclient is the network, 106 with systemd-networkd too.
    if suite != Suite::Bookworm {
        live(&lab, &image)?;
    }
    server.check()
}

/// dracut's own live system, whose library of downloads calls our agent: a squashfs, under dracut's overlay.
fn live(lab: &Lab, image: &Image) -> Result<()> {
    let url = format!("torrent://{}:6980/images/{IMAGE}/{IMAGE}.torrent", Lab::SERVER);
    let append = format!("{APPEND} root=live:{url} rd.neednet=1 ip=dhcp");
    let mut vm = Vm::direct("live", &image.kernel(), &image.initrd(), &append).start(lab)?;
    vm.expect("the image is /run/boottorrent/image.img: the initrd's own scripts boot it now", BOOT)?;
    vm.expect(MULTI_USER, BOOT)?;
    vm.login()?;
    let root = vm.sh("findmnt -rn -o SOURCE,FSTYPE /; readlink /run/boottorrent/image.img")?;
    ensure!(root.starts_with("LiveOS_rootfs overlay") && root.ends_with("/store/payload"), "{root}");
    vm.sh("/run/boottorrent/boottorrent-agent status").map(drop)
}

/// dracut's systemd kills what is left at switch-root, but not who is called `@…`; and /run is moved.
fn stays(vm: &mut Vm, client: &Client) -> Result<()> {
    ensure!(client.phase == Phase::Seed, "{client:#?}");
    let root = vm.sh("findmnt -rn -o FSTYPE,OPTIONS /; systemctl is-active multi-user.target")?;
    ensure!(root.starts_with("overlay") && root.contains("lowerdir=/run/boottorrent/lower"), "{root}");
    ensure!(root.ends_with("\nactive"), "{root}");
    lives_on(vm)
}
