// SPDX-License-Identifier: GPL-3.0-or-later
//! Many machines at once: imported, named by ranges, grouped, exported; who changed what; settings that are read again.

mod common;

use common::{Server, World, signal, tool, until};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs;

const MANY: usize = 500;

fn mac(n: usize) -> String {
    format!("52:54:00:00:{:02x}:{:02x}", n >> 8, n & 0xff)
}

fn with_image(w: &World) {
    w.squashfs("lab");
    w.run(&["image", "add", "lab.squashfs", "--initrd-from", "image"]).good();
}

fn rows(w: &World, filter: &[&str]) -> Vec<Value> {
    let said = w.run(&[&["host", "list", "--json"], filter].concat()).good();
    serde_json::from_str(&said).unwrap()
}

/// Five hundred machines in ten rooms.
fn spreadsheet() -> String {
    let mut text = "\u{feff}MAC;Name;Group\r\n".to_owned();
    for n in 1..=MANY {
        text += &format!("{};pc{n:03};room{}\r\n", mac(n).to_uppercase().replace(':', "-"), n % 10);
    }
    text
}

#[test]
fn five_hundred_machines_in_and_out_again() {
    let w = World::new();
    with_image(&w);
    let server = Server::start(&w, &["--no-seed"]);
    w.write("rooms.csv", spreadsheet());
    let said = w.run(&["host", "import", "rooms.csv", "--dry-run"]).good();
    assert_eq!(
        said,
        "rooms.csv: 500 machines, 10 groups new, 0 of the entries exist already; nothing was changed\n"
    );
    w.write("lost.csv", "who,image\n52:54:00:00:00:01,gone\n");
    w.run(&["host", "import", "lost.csv", "--dry-run"])
        .refused("lost.csv: there is no image 'gone': there are: lab");
    assert_eq!(rows(&w, &[]), Vec::<Value>::new());
    assert_eq!(w.run(&["host", "import", "rooms.csv"]).good(), "rooms.csv: 500 machines, 10 groups new\n");
    assert_eq!(rows(&w, &[]).len(), MANY + 10);
    assert_eq!(rows(&w, &["pc[001-030]", "pc07*"]).len(), 40);
    assert_eq!(rows(&w, &["--group", "room3"]).len(), 51, "with the group");

    // By ranges, patterns, several words; all or none.
    let said = w.run(&["host", "set", "pc[001-100]", "pc500", "--image", "lab", "--param", "x=1"]).good();
    assert_eq!(said.lines().count(), 101);
    assert_eq!(rows(&w, &["--image", "lab"]).len(), 101);
    let before = fs::read(w.path("cat/hosts.toml")).unwrap();
    for (args, why) in [
        (
            &["host", "set", "pc[499-510]", "--image", "lab"][..],
            "pc[499-510] stands for names that no machine and no group has: pc501, pc502, pc503, pc504, pc505 and 5 more",
        ),
        (&["host", "set", "pc*", "--image", "x"], "52:54:00:00:00:01: there is no image 'x': there are: lab"),
        (
            &["host", "set", "pc[1-3", "--menu"],
            "'pc[1-3' is not a valid range of names: write it as in pc[01-30] or pc[1-4,7]",
        ),
        (
            &["host", "set", "pc001", "pc002", "--name", "a"],
            "2 machines cannot all be called 'a': give --name to one of them",
        ),
        (
            &["host", "unset", "pc001", "serial:9"],
            "serial:9: nothing is set for 'serial:9': see `boottorrent host list`",
        ),
        (
            &["host", "list", "--group", "x"],
            "there is no group 'x': `boottorrent host list 'group:*'` lists the groups",
        ),
    ] {
        w.run(args).refused(why);
        assert_eq!(fs::read(w.path("cat/hosts.toml")).unwrap(), before, "{args:?}");
    }

    // Groups in groups.
    w.run(&["host", "set", "group:floor", "--param", "floor=1", "--image", "lab"]).good();
    w.run(&["host", "set", "group:room[1-9]", "--group", "floor"]).good();
    w.run(&["host", "set", "floor", "--group", "room1"])
        .refused("group 'floor' cannot be in group 'room1', which is the same group or in it");
    assert_eq!(rows(&w, &["--group", "floor"]).len(), 450 + 10);
    let script = server.get(&format!("/boot.ipxe?mac={}", mac(201))).text();
    assert!(script.contains("images/lab/vmlinuz") && script.contains(" floor=1 "), "{script}");

    // What the server knows of machines, filtered.
    for (n, phase) in [(1, "download"), (2, "failed"), (10, "seed")] {
        let beat = json!({"id": mac(n), "image": "lab", "phase": phase, "uptime": 1.0});
        until("a heartbeat", || (server.beat(beat.clone()).status == 204).then_some(()));
    }
    let status = |args: &[&str]| {
        let at = server.http.to_string();
        let said = w.run(&[&["status", "--json", "--server", &at], args].concat()).good();
        let all: Vec<Value> = serde_json::from_str(&said).unwrap();
        all.iter().map(|c| c["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(status(&["--group", "floor"]), ["pc001", "pc002", "pc201"]);
    assert_eq!(status(&["--phase", "failed"]), ["pc002"]);
    assert_eq!(status(&["pc[001-009]", "--phase", "download", "--image", "lab"]), ["pc001"]);
    assert_eq!(status(&["pc0*"]), ["pc001", "pc002", "pc010"]);

    // The same again, elsewhere and without a server.
    let table = w.run(&["host", "export"]).good();
    let other = World::new();
    with_image(&other);
    other.write("all.csv", &table);
    other.run(&["host", "import", "all.csv"]).good();
    assert_eq!(
        fs::read_to_string(other.path("cat/hosts.toml")).unwrap(),
        fs::read_to_string(w.path("cat/hosts.toml")).unwrap()
    );
    assert_eq!(other.run(&["host", "export"]).good(), table);
    // Names may go from one machine to another.
    other.write("swap.csv", format!("who,name\n{},pc002\n{},pc001\n", mac(1), mac(2)));
    other.run(&["host", "import", "swap.csv"]).good();
    assert_eq!(rows(&other, &["pc002"])[0]["key"], mac(1));
}

/// Written for other programs, and read by them.
#[test]
fn ethers_and_dnsmasq_as_they_read_them() {
    let w = World::new();
    w.write("rooms.csv", spreadsheet());
    w.run(&["host", "import", "rooms.csv"]).good();
    let ethers = w.run(&["host", "export", "--format", "ethers"]);
    assert!(ethers.err.starts_with("note: 10 entries are left out"), "{}", ethers.err);
    let names = w.run(&["host", "export", "--format", "dnsmasq"]).good();
    let conf = w.write("names.conf", &names);
    tool("dnsmasq", &["--test", &format!("--conf-file={}", conf.display())]);
    assert!(names.contains("dhcp-host=52:54:00:00:00:01,set:room1,pc001\n"), "{names}");
    // As glibc reads it.
    w.write("ethers", ethers.good());
    let read = "import ctypes,sys\nc=ctypes.CDLL(None)\nfor l in open(sys.argv[1]):\n b=ctypes.create_string_buffer(256)\n \
                assert c.ether_line(l.strip().encode(),ctypes.create_string_buffer(6),b)==0,l\n print(b.value.decode())\n";
    let said = std::process::Command::new("python3").args(["-c", read, &w.shown("ethers")]).output().unwrap();
    assert_eq!(String::from_utf8(said.stdout).unwrap().lines().count(), MANY);
    for (file, text) in
        [("ethers", None), ("names.conf", None), ("hostsfile", Some(names.replace("dhcp-host=", "")))]
    {
        if let Some(text) = text {
            w.write(file, text);
        }
        let new = World::new();
        let path = w.shown(file);
        let said = new.run(&["host", "import", &path]).good();
        assert!(said.starts_with(&format!("{path}: 500 machines, ")), "{said}");
        assert_eq!(rows(&new, &["pc500"])[0]["key"], mac(500));
    }
    // What cannot be read: one sentence, and nothing changed.
    let new = World::new();
    for (text, why) in [
        ("", "there is no machine and no group in it"),
        ("who,name\n52:54:00:00:00:01,a b\n", "line 2: 'a b' is not a valid name for a machine or a group"),
        ("52:54:00:00:00:01 pc1\nx y\n", "line 2: 'x' is not a valid MAC address"),
        ("who,image\ndefault,lab\n", "there is no image 'lab': there are none"),
    ] {
        new.write("list", text);
        let said = new.run(&["host", "import", "list"]);
        assert!(
            said.code == Some(1) && said.err.contains(why) && said.err.lines().count() == 1,
            "{}",
            said.err
        );
        assert!(!new.path("cat/hosts.toml").exists(), "{text}");
    }
    new.write("list", [0xff, 0xfe]);
    new.run(&["host", "import", "list"]).refused("list: it is not UTF-8 text");
}

#[test]
fn changes_are_logged_and_settings_read_again() {
    let w = World::new();
    with_image(&w);
    let (server, log) = Server::logged(&w);
    let said =
        |what: &str| log.lock().unwrap().iter().filter(|l| l.contains(what)).cloned().collect::<Vec<_>>();
    w.run(&["host", "set", "default", "--image", "lab", "--param", "x=1"]).good();
    w.run(&["host", "set", "default", "--image", "y"]).refused("there is no image 'y': there are: lab");
    let who = if nix::unistd::geteuid().is_root() { "changed by root (uid 0): " } else { "changed by " };
    until("a line", || (!said("POST /api/v1/hosts ").is_empty()).then_some(()));
    let lines = said("changed by ");
    assert!(lines.len() == 1 && lines[0].contains(who) && lines[0].contains("\"lab\""), "{lines:?}");

    let settings = fs::read_to_string(w.path("server.toml")).unwrap();
    let boots = || server.get("/boot.ipxe?mac=52:54:00:00:00:01").text();
    w.write("server.toml", format!("{settings}[boot]\nappend = \"again=1\"\n[serve]\nup = \"1MB/s\"\n"));
    w.run(&["serve", "--check"]).good();
    signal(&server.child, Signal::SIGHUP);
    until("the new settings", || boots().contains(" again=1 ").then_some(()));
    until("what needs a restart", || {
        (!said("these settings count after a restart: [serve] up").is_empty()).then_some(())
    });
    // Broken: the server goes on as it was.
    w.write("server.toml", format!("{settings}[boot]\napend = \"x\"\n"));
    let check = w.run(&["serve", "--check"]);
    assert!(check.code == Some(1) && check.err.contains("server.toml: line "), "{}", check.err);
    signal(&server.child, Signal::SIGHUP);
    until("a word about it", || (!said("was not read again").is_empty()).then_some(()));
    assert!(boots().contains(" again=1 "));
    w.write("server.toml", &settings);
    signal(&server.child, Signal::SIGHUP);
    until("the old settings", || (!boots().contains(" again=1 ")).then_some(()));
    assert_eq!(server.stop(), Some(0));
}
