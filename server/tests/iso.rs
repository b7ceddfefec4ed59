// SPDX-License-Identifier: GPL-3.0-or-later
//! Live ISOs, by the real program, with ISOs that xorriso makes: what is found in them, what is refused, what is served.

mod common;

use common::{Server, World, initrd, tool};
use serde_json::Value;
use std::{fs, path::PathBuf};

/// A kernel's first bytes: the boot protocol's header, with a version.
fn kernel() -> Vec<u8> {
    let mut bytes = vec![0; 0x400];
    bytes[0x202..0x206].copy_from_slice(b"HdrS");
    bytes[0x20e..0x210].copy_from_slice(&0x100u16.to_le_bytes());
    bytes[0x300..0x314].copy_from_slice(b"6.12.43-amd64 (x@y) ");
    bytes
}

/// An ISO with these files.
fn iso(w: &World, name: &str, files: &[(&str, &[u8])]) -> PathBuf {
    let tree = format!("{name}-tree");
    for (path, bytes) in files {
        w.write(&format!("{tree}/{path}"), bytes);
    }
    let file = w.path(&format!("{name}.iso"));
    let args = ["-as", "mkisofs", "-quiet", "-r", "-J", "-V", "LAB", "-o"];
    tool("xorriso", &[&args[..], &[file.to_str().unwrap(), &w.shown(&tree)]].concat());
    file
}

fn live_boot(w: &World, name: &str) -> PathBuf {
    let grub = b"menuentry \"Live\" {\n\tlinux /live/vmlinuz-6 boot=live components quiet findiso=${iso_path}\n\tinitrd /live/initrd.img-6\n}\n";
    let install =
        b"menuentry \"Install\" {\n\tlinux /install/vmlinuz vga=788\n\tinitrd /install/initrd.gz\n}\n";
    iso(
        w,
        name,
        &[
            // The installer stands first in the menu, and is passed over.
            ("boot/grub/grub.cfg", &[&install[..], grub].concat()),
            ("install/vmlinuz", b"another kernel"),
            ("install/initrd.gz", &initrd(&["init", "bin/debian-installer"])),
            ("live/vmlinuz-6", &kernel()),
            ("live/initrd.img-6", &initrd(&["init", "scripts/local", "scripts/live"])),
            ("live/filesystem.squashfs", &common::noise(100_000)),
        ],
    )
}

fn add(w: &World, args: &[&str]) -> Value {
    let said = w.run(&[&["image", "add"][..], args, &["--json"]].concat()).good();
    serde_json::from_str(&said).unwrap()
}

#[test]
fn debian_live_is_taken_as_it_is() {
    let w = World::new();
    let file = live_boot(&w, "debian");
    let m = add(&w, &["debian.iso", "--append", "console=ttyS0"]);
    assert_eq!((m["name"].as_str(), m["kind"].as_str()), (Some("debian"), Some("iso")));
    assert_eq!((m["family"].as_str(), m.get("format")), (Some("live-boot"), None));
    assert_eq!(m["append"], "boot=live components quiet console=ttyS0");
    assert_eq!(
        (m["kernel"]["from"].as_str(), m["initrd"]["from"].as_str()),
        (Some("/live/vmlinuz-6"), Some("/live/initrd.img-6"))
    );
    let dir = w.path("cat/images/debian");
    assert_eq!(fs::read(dir.join("payload")).unwrap(), fs::read(&file).unwrap());
    assert_eq!(fs::read(dir.join("vmlinuz")).unwrap(), kernel());

    let said = w.run(&["image", "add", "debian.iso", "--replace", "--append", ""]).good();
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("image 'debian': iso live-boot, "), "{said}");
    assert_eq!(lines[1], "kernel 6.12.43-amd64 from /live/vmlinuz-6, initrd from /live/initrd.img-6");
    assert_eq!(lines[2], "kernel parameters: boot=live components quiet");
    assert!(said.contains("left out: findiso=${iso_path}\n"), "{said}");
}

/// Without drivers in the initrd, machines must be sent it; so they are if the admin says so, and nothing is said of it then.
#[test]
fn the_initrd_is_sent_where_this_server_can_make_none() {
    let w = World::new();
    live_boot(&w, "debian");
    let said = w.run(&["image", "add", "debian.iso"]).good();
    let note = "note: machines are sent the initrd /live/initrd.img-6, because this server cannot make a smaller one: the image \
                has no /lib/modules/6.12.43-amd64/modules.dep\n";
    assert!(said.contains(note), "{said}");
    let said = w.run(&["image", "add", "debian.iso", "--replace", "--initrd-from", "image"]).good();
    assert!(!said.contains("smaller"), "{said}");
    w.run(&["image", "add", "debian.iso", "--replace", "--initrd-from", "own"]).refused(
        "this server cannot make an initrd, because the image has no /lib/modules/6.12.43-amd64/modules.dep; \
         use --initrd-from image",
    );
}

/// An ISO that was added with its own initrd: machines can be sent a small one later, as if it had been added so.
#[test]
fn an_initrd_is_made_later() {
    let w = World::new();
    let (version, e1000) = ("6.12.43-amd64", "kernel/drivers/net/ethernet/intel/e1000/e1000");
    let modules = ["net/packet/af_packet", "drivers/block/loop"].map(|m| format!("kernel/{m}"));
    let modules = [&modules[..], &[e1000.to_owned()]].concat();
    let at = |file: &str| format!("/lib/modules/{version}/{file}");
    for module in &modules {
        w.write(&format!("initrd{}", at(&format!("{module}.ko"))), format!("\x7fELF {module}"));
    }
    w.write(
        &format!("initrd{}", at("modules.dep")),
        modules.iter().map(|m| format!("{m}.ko:\n")).collect::<String>(),
    );
    w.write(&format!("initrd{}", at("modules.alias")), "alias pci:v00008086d0000100Esv*sd*bc*sc*i* e1000\n");
    w.write("initrd/scripts/live", "text");
    w.write("initrd/scripts/local", "text");
    w.write("initrd/init", "text");
    // In two files whose lengths are not multiples of four.
    w.write("tree/live/vmlinuz", kernel());
    let early = [&initrd(&["kernel/x86/microcode/GenuineIntel.bin"])[..], b"\0"].concat();
    w.write("tree/live/early.img", early);
    let pack = "cd initrd && find . | cpio -o -H newc --quiet | gzip >../tree/live/initrd.img";
    tool("sh", &["-c", &format!("cd '{}' && {pack}", w.shown(""))]);
    w.write(
        "tree/isolinux/live.cfg",
        "label live\n kernel /live/vmlinuz\n append initrd=/live/early.img,/live/initrd.img boot=live\n",
    );
    tool("xorriso", &["-as", "mkisofs", "-quiet", "-r", "-o", &w.shown("lab.iso"), &w.shown("tree")]);

    let own = add(&w, &["lab.iso", "--name", "own"]);
    assert_eq!(own["initrd_from"], "own");
    let image = add(&w, &["lab.iso", "--name", "later", "--initrd-from", "image"]);
    assert_eq!((&image["initrd_from"], &image["initrd"]), (&Value::Null, &own["initrd"]));
    w.run(&["image", "set", "later", "--initrd-from", "own"]).good();
    for file in ["own.archives", "own.json"] {
        let of = |name: &str| fs::read(w.path(&format!("cat/images/{name}/{file}"))).unwrap();
        assert_eq!(of("later"), of("own"), "{file}");
    }
    w.run(&["image", "set", "later", "--initrd-from", "image"]).good();
    // One that the admin gave is in no ISO.
    let given = w.write("given.img", fs::read(w.path("tree/live/initrd.img")).unwrap());
    let given = given.to_str().unwrap();
    add(&w, &["lab.iso", "--name", "given", "--initrd", given]);
    w.run(&["image", "set", "given", "--initrd-from", "own"]).refused(&format!(
        "this server cannot make an initrd for image 'given', because {given} is not on the ISO"
    ));
}

/// Kernel and initrd under two names each, as live-build makes them: whichever name the menu uses, and whichever of
/// the two lies first on the ISO. Made by xorriso, listed by bsdtar.
// Tried: live ISO, each kernel and initrd under two names (Rock Ridge, Joliet) | xorriso 1.5.4
#[test]
fn files_with_several_names() {
    let w = World::new();
    for (n, (kernel, initrd)) in
        [("vmlinuz", "initrd.img"), ("vmlinuz-6.1", "initrd.img-6.1"), ("by-link", "initrd.img")]
            .iter()
            .enumerate()
    {
        let tree = format!("t{n}");
        w.write(&format!("{tree}/live/vmlinuz-6.1"), self::kernel());
        w.write(&format!("{tree}/live/initrd.img-6.1"), common::initrd(&["scripts/local", "scripts/live"]));
        let at = |name: &str| w.path(&format!("{tree}/live/{name}"));
        fs::hard_link(at("vmlinuz-6.1"), at("vmlinuz")).unwrap();
        fs::hard_link(at("initrd.img-6.1"), at("initrd.img")).unwrap();
        std::os::unix::fs::symlink("vmlinuz", at("by-link")).unwrap();
        let menu = format!(
            "label live\n kernel /live/{kernel}\n append initrd=/live/{initrd} boot=live components\n"
        );
        w.write(&format!("{tree}/isolinux/live.cfg"), menu);
        for (way, args) in
            [("rock", &["-r", "-J", "-cache-inodes"][..]), ("joliet", &["-J", "-cache-inodes"])]
        {
            // Joliet knows no symbolic links.
            if way == "joliet" && *kernel == "by-link" {
                continue;
            }
            let name = format!("{way}{n}");
            let file = w.shown(&format!("{name}.iso"));
            let tree = w.shown(&tree);
            tool("xorriso", &[&["-as", "mkisofs", "-quiet"][..], args, &["-o", &file, &tree]].concat());
            let m = add(&w, &[&format!("{name}.iso")]);
            assert_eq!(m["append"], "boot=live components", "{name}");
            let dir = w.path(&format!("cat/images/{name}"));
            assert_eq!(fs::read(dir.join("vmlinuz")).unwrap(), self::kernel(), "{name}");
            let size = fs::metadata(at("initrd.img")).unwrap().len();
            assert!(m["initrd"]["size"].as_u64().unwrap() >= size, "{name}: {m}");
        }
    }
}

/// Menus that nobody can use are told of, and words that are quoted arrive whole.
// Tried: menus of GRUB and isolinux, as Clonezilla, openSUSE and live-build write them | by hand,
// after their sources
#[test]
fn menus_of_others() {
    let w = World::new();
    let live = common::initrd(&["scripts/local", "scripts/live"]);
    let files = |menu: &'static [u8]| {
        [("boot/grub/grub.cfg", menu), ("live/vmlinuz", &kernel()[..]), ("live/initrd.img", &live[..])]
            .map(|(path, bytes)| (path, bytes.to_vec()))
    };
    let made = |name: &str, menu: &'static [u8]| {
        let files = files(menu);
        iso(&w, name, &files.each_ref().map(|(path, bytes)| (*path, &bytes[..])));
        w.run(&["image", "add", &format!("{name}.iso")]).good()
    };
    let said = made(
        "clonezilla",
        b"menuentry 'x' {\n $linux_cmd /live/vmlinuz boot=live locales= ocs_live_run=\"ocs-live-general\" \\\n ocs_prerun=\"sleep 1\" # c\n \
          $initrd_cmd /live/initrd.img\n}\n",
    );
    let words = r#"kernel parameters: boot=live locales= ocs_live_run=ocs-live-general ocs_prerun="sleep 1""#;
    assert!(said.contains(words), "{said}");
    let said =
        made("useless", b"menuentry 'x' { linux /nowhere/vmlinuz quiet ; initrd /nowhere/initrd ; }\n");
    let note = "none of the entries in its boot menus (boot/grub/grub.cfg) could be used, so the kernel parameters are the \
                usual ones of live-boot: check them, and add what is missing with --append";
    assert!(said.contains(note) && said.contains("kernel parameters: boot=live\n"), "{said}");
}

#[test]
fn the_addon_is_served() {
    let w = World::new();
    live_boot(&w, "debian");
    w.squashfs("lab");
    w.run(&["image", "add", "debian.iso"]).good();
    w.run(&["image", "add", "lab.squashfs"]).good();
    let agent = w.path("agent");
    let server = Server::start(&w, &["--no-seed", "--agent", agent.to_str().unwrap()]);
    let missing = server.get("/images/debian/addon");
    assert_eq!(missing.status, 503);
    assert_eq!(
        missing.text(),
        format!(
            "the add-on of image 'debian' cannot be made: there is no agent at {}: install the package boottorrent-agent, \
             or say where it is with agent = in [boot] of server.toml\n",
            agent.display()
        )
    );
    fs::write(&agent, b"\x7fELF agent").unwrap();
    let addon = server.get("/images/debian/addon");
    assert_eq!((addon.status, &addon.body[..2], addon.body.len() % 4), (200, &[0x1f, 0x8b][..], 0));
    let none = server.get("/images/lab/addon");
    assert_eq!(
        (none.status, none.text().as_str()),
        (404, "image 'lab' needs no add-on: the agent is in its initrd\n")
    );
    let script = server.get("/boot.ipxe?image=debian").text();
    assert!(script.contains(" initrd=addon.img initrd=initrd.img BOOTIF="), "{script}");
    assert!(script.contains(" boottorrent.kind=iso boot=live components quiet"), "{script}");
}

#[test]
fn other_families() {
    let w = World::new();
    let k = kernel();
    iso(
        &w,
        "ubuntu",
        &[
            (
                "boot/grub/grub.cfg",
                b"menuentry \"Try\" {\n linux /casper/vmlinuz --- quiet splash\n initrd /casper/initrd\n}\n",
            ),
            ("casper/vmlinuz", &k),
            ("casper/initrd", &initrd(&["scripts/local", "scripts/casper"])),
        ],
    );
    let m = add(&w, &["ubuntu.iso"]);
    assert_eq!(
        (m["family"].as_str(), m["append"].as_str()),
        (Some("casper"), Some("boot=casper --- quiet splash"))
    );

    // No configuration that could be read: the usual places, and what dracut needs.
    iso(
        &w,
        "fedora",
        &[
            ("images/pxeboot/vmlinuz", &k),
            (
                "images/pxeboot/initrd.img",
                &initrd(&["usr/sbin/dmsquash-live-root", "usr/libexec/nm-initrd-generator"]),
            ),
        ],
    );
    let m = add(&w, &["fedora.iso"]);
    assert_eq!(
        (m["family"].as_str(), m["append"].as_str()),
        (Some("dracut"), Some("root=live:CDLABEL=LAB rd.live.image"))
    );

    let arch = initrd(&["hooks/archiso", "hooks/archiso_pxe_http"]);
    iso(
        &w,
        "arch",
        &[
            (
                "boot/syslinux/archiso_sys-linux.cfg",
                b"LABEL arch\nLINUX /arch/boot/x86_64/vmlinuz-linux\nINITRD /arch/boot/intel-ucode.img,/arch/boot/x86_64/initramfs-linux.img\nAPPEND archisobasedir=arch archisosearchuuid=2026-11\n",
            ),
            ("arch/boot/x86_64/vmlinuz-linux", &k),
            ("arch/boot/intel-ucode.img", &initrd(&["kernel/x86/microcode/GenuineIntel.bin"])),
            ("arch/boot/x86_64/initramfs-linux.img", &arch),
        ],
    );
    let m = add(&w, &["arch.iso"]);
    assert_eq!(
        (m["family"].as_str(), m["append"].as_str()),
        (Some("archiso"), Some("archisobasedir=arch archisosearchuuid=2026-11"))
    );
    assert!(fs::read(w.path("cat/images/arch/initrd")).unwrap().ends_with(&arch), "one behind the other");
}

/// Must hold 4: each refusal is one sentence, and the catalogue is as it was.
#[test]
fn refusals_leave_the_catalogue_as_it_was() {
    let w = World::new();
    let whole = fs::read(live_boot(&w, "debian")).unwrap();
    w.run(&["image", "add", "debian.iso"]).good();
    let before = w.catalogue();
    let k = kernel();
    w.write("cut.iso", &whole[..whole.len() / 2]);
    iso(&w, "data", &[("readme.txt", b"no system")]);
    iso(
        &w,
        "installer",
        &[
            (
                "isolinux/isolinux.cfg",
                b"label x\nkernel /install.amd/vmlinuz\nappend initrd=/install.amd/initrd.gz\n",
            ),
            ("install.amd/vmlinuz", &k),
            ("install.amd/initrd.gz", &initrd(&["init", "bin/debian-installer"])),
        ],
    );
    iso(&w, "text", &[("live/vmlinuz", &k), ("live/initrd.img", b"text")]);
    iso(&w, "empty", &[("live/vmlinuz", b""), ("live/initrd.img", &initrd(&["scripts/live"]))]);
    iso(
        &w,
        "arch",
        &[
            ("arch/boot/x86_64/vmlinuz-linux", &k),
            ("arch/boot/x86_64/initramfs-linux.img", &initrd(&["hooks/archiso"])),
        ],
    );
    // xorriso pads what it makes.
    let need = u64::from(u32::from_le_bytes(whole[0x8050..0x8054].try_into().unwrap())) * 2048;
    for (args, sentence) in [
        (
            vec!["cut.iso"],
            format!("'cut.iso' is truncated: its ISO 9660 needs {need} bytes, the file has {}", whole.len() / 2),
        ),
        (
            vec!["data.iso"],
            "'data.iso' has no kernel that could be found: no boot loader's configuration on it names one, and none is in \
             casper/, arch/boot/x86_64/, live/, images/pxeboot/, boot/x86_64/loader/ or isolinux/; give --kernel and --initrd"
                .into(),
        ),
        (
            vec!["installer.iso"],
            "'installer.iso' is not a live system that BootTorrent knows: its initrd /install.amd/initrd.gz has neither \
             live-boot, casper, dracut's dmsquash-live nor archiso in it"
                .into(),
        ),
        (vec!["text.iso"], "/live/initrd.img is not an initrd: there is no cpio archive in it".into()),
        (vec!["empty.iso"], "the file /live/vmlinuz is empty: a machine could not boot with it".into()),
        (
            vec!["arch.iso"],
            "'arch.iso' cannot be booted over the network: its initrd /arch/boot/x86_64/initramfs-linux.img lacks \
             archiso's hook archiso_pxe_http, which the add-on replaces"
                .into(),
        ),
        (
            vec!["debian.iso", "--name", "x", "--kind", "filesystem"],
            "'debian.iso' is not a valid filesystem: omit --kind, or use --kind iso".into(),
        ),
    ] {
        w.run(&[&["image", "add"][..], &args].concat()).refused(&sentence);
        assert_eq!(w.catalogue(), before, "{args:?}");
    }
}
