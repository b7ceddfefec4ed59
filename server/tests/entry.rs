// SPDX-License-Identifier: GPL-3.0-or-later
//! Entries that are no images, by the real program and a running server.

mod common;

use common::{Server, World, until};
use std::{fs, path::Path};

const PC1: &str = "52:54:00:00:00:01";

/// What begins like a kernel, and like an EFI program.
fn program(path: &Path) -> Vec<u8> {
    let mut bytes = vec![7; 3000];
    bytes[..2].copy_from_slice(b"MZ");
    bytes[0x202..0x206].copy_from_slice(b"HdrS");
    fs::write(path, &bytes).unwrap();
    bytes
}

fn script(server: &Server, query: &str) -> String {
    server.get(&format!("/boot.ipxe?{query}")).text()
}

#[test]
fn added_while_the_server_runs_booted_and_removed() {
    let w = World::new();
    w.squashfs("lab");
    w.run(&["image", "add", "lab.squashfs"]).good();
    let (kernel, initrd) = (program(&w.path("mt.bin")), b"an archive".to_vec());
    fs::write(w.path("initrd.gz"), &initrd).unwrap();
    let server = Server::start(&w, &["--no-seed"]);
    assert!(!script(&server, "").contains("choose"), "one image boots at once");

    let said =
        w.run(&["entry", "add", "memtest", "--kernel", "mt.bin", "--initrd", "initrd.gz", "--append", "x.y"]);
    assert_eq!(said.good(), "entry 'memtest': kernel and 1 initrd\n");
    w.run(&["entry", "add", "disk", "--title", "This machine", "--local"]).good();
    let menu = until("the menu has both", || {
        Some(script(&server, "")).filter(|s| s.contains("item memtest") && s.contains("item disk"))
    });
    assert!(menu.contains("item disk This machine\nitem memtest memtest\n"), "{menu}");
    assert!(menu.contains("choose --default lab "), "an image starts by itself: {menu}");
    assert_eq!(server.get("/entries/memtest/kernel").body, kernel);
    assert_eq!(server.get("/entries/memtest/initrd0").body, initrd);
    for (path, why) in [
        ("/entries/memtest/entry.toml", "entry 'memtest' has no such file: it has kernel, initrd0\n"),
        (
            "/entries/memtest/..%2f..%2fhosts.toml",
            "entry 'memtest' has no such file: it has kernel, initrd0\n",
        ),
        ("/entries/disk/kernel", "entry 'disk' has no files\n"),
        ("/entries/nothing/kernel", "no entry 'nothing' on this server\n"),
    ] {
        let answer = server.get(path);
        assert_eq!((answer.status, answer.text().as_str()), (404, why), "{path}");
    }

    let listed: serde_json::Value = serde_json::from_str(&server.get("/api/v1/entries").text()).unwrap();
    assert_eq!(
        (&listed[0]["title"], &listed[1]["name"], &listed[1]["what"]),
        (&"This machine".into(), &"memtest".into(), &"kernel and 1 initrd".into())
    );
    // Machines are told to boot it like an image.
    w.run(&["host", "set", PC1, "--image", "memtest"]).good();
    let own = script(&server, &format!("mac={PC1}"));
    assert!(own.contains("/entries/memtest/kernel initrd=initrd0.img x.y || goto failed\n"), "{own}");
    let wrong = w.run(&["host", "set", PC1, "--image", "nothing"]);
    assert!(
        wrong.err.contains("there is no image 'nothing': there are: disk, lab, memtest"),
        "{}",
        wrong.err
    );

    for (args, why) in [
        (
            &["image", "add", "lab.squashfs", "--name", "disk"][..],
            "there is an entry 'disk': give the image another name",
        ),
        (
            &["image", "set", "lab", "--rename", "disk"],
            "there is an entry 'disk': give the image another name",
        ),
        (&["entry", "add", "lab", "--local"], "there is an image 'lab': give the entry another name"),
        (&["entry", "add", "x", "--kernel", "lab.squashfs"], "it is not an x86 kernel"),
        (&["entry", "add", "x", "--kernel", "mt.bin", "--local"], "an entry boots one thing"),
    ] {
        let said = w.run(args);
        assert!(said.code == Some(1) && said.err.contains(why), "{args:?}: {}", said.err);
    }
    let busy = w.run(&["entry", "remove", "memtest"]);
    assert!(busy.err.contains(&format!("entry 'memtest' is what {PC1} should boot")), "{}", busy.err);
    let found = w.run(&["doctor", "--json"]).out;
    assert!(!found.contains("which is not there"), "{found}");
    w.run(&["host", "set", PC1, "--clear", "image"]).good();
    w.run(&["entry", "remove", "memtest"]).good();
    until("it is gone", || Some(()).filter(|()| server.get("/entries/memtest/kernel").status == 404));
}

#[test]
fn a_hidden_entry_boots_where_it_was_assigned() {
    let w = World::new();
    w.squashfs("lab");
    w.run(&["image", "add", "lab.squashfs"]).good();
    w.run(&["entry", "add", "disk", "--title", "This machine", "--local", "--hidden"]).good();
    let listed = w.run(&["entry", "list"]).good();
    assert!(listed.ends_with("disk  This machine  no    local disk\n"), "{listed}");
    let server = Server::start(&w, &["--no-seed"]);
    let everybody = script(&server, "");
    assert!(
        everybody.contains("/images/lab/vmlinuz") && !everybody.contains("choose"),
        "one image: {everybody}"
    );
    w.run(&["entry", "add", "other", "--local"]).good();
    let menu =
        until("the menu has the other", || Some(script(&server, "")).filter(|s| s.contains("item other")));
    assert!(!menu.contains("item disk"), "{menu}");
    w.run(&["host", "set", PC1, "--image", "disk"]).good();
    let own = script(&server, &format!("mac={PC1}"));
    assert!(own.contains("sanboot") && !own.contains("choose"), "{own}");
    w.run(&["host", "set", PC1, "--menu"]).good();
    let own = script(&server, &format!("mac={PC1}"));
    assert!(own.contains("choose --default disk ") && own.contains("item disk This machine"), "{own}");
}

/// It has no agent that could say that it runs: the script itself says so, with the boot's secret.
#[test]
fn an_entry_for_one_time_is_booted_once() {
    let w = World::new();
    w.squashfs("lab");
    w.run(&["image", "add", "lab.squashfs"]).good();
    w.run(&["entry", "add", "disk", "--local"]).good();
    let server = Server::start(&w, &["--no-seed"]);
    w.run(&["host", "set", PC1, "--image", "lab", "--once", "disk"]).good();
    let first = script(&server, &format!("mac={PC1}"));
    let begun = first
        .lines()
        .find_map(|l| l.strip_prefix("imgfetch --name begun http://"))
        .unwrap_or_else(|| panic!("{first}"));
    let path = begun.split(' ').next().unwrap().split_once('/').unwrap().1;
    let again = script(&server, &format!("mac={PC1}"));
    assert!(again.contains("sanboot"), "asking changes nothing: {again}");
    // Without the secret, and with another machine's name, nothing changes.
    let (before, secret) = path.split_once("&secret=").unwrap();
    for lie in [
        format!("/{before}"),
        format!("/{before}&secret=00"),
        format!("/{}&secret={secret}", before.replace("00:01", "00:02")),
    ] {
        assert_eq!(server.get(&lie).status, 200);
        assert!(script(&server, &format!("mac={PC1}")).contains("sanboot"), "{lie}");
    }
    assert_eq!(server.get(&format!("/{path}")).status, 200);
    let next = script(&server, &format!("mac={PC1}"));
    assert!(next.contains("/images/lab/vmlinuz"), "{next}");
}

/// Sector 17 and the catalogue in sector 19, as El Torito has them: for a BIOS, or for UEFI.
fn iso(path: &Path, platform: u8) {
    let mut bytes = vec![0; 20 * 2048];
    bytes[17 * 2048..17 * 2048 + 30].copy_from_slice(b"\0CD001\x01EL TORITO SPECIFICATION");
    bytes[17 * 2048 + 0x47] = 19;
    bytes[19 * 2048] = 1;
    bytes[19 * 2048 + 1] = platform;
    bytes[19 * 2048 + 32] = 0x88;
    fs::write(path, bytes).unwrap();
}

#[test]
fn small_isos() {
    let w = World::new();
    iso(&w.path("bios.iso"), 0);
    iso(&w.path("uefi.iso"), 0xef);
    program(&w.path("memdisk"));
    let add = |name: &str, file: &str| w.run(&["entry", "add", name, "--iso", file, "--memdisk", "memdisk"]);
    assert_eq!(add("bios", "bios.iso").good(), "entry 'bios': ISO (BIOS only)\n");
    assert_eq!(add("uefi", "uefi.iso").good(), "entry 'uefi': ISO (UEFI only)\n");
    let server = Server::start(&w, &["--no-seed"]);
    assert_eq!(server.get("/entries/bios/memdisk").body, fs::read(w.path("memdisk")).unwrap());
    assert_eq!(server.get("/entries/bios/iso").body, fs::read(w.path("bios.iso")).unwrap());
    assert_eq!(
        server.get("/entries/uefi/memdisk").text(),
        "entry 'uefi' has no such file: it has iso\n",
        "UEFI needs none"
    );
    // iPXE reads a CD piece by piece.
    let sector = server.ask("GET", "/entries/uefi/iso", &[("range", "bytes=34816-36863")], b"");
    assert_eq!((sector.status, sector.body.len()), (206, 2048));
    let own = script(&server, "image=bios");
    assert!(own.contains("/entries/bios/memdisk iso raw || goto failed\ninitrd --name iso http://"), "{own}");

    w.write("text.iso", "text");
    fs::File::create(w.path("huge.iso")).unwrap().set_len(600 << 20).unwrap();
    for (args, why) in [
        (&["--iso", "text.iso"][..], "text.iso: it is too short for an ISO"),
        (
            &["--iso", "huge.iso"],
            "huge.iso is 600 MiB: machines hold such an ISO in memory, so it may have at most 512 MiB",
        ),
        (
            &["--iso", "bios.iso", "--memdisk", "gone"],
            "gone starts ISOs on BIOS machines, and is missing: apt install syslinux-common",
        ),
        (&["--iso", "bios.iso", "--memdisk", "text.iso"], "text.iso: it is not an x86 kernel"),
        (&["--iso", "uefi.iso", "--local"], "an entry boots one thing"),
        (&["--iso", "uefi.iso", "--append", "x"], "--append is for --kernel and --efi"),
    ] {
        let said = w.run(&[&["entry", "add", "x"], args].concat());
        assert!(said.code == Some(1) && said.err.contains(why), "{args:?}: {}", said.err);
    }
    assert!(!w.path("cat/entries/x").exists(), "nothing is half added");
}
