// SPDX-License-Identifier: GPL-3.0-or-later
//! Every kind of firmware, beside every kind of DHCP server: stock dnsmasq with what `boottorrent setup`
//! writes, Debian's loaders, real firmware. BIOS with iPXE in its ROM is in pxe.rs.

use anyhow::{Result, ensure};
use bootspec::Phase;
use boottorrent_tests::{
    AUTHORITATIVE, BOOT, Lab, Server, Vm, VmConfig,
    assets::{Suite, TINY, image, tiny},
    dhcp_server,
};

/// dnsmasq adds what to boot; another server gives the addresses.
const PROXY: [&str; 2] = ["--mode", "proxy"];

/// Boot one machine and look at which files it fetched by TFTP, in that order.
fn boots(name: &str, setup: &[&str], machine: VmConfig, fetched: &[&str]) -> Result<(Vec<String>, String)> {
    let catalogue = tiny(&image(Suite::own()?)?)?;
    let lab = Lab::new(name)?;
    let other = lab.host("dhcp")?;
    // GRUB asks the server that DHCP's own answer names.
    let next_server = format!("--dhcp-boot=,,{}", Lab::SERVER);
    let mut more = Vec::new();
    if setup.contains(&"--secure-boot") {
        more.push(next_server.as_str());
    }
    let _dhcp = if setup.contains(&"proxy") { Some(dhcp_server(&other, &more)?) } else { None };
    let mut server = Server::set_up(&lab, &catalogue, setup, &[])?;
    let mut vm = machine.start(&lab)?;
    vm.expect(TINY, BOOT)?;
    let up = vm.started().elapsed();
    vm.login()?;
    let said = vm.sh("cat /proc/cmdline; ls /sys/firmware; ip -o -4 addr")?;
    let client = server.client(vm.mac())?;
    ensure!(client.phase == Phase::Seed, "{client:#?}");
    ensure!(said.contains(&format!("BOOTIF=01-{}", vm.mac().replace(':', "-"))), "{said}");
    let log = server.dnsmasq_log();
    let sent: Vec<String> = log
        .lines()
        .filter_map(|l| l.split_once(" sent ")?.1.split_once("/tftp/")?.1.split_once(" to "))
        .map(|(file, _)| file.to_owned())
        .collect();
    println!("{name}: root up {:.0} s after power on; by TFTP: {}", up.as_secs_f64(), sent.join(" "));
    let mut rest = sent.iter();
    for file in fetched {
        ensure!(rest.any(|f| f == file), "{file} was not fetched in its turn: {sent:?}");
    }
    server.check()?;
    let console = vm.console().lines().into_iter().map(|l| l.text).collect();
    Ok((console, said))
}

#[test]
fn secure_boot_with_shim_and_grub() -> Result<()> {
    let setup = [&AUTHORITATIVE[..], &["--secure-boot"]].concat();
    let machine = Vm::pxe("secure").secure_boot();
    let (console, said) =
        boots("secure-boot", &setup, machine, &["shimx64.efi", "grubx64.efi", "grub/grub.cfg"])?;
    ensure!(said.contains("efi"), "{said}");
    let has = |text: &str| console.iter().any(|l| l.contains(text));
    ensure!(has("secureboot: Secure boot enabled"), "the kernel does not say that Secure Boot is on");
    ensure!(has("Kernel is locked down from EFI Secure Boot"), "the kernel is not locked down");
    Ok(())
}

#[test]
fn uefi_with_ipxe_of_ours() -> Result<()> {
    let fetched = ["boottorrent/snponly.efi", "boottorrent/boot.ipxe"];
    let (_, said) = boots("uefi", &AUTHORITATIVE, Vm::pxe("uefi").uefi(), &fetched)?;
    ensure!(said.contains("efi"), "{said}");
    Ok(())
}

#[test]
fn uefi_beside_another_dhcp_server() -> Result<()> {
    let fetched = ["boottorrent/snponly.efi", "boottorrent/boot.ipxe"];
    boots("uefi-proxy", &PROXY, Vm::pxe("uefi").uefi(), &fetched).map(drop)
}

#[test]
fn secure_boot_beside_another_dhcp_server() -> Result<()> {
    let setup = [&PROXY[..], &["--secure-boot"]].concat();
    boots(
        "secure-proxy",
        &setup,
        Vm::pxe("secure").secure_boot(),
        &["shimx64.efi", "grubx64.efi", "grub/grub.cfg"],
    )
    .map(drop)
}
