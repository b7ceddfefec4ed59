// SPDX-License-Identifier: GPL-3.0-or-later
//! Every kind of firmware, beside every kind of DHCP server: stock dnsmasq with what `boottorrent setup`
//! writes, Debian's loaders, real firmware. BIOS with iPXE in its ROM is in pxe.rs.

use anyhow::{Context, Result, ensure};
use bootspec::Phase;
use boottorrent_tests::{
    AUTHORITATIVE, BOOT, Background, Cmd, Host, Lab, MULTI_USER, Relay, Server, Vm, VmConfig,
    assets::{IMAGE, Suite, TINY, bootstrap, image, own_initrd_catalogue, tiny},
    dhcp_server, server_binary,
};
use std::{fs, time::Duration};

/// dnsmasq adds what to boot; another server gives the addresses.
const PROXY: [&str; 2] = ["--mode", "proxy"];

/// From shim's last word to the kernel's first, emulated, on a machine that has something else to do as well.
const GRUB: Duration = Duration::from_secs(45);

const SHIM: [&str; 3] = ["shimx64.efi", "grubx64.efi", "grub/grub.cfg"];
const CLOSED: [&str; 4] = [
    "boottorrent/pxelinux.0",
    "boottorrent/ldlinux.c32",
    "boottorrent/pxelinux.cfg/default",
    "boottorrent/ipxe.lkrn",
];
const IPXE: [&str; 2] = ["boottorrent/snponly.efi", "boottorrent/boot.ipxe"];

/// A lab with a server as `boottorrent setup` sets it up, and another DHCP server when that is asked for.
fn in_lab(name: &str, setup: &[&str], test: impl FnOnce(&Lab, &mut Server) -> Result<()>) -> Result<()> {
    let catalogue = tiny(&image(Suite::own()?)?)?;
    let lab = Lab::new(name)?;
    let _other = other_dhcp(&lab, setup)?;
    let mut server = Server::set_up(&lab, &catalogue, setup, &[])?;
    test(&lab, &mut server).with_context(|| format!("the logs are in {}", lab.dir().display()))?;
    server.check()
}

fn other_dhcp(lab: &Lab, setup: &[&str]) -> Result<Option<(Background, Host)>> {
    if !setup.contains(&"proxy") {
        return Ok(None);
    }
    // GRUB asks the server that DHCP's own answer names: docs/network.md.
    let next_server = format!("--dhcp-boot=,,{}", Lab::SERVER);
    let more = if setup.contains(&"--secure-boot") { vec![next_server.as_str()] } else { Vec::new() };
    let host = lab.host("dhcp")?;
    Ok(Some((dhcp_server(&host, &more)?, host)))
}

/// Wait for the root; look at the command line, at what the server knows, and at which files were
/// fetched by TFTP in which order. What the machine says of itself.
fn boots(server: &Server, vm: &mut Vm, fetched: &[&str]) -> Result<String> {
    vm.expect(TINY, BOOT)?;
    let up = vm.started().elapsed();
    vm.login()?;
    let said = vm.sh("cat /proc/cmdline; ls /sys/firmware; ip -o -4 addr; ip route")?;
    let client = server.client(vm.mac())?;
    ensure!(client.phase == Phase::Seed, "{client:#?}");
    let log = server.dnsmasq_log();
    let sent: Vec<&str> = log
        .lines()
        .filter_map(|l| l.split_once(" sent ")?.1.split_once("/tftp/")?.1.split_once(" to "))
        .map(|(file, _)| file)
        .collect();
    println!("{}: root up {:.0} s after power on; by TFTP: {}", vm.name(), up.as_secs_f64(), sent.join(" "));
    let mut rest = sent.iter();
    for file in fetched {
        ensure!(rest.any(|f| f == file), "{file} was not fetched in its turn: {sent:?}");
    }
    Ok(said)
}

fn chain(name: &str, setup: &[&str], machine: VmConfig, fetched: &[&str]) -> Result<()> {
    in_lab(name, setup, |lab, server| {
        let mut vm = machine.start(lab)?;
        let said = boots(server, &mut vm, fetched)?;
        ensure!(said.contains(&bootif(&vm)) && said.contains("efi"), "{said}");
        Ok(())
    })
}

fn bootif(vm: &Vm) -> String {
    format!("BOOTIF=01-{}", vm.mac().replace(':', "-"))
}

#[test]
fn secure_boot_with_shim_and_grub() -> Result<()> {
    secure("secure-boot", &AUTHORITATIVE)
}

#[test]
#[ignore = "two minutes: make test-full"]
fn secure_boot_beside_another_dhcp_server() -> Result<()> {
    secure("secure-proxy", &PROXY)
}

fn secure(name: &str, setup: &[&str]) -> Result<()> {
    in_lab(name, &[setup, &["--secure-boot"]].concat(), |lab, server| {
        let mut vm = Vm::pxe(name).secure_boot().start(lab)?;
        let said = boots(server, &mut vm, &SHIM)?;
        ensure!(said.contains(&bootif(&vm)), "{said}");
        // Not from the console: on a busy host it doubles letters before the kernel's own driver has it.
        let kernel = vm.sh("dmesg | grep -i -e secureboot -e lock")?;
        for line in ["secureboot: Secure boot enabled", "Kernel is locked down from EFI Secure Boot"] {
            ensure!(kernel.contains(line), "the kernel does not say: {line}");
        }
        // What the kernel's EFI stub read from the firmware: 3 is "enabled" (Documentation/arch/x86/zero-page.rst).
        let byte = vm.sh("od -An -tu1 -j 492 -N 1 /sys/kernel/boot_params/data")?;
        ensure!(byte.trim() == "3", "secure_boot is {byte}");
        let lockdown =
            vm.sh("mount -t securityfs s /sys/kernel/security; cat /sys/kernel/security/lockdown")?;
        ensure!(lockdown.contains("[integrity]"), "{lockdown}");
        Ok(())
    })
}

/// GRUB itself asks for the password: at what is locked, and for its command line.
// Tried: a menu with a password, GRUB under Secure Boot | grub-efi-amd64-signed 2.06-13 | on machines
#[test]
#[ignore = "a minute: make test-full"]
fn grubs_menu_with_a_password() -> Result<()> {
    in_lab("grub-menu", &[&AUTHORITATIVE[..], &["--secure-boot"]].concat(), |lab, server| {
        let settings = lab.dir().join("server.toml");
        fs::write(
            &settings,
            format!("[menu]\nlocked = [\"{IMAGE}\"]\ntitles = {{ {IMAGE} = \"Lessons\" }}\n"),
        )?;
        let words = ["-c", "echo opensesame | \"$1\" --dir \"$2\" menu password", "sh"];
        Cmd::new("sh").args(words).arg(server_binary()?).arg(server.catalogue()).run()?;
        let path = settings.display().to_string();
        server.restart(&["--config", &path])?;
        let mut vm = Vm::pxe("grub").secure_boot().start(lab)?;
        let press = |vm: &mut Vm, keys: &str| -> Result<()> {
            std::thread::sleep(Duration::from_secs(2));
            vm.press(keys)
        };
        // Boot, edit, and the command line.
        for keys in ["\r", "e", "c"] {
            vm.expect("Lessons", BOOT)?;
            press(&mut vm, keys)?;
            vm.expect("Enter username", BOOT)?;
            press(&mut vm, "admin\r")?;
            vm.expect("Enter password", BOOT)?;
            press(&mut vm, "wrong\r")?;
            // After a while the menu is there again.
            vm.expect("access denied", BOOT)?;
        }
        ensure!(!vm.console().has("grub>"), "a command line without the password");
        vm.expect("Lessons", BOOT)?;
        press(&mut vm, "\r")?;
        vm.expect("Enter username", BOOT)?;
        press(&mut vm, "admin\r")?;
        vm.expect("Enter password", BOOT)?;
        press(&mut vm, "opensesame\r")?;
        vm.expect(TINY, BOOT).map(drop)
    })
}

/// Trixie's GRUB speaks HTTP: it asks for its machine's own grub.cfg, and TFTP brings nothing more (server.md F1).
// Tried: GRUB that loads over HTTP, under Secure Boot | Debian 13's grub-efi-amd64-signed | on
// machines
#[test]
#[ignore = "a minute, and trixie's packages: make test-full"]
fn secure_boot_with_a_grub_that_speaks_http() -> Result<()> {
    let grub = bootstrap("grub", Suite::Trixie, "grub-efi-amd64-signed")?
        .join("usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed");
    let setup = [&AUTHORITATIVE[..], &["--secure-boot"]].concat();
    in_lab("secure-http", &setup, |lab, server| {
        fs::copy(grub, lab.dir().join("tftp/grubx64.efi")).context("putting trixie's GRUB into its place")?;
        let machine = Vm::pxe("secure").secure_boot();
        let mut vm = machine.start(lab)?;
        server.boottorrent(&["host", "set", vm.mac(), "--param", "lab.own=yes", "--name", "desk-1"])?;
        let began = vm.expect("Fetching Netboot Image grubx64.efi", BOOT)?.at;
        let started = vm.expect("Linux version", BOOT)?.at;
        let took = started - began;
        println!("from GRUB to the kernel: {:.1} s", took.as_secs_f64());
        let said = boots(server, &mut vm, &SHIM)?;
        ensure!(
            said.contains("lab.own=yes")
                && said.contains("boottorrent.hostname=desk-1")
                && said.contains(&bootif(&vm)),
            "{said}"
        );
        let by_tftp = server.dnsmasq_log();
        ensure!(!by_tftp.contains("vmlinuz") && !by_tftp.contains("initrd"), "{by_tftp}");
        // 135 s before GRUB's questions were answered as it reads them; about as long as the files take since.
        ensure!(took < GRUB, "{took:?}");
        Ok(())
    })
}

/// The same GRUB is sent an initrd that the server makes, with the usual drivers: it cannot tell its card.
#[test]
#[ignore = "a boot under UEFI, and trixie's packages: make test-full"]
fn secure_boot_with_the_servers_initrd() -> Result<()> {
    let grub = bootstrap("grub", Suite::Trixie, "grub-efi-amd64-signed")?
        .join("usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed");
    let lab = Lab::new("secure-own")?;
    let setup = [&AUTHORITATIVE[..], &["--secure-boot"]].concat();
    let catalogue = own_initrd_catalogue(&image(Suite::own()?)?)?;
    let mut server = Server::set_up(&lab, &catalogue, &setup, &[])?;
    fs::copy(grub, lab.dir().join("tftp/grubx64.efi")).context("putting trixie's GRUB into its place")?;
    let mut vm = Vm::pxe("secure").secure_boot().start(&lab)?;
    vm.expect(MULTI_USER, BOOT)?;
    let client = server.client(vm.mac())?;
    ensure!(client.phase == Phase::Seed, "{client:#?}");
    let log = fs::read_to_string(lab.dir().join("serve-1.log"))?;
    ensure!(log.matches("/own").count() == 1 && !log.contains("/initrd"), "{log}");
    let by_tftp = server.dnsmasq_log();
    ensure!(!by_tftp.contains("/initrd"), "{by_tftp}");
    server.check()
}

/// Whoever answers first on the network can offer another kernel; it does not start.
#[test]
fn secure_boot_starts_no_kernel_that_nobody_signed() -> Result<()> {
    let setup = [&AUTHORITATIVE[..], &["--secure-boot"]].concat();
    in_lab("unsigned", &setup, |lab, server| {
        let kernel = server.catalogue().join("images").join(IMAGE).join("vmlinuz");
        let mut bytes = fs::read(&kernel)?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        // Another file: this one is in other labs as well.
        fs::remove_file(&kernel)?;
        fs::write(&kernel, bytes)?;
        let mut vm = Vm::pxe("unsigned").secure_boot().start(lab)?;
        vm.expect("bad shim signature", BOOT)?;
        vm.expect("BootTorrent: nothing was booted from", Duration::from_secs(30))?;
        ensure!(!vm.console().has("Linux version"), "a kernel has started");
        Ok(())
    })
}

#[test]
#[ignore = "two minutes, and snponly.efi takes the same way beside another DHCP server: make test-full"]
fn uefi_with_ipxe_of_ours() -> Result<()> {
    chain("uefi", &AUTHORITATIVE, Vm::pxe("uefi").uefi(), &IPXE)
}

#[test]
#[ignore = "two minutes: make test-full"]
fn uefi_beside_another_dhcp_server() -> Result<()> {
    chain("uefi-proxy", &PROXY, Vm::pxe("uefi").uefi(), &IPXE)
}

/// The firmware's PXE gets no answer, so that it goes on to HTTP; the iPXE that it fetches gets one.
#[test]
#[ignore = "three minutes: make test-full"]
fn uefi_http_boot() -> Result<()> {
    in_lab("uefi-http", &AUTHORITATIVE, |lab, server| {
        server.dnsmasq_with(|line| match line {
            "dhcp-authoritative" => Some("dhcp-ignore=tag:bt-efi,tag:!bt-ipxe".into()),
            line => Some(line.into()),
        })?;
        let mut vm = Vm::pxe("http").uefi().start(lab)?;
        let said = boots(server, &mut vm, &["boottorrent/boot.ipxe"])?;
        ensure!(said.contains(&bootif(&vm)), "{said}");
        ensure!(vm.console().has("Start HTTP Boot over IPv4"), "it was no HTTP boot");
        ensure!(!server.dnsmasq_log().contains("snponly.efi to"), "the loader came by TFTP");
        Ok(())
    })
}

/// QEMU's ROM is an iPXE itself, and no other is free. Its first request is taken for one of plain PXE:
/// dnsmasq does not see what iPXE says of itself (option 175), until undionly.kpxe is fetched. That
/// runs on the ROM's UNDI, and its own request meets what `setup` wrote, unchanged.
fn undionly(name: &str, setup: &[&str]) -> Result<()> {
    in_lab(name, setup, |lab, server| {
        server.dnsmasq_with(|line| (!line.contains(",175,")).then(|| line.into()))?;
        let mut vm = Vm::pxe("bios").start(lab)?;
        server.sent("undionly.kpxe", Duration::from_secs(120))?;
        server.dnsmasq_with(|line| Some(line.into()))?;
        let said = boots(server, &mut vm, &["boottorrent/undionly.kpxe", "boottorrent/boot.ipxe"])?;
        ensure!(said.contains(&bootif(&vm)) && !said.contains("efi"), "{said}");
        Ok(())
    })
}

#[test]
fn bios_with_undionly_beside_another_dhcp_server() -> Result<()> {
    undionly("undionly-proxy", &PROXY)
}

#[test]
#[ignore = "a minute, and the harder way is always run: make test-full"]
fn bios_with_undionly() -> Result<()> {
    undionly("undionly", &AUTHORITATIVE)
}

/// What iPXE's shell says, and its banner's offer of one.
const SHELL: &str = "iPXE>";
const OFFER: &str = "Press Ctrl-B for the iPXE command line";

/// Somebody presses Ctrl-B on a BIOS machine without end, from its loader's first file until it stands in the menu.
/// Whether iPXE gave a shell.
fn presses_ctrl_b(server: &mut Server, vm: &mut Vm, loader: &str) -> Result<bool> {
    server.dnsmasq_with(|line| (!line.contains(",175,")).then(|| line.into()))?;
    server.sent(loader, Duration::from_secs(120))?;
    for _ in 0..900 {
        vm.press("\x02")?;
        std::thread::sleep(Duration::from_millis(200));
        if vm.console().has(SHELL) {
            return Ok(true);
        }
        if vm.console().has("Leave, and boot") {
            return Ok(false);
        }
    }
    anyhow::bail!("{} came neither to a shell nor to the menu", vm.name())
}

/// Where the menu gives no shell, iPXE's banner does not either: not before the menu, and not after it.
// Tried: Ctrl-B at iPXE's banner, where the menu gives no shell, BIOS | PXELINUX 6.04, ipxe.lkrn
// 1.0.0+git-20190125 | on machines
#[test]
fn bios_without_a_shell() -> Result<()> {
    without_a_shell("no-shell", &PROXY, |server, vm| {
        vm.press("\r")?;
        let said = boots(server, vm, &CLOSED)?;
        ensure!(said.contains(&bootif(vm)) && !said.contains("efi"), "{said}");
        Ok(())
    })
}

#[test]
#[ignore = "half a minute, and the harder way is always run: make test-full"]
fn bios_without_a_shell_that_leaves_the_menu() -> Result<()> {
    without_a_shell("no-shell-left", &AUTHORITATIVE, |_, vm| {
        // It is drawn, and then it reads; under the image there is the disk, and then this.
        for keys in ["\x1b[B", "\x1b[B", "\r"] {
            std::thread::sleep(Duration::from_secs(2));
            vm.press(keys)?;
        }
        for _ in 0..20 {
            vm.press("\x02")?;
            std::thread::sleep(Duration::from_millis(200));
        }
        vm.expect("Boot failed", Duration::from_secs(60)).map(drop)
    })
}

fn without_a_shell(
    name: &str,
    setup: &[&str],
    then: impl FnOnce(&mut Server, &mut Vm) -> Result<()>,
) -> Result<()> {
    locked(name, setup, "shell = false", |server, vm| {
        ensure!(!presses_ctrl_b(server, vm, "ipxe.lkrn")?, "a shell without a password");
        then(server, vm)?;
        ensure!(!vm.console().has(SHELL), "a shell without a password");
        // QEMU's own ROM is an iPXE too.
        let offers = vm.console().lines().iter().filter(|l| l.text.contains(OFFER)).count();
        ensure!(offers == 1, "a shell was offered {offers} times");
        Ok(())
    })
}

/// That the test above can fail: with undionly.kpxe there is a shell.
#[test]
#[ignore = "half a minute, of a loader that is not closed: make test-full"]
fn bios_with_a_shell() -> Result<()> {
    locked("shell", &AUTHORITATIVE, "shell = true", |server, vm| {
        ensure!(presses_ctrl_b(server, vm, "undionly.kpxe")?, "no shell");
        Ok(())
    })
}

/// A machine with a BIOS, where `[menu]` says this and there is a menu.
fn locked(
    name: &str,
    setup: &[&str],
    menu: &str,
    test: impl FnOnce(&mut Server, &mut Vm) -> Result<()>,
) -> Result<()> {
    let catalogue = tiny(&image(Suite::own()?)?)?;
    let lab = Lab::new(name)?;
    let settings = lab.dir().join("server.toml");
    fs::write(&settings, format!("[boot]\ntimeout = \"1m\"\n[menu]\n{menu}\n"))?;
    let config = settings.display().to_string();
    let setup = [setup, &["--config", &config]].concat();
    let _other = other_dhcp(&lab, &setup)?;
    let mut server = Server::set_up(&lab, &catalogue, &setup, &["--config", &config])?;
    server.boottorrent(&["entry", "add", "disk", "--local"])?;
    let mut vm = Vm::pxe("bios").start(&lab)?;
    test(&mut server, &mut vm).with_context(|| format!("the logs are in {}", lab.dir().display()))?;
    server.check()
}

/// A machine behind a router: its relay names the DHCP server and the machine with dnsmasq (docs/network.md).
// Tried: DHCP relay (`dhcp-relay=`) in front of a DHCP server and of dnsmasq as proxy | dnsmasq 2.90 |
// on machines
#[test]
#[ignore = "a minute: make test-full"]
fn behind_a_relay() -> Result<()> {
    let catalogue = tiny(&image(Suite::own()?)?)?;
    let lab = Lab::new("relay")?;
    let test = || -> Result<()> {
        let other = lab.host("dhcp")?;
        let _relay = Relay::new(&lab, &[&other, lab.server()])?;
        let _other = dhcp_server(&other, &["--dhcp-range=10.78.0.100,10.78.0.200,255.255.255.0,12h"])?;
        let mut server = Server::set_up(&lab, &catalogue, &PROXY, &[])?;
        server.dnsmasq_with(|line| match line {
            "dhcp-range=10.77.0.0,proxy,255.255.255.0" => {
                Some(format!("{line}\ndhcp-range=10.78.0.0,proxy,255.255.255.0"))
            }
            line => Some(line.into()),
        })?;
        let (mut bios, mut uefi) = (
            Vm::pxe("far-bios").behind_relay().start(&lab)?,
            Vm::pxe("far-uefi").behind_relay().uefi().start(&lab)?,
        );
        let said = boots(&server, &mut bios, &["boottorrent/boot.ipxe"])?;
        ensure!(said.contains("10.78.0.") && said.contains("via 10.78.0.1"), "{said}");
        let said = boots(&server, &mut uefi, &IPXE)?;
        ensure!(said.contains("10.78.0.") && said.contains("efi"), "{said}");
        server.check()
    };
    test().with_context(|| format!("the logs are in {}", lab.dir().display()))
}

/// What stands on the kernel command line, or happens to the cable; side by side.
#[test]
#[ignore = "two minutes: make test-full"]
fn addresses_cards_and_cables() -> Result<()> {
    in_lab("conditions", &AUTHORITATIVE, |lab, server| {
        let image = image(Suite::own()?)?;
        let direct = |name: &str, more: &str| {
            let append = format!(
                "{} boot=boottorrent boottorrent.server={} boottorrent.image={} {more}",
                boottorrent_tests::assets::APPEND,
                Lab::SERVER,
                boottorrent_tests::assets::IMAGE
            );
            Vm::direct(name, &image.kernel(), &image.initrd(), &append)
        };
        let mut fixed = direct("static", "ip=10.77.0.60::10.77.0.1:255.255.255.0:still::off").start(lab)?;
        // BOOTIF says which card it is: the other one is left alone.
        let mut two = Vm::pxe("two-cards").spare_card().start(lab)?;
        // A trunk port: untagged there is nobody.
        let mut tagged = direct("tagged", "ip=dhcp BOOTIF=${mac} vlan=vlan20:BOOTIF").trunk(20).start(lab)?;
        // The switch lets nothing through for 20 s, as with spanning tree.
        let mut late = direct("late", "ip=dhcp").start(lab)?;
        late.cable(false)?;
        late.expect("Waiting up to 180 secs", BOOT)?;
        std::thread::sleep(Duration::from_secs(20));
        late.cable(true)?;
        let said = boots(server, &mut late, &[])?;
        ensure!(
            late.console().has("link becomes ready") || late.console().has("no response after"),
            "{said}"
        );
        let said = boots(server, &mut two, &[])?;
        ensure!(said.contains(&bootif(&two)), "{said}");
        let cards = two.sh("ls /sys/class/net; ip -o -4 addr")?;
        ensure!(cards.matches("ens").count() >= 3 && cards.matches("10.77.0.").count() >= 1, "{cards}");
        let said = boots(server, &mut tagged, &[])?;
        ensure!(said.contains("vlan=vlan20:BOOTIF"), "{said}");
        let cards = tagged.sh("cat /proc/net/vlan/config; ip -o -4 addr")?;
        ensure!(
            cards.contains("vlan20")
                && cards.contains("| 20 ")
                && cards.contains(": vlan20    inet 10.77.0."),
            "{cards}"
        );
        let said = boots(server, &mut fixed, &[])?;
        ensure!(said.contains("10.77.0.60/24") && said.contains("default via 10.77.0.1"), "{said}");
        Ok(())
    })
}
