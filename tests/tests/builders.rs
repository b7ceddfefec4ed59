// SPDX-License-Identifier: GPL-3.0-or-later
//! Images that other people's programs make, unchanged: machines boot them with an initrd that the server makes.

use anyhow::{Context, Result, ensure};
use bootspec::Phase;
use boottorrent_tests::{
    BOOT, Lab, MULTI_USER, Server, Vm,
    assets::{BUILT_PASSWORD, Builder, copy_catalogue, desktop},
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

/// MBR and ext4, without a boot loader.
// Tried: disk image (MBR, no boot loader), BIOS and UEFI, to multi-user | vmdb2 0.26 | on machines
#[test]
#[ignore = "vmdb2 and two boots take eight minutes: make test-full"]
fn a_disk_by_vmdb2_boots_to_multi_user() -> Result<()> {
    boots(Builder::Vmdb2, "is not made with our hook, so machines are sent one that this server makes")
}

/// qcow2; what Packer's provisioner did is on the machine.
// Tried: disk image (qcow2), from FAI's disk over SSH, BIOS and UEFI, to multi-user | Packer 1.6.6 with its QEMU builder | on
// machines
#[test]
#[ignore = "fai-diskimage, a boot for Packer and two for us take ten minutes: make test-full"]
fn a_disk_by_packer_boots_to_multi_user() -> Result<()> {
    boots(Builder::Packer, "is not made with our hook, so machines are sent one that this server makes")
}

/// A tarball of a root with cloud-init, which finds what the machine's files say (NoCloud).
// Tried: tarball of a root with cloud-init 22.4, whose NoCloud seed is among the machine's files | debos 1.1.1
// | on machines
#[test]
#[ignore = "debos and a boot take five minutes: make test-full"]
fn a_root_by_debos_is_set_up_by_cloud_init() -> Result<()> {
    let lab = Lab::new("built-debos")?;
    let catalogue = lab.dir().join("catalogue");
    copy_catalogue(&Builder::Debos.catalogue()?, &catalogue)?;
    let mut server = Server::of(&lab, &catalogue, &["--up", "40MB/s"])?;
    let given = lab.dir().join("given");
    for (path, text) in [
        (
            "var/lib/cloud/seed/nocloud/meta-data.bt-template",
            "instance-id: {{name}}\nlocal-hostname: {{name}}\n",
        ),
        (
            "var/lib/cloud/seed/nocloud/user-data",
            "#cloud-config\nlocale: false\nwrite_files:\n- path: /etc/greeting\n  content: good morning\n",
        ),
        ("etc/cloud/cloud.cfg.d/99-network.cfg", "network: {config: disabled}\n"),
    ] {
        let path = given.join(path);
        std::fs::create_dir_all(path.parent().context("a folder")?)?;
        std::fs::write(path, text)?;
    }
    let vm = Vm::pxe("pc1").memory(2560);
    let mac = "52:54:00:77:c1:01";
    server.boottorrent(&["host", "set", mac, "--name", "pc1", "--files", &given.to_string_lossy()])?;
    let mut vm = vm.mac_of(mac).start(&lab)?;
    vm.expect("boottorrent: root mounted", BOOT)?;
    vm.expect(" login:", BOOT)?;
    vm.send_line("root")?;
    vm.expect("Password:", SOON)?;
    vm.send_line(BUILT_PASSWORD)?;
    vm.login()?;
    let said =
        vm.sh("cloud-init status --wait; hostname; cat /etc/greeting; cloud-init query instance_id")?;
    ensure!(said.ends_with("status: done\npc1\ngood morningpc1"), "{said}");
    lives_on(&mut vm)?;
    server.check()
}

/// From mmdebstrap to the greeter on the screen.
// Tried: root with Xfce 4.18, LightDM and NetworkManager, to the login on its screen | mmdebstrap 1.3.5 | on
// machines
#[test]
#[ignore = "a desktop is large, and slow to start without KVM: make test-full"]
fn a_desktop_shows_its_login() -> Result<()> {
    let lab = Lab::new("desktop")?;
    let mut server = Server::of(&lab, &desktop()?, &["--up", "60MB/s"])?;
    let mut vm = Vm::pxe("desk").memory(3072).screen().start(&lab)?;
    vm.expect("boottorrent: root mounted", BOOT)?;
    vm.expect(MULTI_USER, BOOT)?;
    vm.login()?;
    vm.sh("for i in $(seq 100); do pgrep -f lightdm-gtk-greeter >/dev/null && break; sleep 1; done; pgrep -f lightdm-gtk-greeter")?;
    let network = vm.sh("nmcli -t -f STATE general; systemctl is-active display-manager")?;
    ensure!(network == "connected\nactive", "{network}");
    // A picture, and not a console or one colour: the greeter's background, dialog and letters.
    let colours = (0..60).map(|_| {
        std::thread::sleep(Duration::from_secs(2));
        let picture = std::fs::read(vm.screenshot()?)?;
        let pixels = picture.chunks_exact(3).collect::<std::collections::HashSet<_>>();
        Ok::<_, anyhow::Error>(pixels.len())
    });
    let most = colours.map(|c| c.unwrap_or(0)).find(|c| *c > 100);
    ensure!(most.is_some(), "the screen shows no greeter: {}", lab.dir().join("desk.ppm").display());
    lives_on(&mut vm)?;
    server.check()
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
        let by = vm.sh("cat /etc/made-by; true")?;
        ensure!((builder == Builder::Packer) == (by == "packer"), "{by}");
        lives_on(vm)?;
    }
    server.check()
}
