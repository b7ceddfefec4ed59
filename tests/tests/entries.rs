// SPDX-License-Identifier: GPL-3.0-or-later
//! Entries that are no images, as Debian's packages have them, on machines with either firmware.

use anyhow::{Context, Result, ensure};
use boottorrent_tests::{
    BOOT, Cmd, Lab, Server, Vm, VmConfig,
    assets::{Suite, image, package, tiny},
    server_binary,
};
use std::{fs, path::Path, time::Duration};

/// Two emulated machines at once, and what they load is small.
const SOON: Duration = Duration::from_secs(180);

fn in_lab(name: &str, test: impl FnOnce(&Lab, &mut Server) -> Result<()>) -> Result<()> {
    Server::in_lab(name, &tiny(&image(Suite::own()?)?)?, &[], test)
}

fn add(server: &Server, words: &[&str], files: &[(&str, &Path)]) -> Result<()> {
    let files: Vec<String> =
        files.iter().flat_map(|(flag, path)| [(*flag).to_owned(), path.display().to_string()]).collect();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    server.boottorrent(&[&["entry", "add"], words, &files].concat()).map(drop)
}

/// A disk whose boot sector says a sentence on the serial line, and no more.
fn talking_disk(path: &Path, sentence: &str) -> Result<()> {
    #[rustfmt::skip]
    let code = [
        0xbe, 0x20, 0x7c, //       mov si, 0x7c20
        0xac,             // next: lodsb
        0x84, 0xc0,       //       test al, al
        0x74, 0x12,       //       jz end
        0x88, 0xc4,       //       mov ah, al
        0xba, 0xfd, 0x03, //       mov dx, 0x3fd
        0xec,             // wait: in al, dx: what iPXE said last may still be on its way
        0xa8, 0x40,       //       test al, 0x40
        0x74, 0xfb,       //       jz wait
        0x88, 0xe0,       //       mov al, ah
        0xba, 0xf8, 0x03, //       mov dx, 0x3f8
        0xee,             //       out dx, al
        0xeb, 0xe9,       //       jmp next
        0xeb, 0xfe,       // end:  jmp end
    ];
    let mut sector = vec![0; 1 << 20];
    sector[..code.len()].copy_from_slice(&code);
    sector[0x20..0x20 + sentence.len()].copy_from_slice(sentence.as_bytes());
    sector[510..512].copy_from_slice(&[0x55, 0xaa]);
    fs::write(path, sector).context("writing a boot sector")
}

fn add_memory_test(server: &Server) -> Result<()> {
    let boot = package("memtest86+")?.join("boot");
    add(
        server,
        &["memtest", "--title", "Memory test", "--append", "console=ttyS0,115200"],
        &[("--kernel", &boot.join("memtest86+x64.bin")), ("--efi", &boot.join("memtest86+x64.efi"))],
    )
}

// Tried: memory test, BIOS and UEFI, as an entry | memtest86+ 6.10 | on machines
#[test]
fn a_memory_test_and_the_local_disk() -> Result<()> {
    in_lab("entries", |lab, server| {
        add_memory_test(server)?;
        add(server, &["disk", "--local"], &[])?;
        server.boottorrent(&["host", "set", "default", "--image", "memtest", "--no-menu"])?;
        let (mut bios, mut uefi) = (Vm::pxe("bios").start(lab)?, Vm::pxe("uefi").uefi().screen().start(lab)?);
        for vm in [&mut bios, &mut uefi] {
            vm.expect("BootTorrent: memtest from 10.77.0.1", SOON)?;
            vm.expect("Memtest86+", SOON).with_context(|| vm.name().to_owned())?;
        }
        drop((bios, uefi));

        let disk = lab.dir().join("disk");
        talking_disk(&disk, "\r\nthis is the local disk\r\n")?;
        let machine = Vm::pxe("local").disk(&disk, "LOCAL");
        let mut vm = machine.start(lab)?;
        server.boottorrent(&["host", "set", vm.mac(), "--once", "disk"])?;
        vm.expect("this is the local disk", SOON)?;
        let said = server.boottorrent(&["host", "list"])?;
        ensure!(!said.lines().any(|l| l.starts_with(vm.mac()) && l.contains("disk")), "for one time: {said}");
        Ok(())
    })
}

const MENU: &str = r#"
[boot]
timeout = "1h"
[menu]
title = "Room 2"
order = ["memtest"]
titles = { lab = "Lessons" }
submenus = [{ title = "Tools", items = ["memtest"] }]
locked = ["memtest"]
"#;
const PASSWORD: &str = "p@ss w:/1#&&$x";
const UP: &str = "\x1b[A";
const DOWN: &str = "\x1b[B";
/// iPXE's prompt.
const PROMPT: &str = "iPXE>";

/// Choose a line of the menu, counted from what starts by itself, and wait for the form.
fn pick(vm: &mut Vm, keys: &str, next: &str) -> Result<()> {
    vm.expect("Leave, and boot", SOON)?;
    // It is drawn, and then it reads.
    std::thread::sleep(Duration::from_secs(1));
    vm.press(keys)?;
    vm.expect(next, SOON).map(drop)
}

/// Fill in the form. A serial line loses what is typed faster than it is read: each letter is seen before the next.
fn login(vm: &mut Vm, password: &str) -> Result<()> {
    std::thread::sleep(Duration::from_secs(1));
    let name = "admin";
    for n in 1..=name.len() {
        vm.press(&name[n - 1..n])?;
        vm.expect(&format!("{}_", &name[..n]), SOON)?;
    }
    vm.press("\t")?;
    for (n, letter) in password.chars().enumerate() {
        vm.press(&letter.to_string())?;
        vm.expect(&format!("{}_", "*".repeat(n + 1)), SOON)?;
    }
    vm.press("\r")
}

// Tried: a menu with a password, BIOS | ipxe 1.0.0+git-20190125 | on machines
#[test]
fn a_menu_with_a_password() -> Result<()> {
    locked_menu("menu", Vm::pxe("bios"))
}

#[test]
#[ignore = "a minute, the same under UEFI: make test-full"]
fn a_menu_with_a_password_under_uefi() -> Result<()> {
    locked_menu("menu-uefi", Vm::pxe("uefi").uefi().screen())
}

/// Title, order, submenus; and without the password there is neither what is locked nor a shell.
fn locked_menu(name: &str, machine: VmConfig) -> Result<()> {
    in_lab(name, |lab, server| {
        add_memory_test(server)?;
        let settings = lab.dir().join("server.toml");
        fs::write(&settings, MENU)?;
        let users = Cmd::new("sh").args([
            "-c",
            "printf '%s\\n' \"$1\" | \"$2\" --dir \"$3\" menu password",
            "sh",
            PASSWORD,
        ]);
        users.arg(server_binary()?).arg(server.catalogue()).run()?;
        let path = settings.display().to_string();
        server.restart(&["--config", &path])?;
        let script = String::from_utf8(server.get("/boot.ipxe")?)?;
        ensure!(!script.contains("memtest86") && !script.contains("\nshell\n"), "{script}");
        through_the_menu(&mut machine.start(lab)?)
    })
}

fn through_the_menu(vm: &mut Vm) -> Result<()> {
    vm.expect("Room 2", SOON)?;
    vm.expect("Tools", SOON)?;
    let (tools, shell) = (format!("{UP}\r"), format!("{DOWN}\r"));
    for keys in [&tools, &shell] {
        match keys == &tools {
            true => {
                pick(vm, keys, "Memory test")?;
                std::thread::sleep(Duration::from_secs(1));
                vm.press("\r")?;
                vm.expect("Password", SOON)?;
            }
            false => pick(vm, keys, "Password")?,
        }
        login(vm, "wrong")?;
        vm.expect("wrong user name or password", SOON)?;
        vm.press(" ")?;
    }
    pick(vm, &shell, "Password")?;
    // Esc, and nothing behind it.
    std::thread::sleep(Duration::from_secs(1));
    vm.press("\x1b")?;
    pick(vm, &shell, "Password")?;
    ensure!(!vm.console().has(PROMPT), "a shell without the password");
    login(vm, PASSWORD)?;
    vm.expect(PROMPT, SOON)?;
    vm.press("show password\r")?;
    vm.expect_any(&["No such", "Could not", "not found"], SOON).context("the password is still there")?;
    vm.press("exit\r")?;
    pick(vm, &tools, "Memory test")?;
    std::thread::sleep(Duration::from_secs(1));
    vm.press("\r")?;
    vm.expect("Password", SOON)?;
    login(vm, PASSWORD)?;
    vm.expect("BootTorrent: memtest from 10.77.0.1", SOON)?;
    vm.expect("Memtest86+", SOON).map(drop)
}

// Tried: an ISO with isolinux and an EFI program, BIOS and UEFI, as an entry | ipxe.iso of ipxe
// 1.0.0+git-20190125, memdisk of syslinux-common 6.04 | on machines
#[test]
#[ignore = "two boots of what server/tests/entry.rs shows: make test-full"]
fn an_iso_that_firmware_starts() -> Result<()> {
    in_lab("isos", |lab, server| {
        let memdisk = package("syslinux-common")?.join("usr/lib/syslinux/memdisk");
        let iso = Path::new("/usr/lib/ipxe/ipxe.iso");
        add(server, &["rescue"], &[("--iso", iso), ("--memdisk", &memdisk)])?;
        server.boottorrent(&["host", "set", "default", "--image", "rescue", "--no-menu"])?;
        // What the ISO starts is iPXE once more.
        let bios = ["MEMDISK", "ISOLINUX", "iPXE initialising"];
        let uefi = ["Booting from SAN device", "iPXE initialising"];
        for (machine, texts) in [(Vm::pxe("bios"), &bios[..]), (Vm::pxe("uefi").uefi(), &uefi)] {
            let mut vm = machine.start(lab)?;
            vm.expect("BootTorrent: rescue from 10.77.0.1", SOON)?;
            for text in texts {
                vm.expect(text, SOON)?;
            }
        }
        Ok(())
    })
}

// Tried: Debian's installer, BIOS and UEFI, as an entry | debian-installer-12-netboot-amd64 | on
// machines
#[test]
#[ignore = "a package of 130 MB: make test-full"]
fn the_installer() -> Result<()> {
    in_lab("installer", |lab, server| {
        let number = if Suite::own()? == Suite::Bookworm { "12" } else { "13" };
        let root = package(&format!("debian-installer-{number}-netboot-amd64"))?;
        let images = root.join(format!("usr/lib/debian-installer/images/{number}/amd64/text"));
        let folder = images.join("debian-installer/amd64");
        add(
            server,
            &["installer", "--append", "console=ttyS0 priority=high"],
            &[("--kernel", &folder.join("linux")), ("--initrd", &folder.join("initrd.gz"))],
        )?;
        server.boottorrent(&["host", "set", "default", "--image", "installer", "--no-menu"])?;
        for machine in [Vm::pxe("bios"), Vm::pxe("uefi").uefi()] {
            let mut vm = machine.memory(1024).start(lab)?;
            vm.expect("Select a language", BOOT).with_context(|| vm.name().to_owned())?;
        }
        Ok(())
    })
}
