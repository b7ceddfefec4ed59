// SPDX-License-Identifier: GPL-3.0-or-later
//! Disk images that other people's programs make, unchanged: machines boot them with an initrd that the server makes.

use anyhow::{Result, ensure};
use bootspec::Phase;
use boottorrent_tests::{
    BOOT, Lab, Server, Vm,
    assets::{BUILT_PASSWORD, Builder},
    lives_on,
};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);

/// A unified kernel image on the EFI system partition, and no kernel in /boot.
// Tried: disk image (GPT, kernel in a unified kernel image only), BIOS and UEFI, to multi-user | mkosi
// 25.3 in a Debian 13 root, systemd-ukify 257 | on machines
#[test]
#[ignore = "mkosi and two boots take six minutes: make test-full"]
fn a_disk_by_mkosi_boots_to_multi_user() -> Result<()> {
    boots(Builder::Mkosi, "is a unified kernel image; its kernel parameters: console=ttyS0")
}

/// MBR, ext4, GRUB for a BIOS, an initrd by initramfs-tools without our hook.
// Tried: disk image (MBR, GRUB), by the example configuration of fai-doc, BIOS and UEFI, to multi-user
// | fai-diskimage 6.0.3 | on machines
#[test]
#[ignore = "fai-diskimage and two boots take six minutes: make test-full"]
fn a_disk_by_fai_boots_to_multi_user() -> Result<()> {
    boots(Builder::Fai, "is not made with our hook, so machines are sent one that this server makes")
}

fn boots(builder: Builder, told: &str) -> Result<()> {
    let lab = Lab::new(&format!("built-{builder:?}").to_lowercase())?;
    let catalogue = builder.catalogue()?;
    let said = std::fs::read_to_string(catalogue.join("said"))?;
    ensure!(said.contains(told) && said.contains("initrd made by this server"), "{said}");
    let mut server = Server::of(&lab, &catalogue, &["--up", "40MB/s"])?;
    let machines = [Vm::pxe("bios").memory(2560), Vm::pxe("uefi").memory(2560).uefi()];
    let mut machines = machines.map(|vm| vm.start(&lab)).into_iter().collect::<Result<Vec<_>>>()?;
    for vm in &mut machines {
        let mounted = vm.expect("boottorrent: root mounted", BOOT)?;
        println!("{}: {:.0?} {}", vm.name(), mounted.at, mounted.text);
        vm.expect(" login:", BOOT)?;
        vm.send_line("root")?;
        vm.expect("Password:", SOON)?;
        vm.send_line(BUILT_PASSWORD)?;
        vm.login()?;
        let reached =
            vm.sh("systemctl is-system-running --wait >&2; systemctl is-active multi-user.target")?;
        ensure!(reached.ends_with("active"), "{reached}");
        let lower = vm.sh("grep ' /run/boottorrent/lower ' /proc/self/mounts")?;
        ensure!(lower.starts_with("/dev/loop") && lower.contains(" ext4 ro"), "{lower}");
        let client = server.client(vm.mac())?;
        ensure!(client.phase == Phase::Seed, "{client:#?}");
        lives_on(vm)?;
    }
    server.check()
}
