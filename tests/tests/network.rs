// SPDX-License-Identifier: GPL-3.0-or-later
//! The booted system has a network as if it had booted from disk, whoever looks after it there: names are found, a
//! machine keeps its lease from boot to boot, and while it runs.

use anyhow::{Context, Result, ensure};
use boottorrent_tests::{
    BOOT, Cmd, Lab, MULTI_USER, Server, Vm,
    assets::managed::{Manager, managed},
};
use std::time::{Duration, Instant};

/// dnsmasq's shortest lease.
const LEASE: Duration = Duration::from_secs(120);

// Tried: root with NetworkManager and systemd-resolved | Debian 12's packages | on machines
#[test]
#[ignore = "a root and two boots, five minutes: make test-full"]
fn networkmanager_with_resolved() -> Result<()> {
    scenario(Manager::NetworkManager, true, 2, LEASE / 2)
}

#[test]
#[ignore = "a root and two boots of what other files boot: make test-full"]
fn nobody_with_a_plain_file() -> Result<()> {
    scenario(Manager::Nobody, false, 2, LEASE / 2)
}

// Tried: root with ifupdown and isc-dhcp-client | Debian 12's packages | on machines
#[test]
#[ignore = "two images, three boots and six minutes each: make test-full"]
fn ifupdown_for_longer() -> Result<()> {
    for_longer(Manager::Ifupdown)
}

#[test]
#[ignore = "two images, three boots and six minutes each: make test-full"]
fn networkmanager_for_longer() -> Result<()> {
    for_longer(Manager::NetworkManager)
}

// Tried: root with systemd-networkd | Debian 12's packages | on machines
#[test]
#[ignore = "two images, three boots and six minutes each: make test-full"]
fn networkd_for_longer() -> Result<()> {
    for_longer(Manager::Networkd)
}

#[test]
#[ignore = "two images, three boots and six minutes each: make test-full"]
fn nobody_for_longer() -> Result<()> {
    for_longer(Manager::Nobody)
}

fn for_longer(manager: Manager) -> Result<()> {
    for resolved in [false, true] {
        scenario(manager, resolved, 3, LEASE * 3)
            .with_context(|| format!("{manager:?}, resolved: {resolved}"))?;
    }
    Ok(())
}

/// `boots` of one machine; in the last it is looked at for `long`, and then until its lease was renewed.
fn scenario(manager: Manager, resolved: bool, boots: usize, long: Duration) -> Result<()> {
    let catalogue = managed(manager, resolved)?;
    let name = format!("net-{}-{}", manager.as_str(), if resolved { "resolved" } else { "plain" });
    Server::in_lab(&name, &catalogue, &[], |lab, server| {
        let dns = Cmd::new("dnsmasq").args([
            "--conf-file=/dev/null",
            "--keep-in-foreground",
            "--user=root",
            "--pid-file=",
        ]);
        let dns = dns.args([
            "--no-resolv",
            "--no-hosts",
            "--address=/files.lab.test/10.77.0.9",
            "--log-facility=-",
        ]);
        let _dns = lab.server().spawn("dns", &dns)?;
        server.dnsmasq_with(|line| {
            let options =
                format!("dhcp-option=6,{0}\ndhcp-option=15,lab.test\ndhcp-option=119,lab.test", Lab::SERVER);
            Some(match line.strip_suffix(",12h") {
                Some(range) => format!("{range},2m\n{options}"),
                None => line.to_owned(),
            })
        })?;
        let mut seen: Vec<String> = Vec::new();
        for boot in 0..boots {
            let mut vm =
                Vm::pxe(&format!("boot-{boot}")).memory(1536).mac_of("52:54:00:77:01:01").start(lab)?;
            vm.expect(MULTI_USER, BOOT)?;
            vm.login()?;
            let wait = "for i in $(seq 60); do getent hosts files >/dev/null && break; sleep 1; done";
            let found = vm.sh(&format!("{wait}; getent hosts files.lab.test"))?;
            ensure!(found.starts_with("10.77.0.9"), "boot {boot}: no name was found: {found}");
            if manager == Manager::NetworkManager {
                let state =
                    vm.sh("nmcli -t -f STATE general; nmcli -t -f DEVICE,STATE device | grep ens3")?;
                ensure!(state == "connected\nens3:connected", "boot {boot}: {state}");
            }
            seen.push(vm.sh("cat /etc/machine-id; ip -4 -o addr show ens3 | tr -s ' ' | cut -d' ' -f4")?);
            if boot + 1 == boots {
                stays(&mut vm, server, lab, long, &seen[boot])?;
            }
        }
        ensure!(seen.iter().all(|s| *s == seen[0]), "another identity or address: {seen:?}");
        let leases = std::fs::read_to_string(lab.server().dir().join("dnsmasq.leases"))?;
        ensure!(leases.lines().count() == 1, "one machine has several leases:\n{leases}");
        server.check()
    })
}

/// The address is the machine's, and somebody renews it.
fn stays(vm: &mut Vm, server: &Server, lab: &Lab, long: Duration, identity: &str) -> Result<()> {
    let address = identity.lines().last().unwrap_or_default().to_owned();
    let acks = || server.dnsmasq_log().lines().filter(|l| l.contains("DHCPACK")).count();
    let (begun, before) = (Instant::now(), acks());
    while begun.elapsed() < long || acks() == before {
        ensure!(begun.elapsed() < long + 2 * LEASE, "nobody renews the lease of {address}");
        ensure!(vm.is_on()?, "the machine has ended");
        std::thread::sleep(Duration::from_secs(2));
    }
    let now = vm.sh("ip -4 -o addr show ens3 | tr -s ' ' | cut -d' ' -f4; getent hosts files.lab.test")?;
    ensure!(now.starts_with(&format!("{address}\n10.77.0.9")), "it was {address}: {now}");
    let leases = std::fs::read_to_string(lab.server().dir().join("dnsmasq.leases"))?;
    ensure!(leases.contains(address.split('/').next().unwrap_or_default()), "{leases}");
    Ok(())
}
