// SPDX-License-Identifier: GPL-3.0-or-later
//! The whole chain, nothing faked: stock dnsmasq, iPXE, HTTP, the agent, the
//! swarm, systemd. Three machines together, then a fourth without a seeder.

use anyhow::{Context, Result, ensure};
use bootspec::Phase;
use boottorrent_tests::{
    BOOT, Client, Lab, MULTI_USER, Server, Vm,
    assets::{IMAGE, Suite, image},
    little_memory,
};

#[test]
fn three_machines_help_each_other_and_then_a_fourth() -> Result<()> {
    scenario("pxe", Suite::own()?)
}

#[test]
#[ignore = "five minutes for what hooks.rs shows with one machine: make test-full"]
fn the_same_with_the_other_releases() -> Result<()> {
    let own = Suite::own()?;
    Suite::ALL.into_iter().filter(|s| *s != own).try_for_each(|s| scenario("pxe-other", s))
}

fn scenario(name: &str, suite: Suite) -> Result<()> {
    let image = image(suite)?;
    let lab = Lab::new(name)?;
    // Narrow, as a server's link is for a room: else it is quicker than emulated machines on a busy host are to each other.
    let mut server = Server::start(&lab, &image, &["--up", "8MB/s"])?;

    let mut machines = ["one", "two", "three"]
        .map(|name| Vm::pxe(name).start(&lab))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    for vm in &mut machines {
        vm.expect(MULTI_USER, BOOT)?;
    }
    let clients = machines.iter().map(|vm| server.client(vm.mac())).collect::<Result<Vec<_>>>()?;
    let received: u64 = clients.iter().map(|c| c.progress.received()).sum();
    let from_peers: u64 = clients.iter().map(|c| c.progress.from_peers).sum();
    println!("received {received} bytes, {from_peers} of them from other machines");
    ensure!(from_peers * 3 >= received, "less than a third came from other machines: {clients:#?}");
    for (vm, client) in machines.iter_mut().zip(&clients) {
        looks_right(vm, client)?;
    }

    // Tracker and boot files stay; neither the seeder nor the payload is there any more.
    server.restart(&["--no-seed", "--no-payload"])?;
    let mut fourth = Vm::pxe("four").start(&lab)?;
    fourth.expect(MULTI_USER, BOOT)?;
    let client = server.client(fourth.mac())?;
    println!("the fourth: {:?}", client.progress);
    ensure!(client.progress.from_server == 0 && client.progress.from_http == 0, "{client:#?}");
    ensure!(client.progress.from_peers >= client.progress.total, "{client:#?}");
    looks_right(&mut fourth, &client)?;
    its_users_can_look_only(&mut fourth)?;
    server.check()
}

/// Who logs in on a booted machine and is not root sees what the agent says, and can change nothing of the image.
fn its_users_can_look_only(vm: &mut Vm) -> Result<()> {
    let user = "setpriv --reuid=65534 --regid=65534 --clear-groups";
    let status = vm.sh(&format!("{user} /run/boottorrent/boottorrent-agent status | head -n 1"))?;
    ensure!(status.contains(IMAGE), "{status}");
    let files = "/run/boottorrent/store/payload /run/boottorrent/boottorrent-agent $(losetup -n -O NAME)";
    let agent = "$(grep -l ^@boottorrent /proc/[0-9]*/cmdline 2>/dev/null | tr -dc 0-9)";
    let tries = format!(
        "for f in {files}; do (: >>$f) && echo wrote $f; done; kill -9 {agent} && echo killed; \
         umount /run/boottorrent/lower && echo unmounted; losetup -D && echo detached; echo tried"
    );
    let said = vm.sh(&format!("{user} sh -c '{tries}' 2>/dev/null; losetup -a | wc -l"))?;
    ensure!(said == "tried\n1", "{said}");
    Ok(())
}

/// The root is an overlay over the image, and the agent can be asked.
fn looks_right(vm: &mut Vm, client: &Client) -> Result<()> {
    ensure!(client.phase == Phase::Seed, "{client:#?}");
    vm.login()?;
    let root = vm.sh("findmnt -rn -o FSTYPE /; systemctl is-active multi-user.target")?;
    ensure!(root == "overlay\nactive", "{root}");
    let layers = vm.sh("findmnt -rn -o OPTIONS /; losetup -n -O BACK-FILE,RO")?;
    ensure!(layers.contains("lowerdir=/run/boottorrent/lower"), "{layers}");
    ensure!(
        // How many spaces there are between columns depends on the release.
        layers.split_whitespace().collect::<Vec<_>>().ends_with(&["/run/boottorrent/store/payload", "1"]),
        "the lower layer is not the image: {layers}"
    );
    // What must not come from the image: disks, identity, name. And the name that a systemd initrd spares.
    let fstab = vm.sh("grep -v '^#' /etc/fstab")?;
    ensure!(fstab == "overlay / overlay rw 0 0", "{fstab}");
    let identity = vm.sh("wc -c </etc/machine-id; hostname; grep -c 127.0.1.1 /etc/hosts")?;
    let name = format!("boot-{}", vm.mac().replace(':', "").split_off(6));
    ensure!(identity == format!("33\n{name}\n1"), "{identity}");
    let argv0 = vm.sh("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep '^@'")?;
    ensure!(argv0 == "@boottorrent-agent", "{argv0}");
    let status = vm.sh("/run/boottorrent/boottorrent-agent status --json")?;
    let status: Client = serde_json::from_str(&status).with_context(|| format!("reading {status}"))?;
    ensure!(status.id == vm.mac() && status.phase == Phase::Seed, "{status:#?}");
    let root = status.phases.iter().find(|p| p.phase == Phase::Seed).context("no root")?.at;
    println!("{}: root mounted {root:.1} s after the agent's start", vm.name());
    little_memory(&status)
}
