// SPDX-License-Identifier: GPL-3.0-or-later
//! Machines with 64-bit ARM, from their own firmware to Debian, beside machines with x86.

use anyhow::{Context, Result, ensure};
use bootspec::Phase;
use boottorrent_tests::{
    AUTHORITATIVE, BOOT, Lab, MULTI_USER, Server, Vm,
    assets::{ARM64, IMAGE, TINY, arm64_agent, arm64_catalogue, arm64_loaders},
};
use std::fs;

/// The server says what an arm64 machine gets: GRUB, an initrd that is made for it, and no image of x86.
// Tried: bare root of Debian 13 for arm64, by UEFI (AAVMF) and a GRUB that loads over HTTP, to multi-user | mmdebstrap 1.3.5, Debian
// 13's grub-efi-arm64-signed, qemu-efi-aarch64 | on machines
#[test]
#[ignore = "packages and an agent of another architecture, and five minutes of emulation: make test-full"]
fn arm_and_x86_boot_from_one_server() -> Result<()> {
    arm64_agent()?;
    let catalogue = arm64_catalogue()?;
    let lab = Lab::new("arm64")?;
    let lib = arm64_loaders(lab.dir())?.display().to_string();
    let setup = [&AUTHORITATIVE[..], &["--lib-dir", &lib]].concat();
    let mut server = Server::set_up(&lab, &catalogue, &setup, &[])?;
    let shown = server.boottorrent(&["image", "show", ARM64])?;
    ensure!(shown.contains(" for arm64"), "{shown}");
    let menus = server.boottorrent(&["menu", "show"])?;
    let only = |name: &str| format!("no menu: machines boot '{name}'");
    ensure!(menus.contains(&format!("{}\n\narm64 machines:\n{}", only(IMAGE), only(ARM64))), "{menus}");

    // With one image for each kind of machine, there is nothing to ask.
    Vm::pxe("x86").start(&lab)?.expect(TINY, BOOT)?;
    let mut arm = Vm::pxe("arm").arm64().start(&lab)?;
    let mounted = arm.expect("boottorrent: root mounted", BOOT)?.at;
    let up = arm.expect(MULTI_USER, BOOT)?.at;
    println!("root mounted after {:.0} s, multi-user after {:.0} s", mounted.as_secs_f64(), up.as_secs_f64());
    let client = server.client(arm.mac())?;
    ensure!(client.phase == Phase::Seed && client.image.as_deref() == Some(ARM64), "{client:#?}");
    let by_tftp = server.dnsmasq_log();
    for file in ["grubaa64.efi", "grub/grub.cfg"] {
        let sent = by_tftp.lines().any(|l| l.contains(" sent ") && l.contains(&format!("/tftp/{file} ")));
        ensure!(sent, "{file} was not fetched by TFTP: {by_tftp}");
    }
    let log = fs::read_to_string(lab.dir().join("serve-1.log"))?;
    ensure!(log.contains(&format!("asks for {ARM64}/own")), "{log}");

    // What it cannot boot, it is told, and does not fetch.
    server.boottorrent(&["host", "set", arm.mac(), "--image", IMAGE])?;
    let mac = arm.mac().to_owned();
    drop(arm);
    let mut arm = Vm::pxe("arm-again").arm64().mac_of(&mac).start(&lab)?;
    arm.expect(&format!("{IMAGE} is for amd64, and this machine is arm64"), BOOT)?;
    server.check().with_context(|| format!("the logs are in {}", lab.dir().display()))
}
