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
