// SPDX-License-Identifier: GPL-3.0-or-later
//! Initrds that the server makes: of which images, in what form, and how one goes over to them. Modules are stand-ins;
//! tests/tests/init.rs boots real ones.
#![allow(missing_docs)]

mod common;
#[path = "common/tmux.rs"]
mod tmux;

use common::{KERNEL, Server, World, initrd, tool};
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::{FileExt, PermissionsExt},
    path::PathBuf,
    process::{Command, Stdio},
};
use tmux::Tmux;

const MODULES: [&str; 6] = [
    "net/packet/af_packet",
    "drivers/block/loop",
    "fs/overlayfs/overlay",
    "fs/squashfs/squashfs",
    "fs/ext4/ext4",
    "drivers/net/ethernet/intel/e1000/e1000",
];

/// A root with a kernel, its modules and no initrd.
fn bare(w: &World, name: &str) -> PathBuf {
    let root = w.root(name);
    fs::remove_file(root.join(format!("boot/initrd.img-{KERNEL}"))).unwrap();
    with_modules(w, name);
    root
}

fn with_modules(w: &World, name: &str) {
    let folder = format!("{name}/usr/lib/modules/{KERNEL}");
    let list = MODULES.map(|m| format!("kernel/{m}.ko:\n")).concat();
    w.write(&format!("{folder}/modules.dep"), list);
    w.write(&format!("{folder}/modules.alias"), "alias pci:v00008086d0000100Esv*sd*bc*sc*i* e1000\n");
    for module in MODULES {
        w.write(&format!("{folder}/kernel/{module}.ko"), format!("\x7fELF {module}"));
    }
}

fn add(w: &World, args: &[&str]) -> Value {
    serde_json::from_str(&w.run(&[&["image", "add", "--json"], args].concat()).good()).unwrap()
}

fn shown(w: &World, name: &str) -> Value {
    serde_json::from_str(&w.run(&["image", "show", name, "--json"]).good()).unwrap()
}

fn archives(w: &World, name: &str) -> Vec<u8> {
    fs::read(w.path(&format!("cat/images/{name}/own.archives"))).unwrap()
}

#[test]
fn the_same_root_gives_the_same_bytes() {
    let w = World::new();
    bare(&w, "lab");
    for name in ["one", "two"] {
        let m = add(&w, &["lab", "--name", name]);
        assert_eq!((&m["initrd_from"], &m["initrd"]["size"]), (&"own".into(), &0.into()));
    }
    assert_eq!(archives(&w, "one"), archives(&w, "two"));
    for file in ["own.archives", "own.json"] {
        let mode = fs::metadata(w.path(&format!("cat/images/one/{file}"))).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644, "the daemon is another user");
    }
}

#[test]
fn one_goes_over_and_back() {
    let w = World::new();
    w.root("lab");
    with_modules(&w, "lab");
    assert_eq!(add(&w, &["lab"])["initrd_from"], Value::Null, "our hook is in its initrd");
    let before = shown(&w, "lab");
    let said = w.run(&["image", "set", "lab", "--initrd-from", "own"]).good();
    assert_eq!(
        said,
        "image 'lab' boots with an initrd that this server makes; a running server has seen it within 2 seconds\n"
    );
    assert_eq!(shown(&w, "lab")["initrd_from"], "own");
    let made = archives(&w, "lab");
    assert_eq!(add(&w, &["lab", "--name", "own", "--initrd-from", "own"])["initrd_from"], "own");
    assert_eq!(made, archives(&w, "own"), "as if it had been added so");
    w.run(&["image", "set", "lab", "--initrd-from", "image"]).good();
    assert_eq!(shown(&w, "lab"), before);
    // And with another name, with all that belongs to it.
    w.run(&["image", "set", "lab", "--initrd-from", "own", "--rename", "new"]).good();
    assert_eq!(archives(&w, "new"), made);
    w.run(&["image", "set", "new", "--initrd-from", "server"]);
}

/// Whose agent does not report with the drivers of its card is sent others; everywhere an admin looks, it is said.
#[test]
fn a_machine_without_its_driver_is_seen() {
    const MAC: &str = "52:54:00:00:00:01";
    let sentence = "sent the drivers of all cards because it did not report with fewer";
    let w = World::new();
    bare(&w, "lab");
    add(&w, &["lab"]);
    w.run(&["host", "set", "default", "--image", "lab"]).good();
    let port = common::free_port();
    let config = fs::read_to_string(w.path("server.toml")).unwrap();
    fs::write(w.path("server.toml"), format!("{config}[serve]\nlisten = \"127.0.0.1:{port}\"\n")).unwrap();
    let agent = w.write("agent", b"\x7fELF agent");
    let server = Server::spawned(w.command(&["serve", "--no-seed", "--agent", agent.to_str().unwrap()]));
    // It is sent the initrd for its card, and is never heard of; asks again, and reports.
    let first = server.get(&format!("/boot.ipxe?mac={MAC}&busid=018086100e")).text();
    assert!(first.contains("/own?") && !first.contains("card=none"), "{first}");
    let beat =
        |phase: &str| server.beat(json!({"id": MAC, "image": "lab", "phase": phase, "uptime": 2.5})).status;
    assert_eq!(beat("download"), 204);
    let client: Value = serde_json::from_str(&server.get(&format!("/api/v1/clients/{MAC}")).text()).unwrap();
    assert_eq!(client["initrd"], "general");
    let status = w.run(&["status"]).good();
    assert!(status.contains(sentence), "{status}");
    let doctor = w.run(&["doctor", "--json", "--dnsmasq-dir", "none", "--ipxe-dir", "none"]).out;
    let found: Vec<Value> = serde_json::from_str(&doctor).unwrap();
    let of = |check: &str| found.iter().filter(|f| f["check"] == check).collect::<Vec<_>>();
    let [finding] = of("initrd")[..] else { panic!("{doctor}") };
    let what = format!("not sent the initrd for their card, because they did not report with it: {MAC}");
    assert_eq!((&finding["state"], &finding["what"]), (&"warning".into(), &what.into()));
    // Its agent is not in its place, where the initrd is made with it.
    assert_eq!(of("agent")[0]["state"], "bad", "{doctor}");
    let screen = Tmux::new(200, 24);
    let (program, config, cat) = (env!("CARGO_BIN_EXE_boottorrent"), w.shown("server.toml"), w.shown("cat"));
    screen.run(&format!("clear; {program} --config {config} --dir {cat}"));
    screen.sees("1 machine: 1 under way");
    screen.keys(&["2"]);
    screen.until("the sentence in the details", |s| {
        let joined = s.replace(['│', '\n'], " ").split_whitespace().collect::<Vec<_>>().join(" ");
        joined.contains(sentence)
    });
    // Still silent after the third try, it is sent the image's own: this one has none, so it stays.
    assert_eq!(beat("seed"), 204);
    let client: Value = serde_json::from_str(&server.get(&format!("/api/v1/clients/{MAC}")).text()).unwrap();
    assert_eq!(client["initrd"], "general", "what has worked is kept");
    drop(screen);
    assert_eq!(server.stop(), Some(0));
    let server = Server::spawned(w.command(&["serve", "--no-seed", "--agent", agent.to_str().unwrap()]));
    let script = server.get(&format!("/boot.ipxe?mac={MAC}&busid=018086100e")).text();
    assert!(script.contains("drivers=all"), "it is sent all drivers at once: {script}");
}

#[test]
fn refusals() {
    let w = World::new();
    bare(&w, "bare");
    w.root("lab");
    add(&w, &["bare"]);
    add(&w, &["lab"]);
    w.run(&["image", "set", "bare", "--initrd-from", "image"]).refused(
        "image 'bare' needs an initrd that the server makes: it has none of its own with BootTorrent's hook in it",
    );
    w.run(&["image", "set", "lab", "--initrd-from", "own"]).refused(
        "this server cannot make an initrd for image 'lab', because the image has no /lib/modules/6.1.0-9-amd64/modules.dep",
    );
    w.run(&["image", "set", "lab"]).refused(
        "nothing is changed of image 'lab': give --priority, --append, --initrd-from, --version, --rename or --default",
    );
}

/// A disk whose kernel is in a unified kernel image on its EFI system partition, as mkosi makes it.
#[test]
fn a_disk_with_a_unified_kernel_image() {
    let w = World::new();
    let root = bare(&w, "lab");
    fs::remove_file(root.join(format!("boot/vmlinuz-{KERNEL}"))).unwrap();
    fs::remove_file(root.join("vmlinuz")).unwrap();
    let unified = unified(b"root=LABEL=x rw console=ttyS0 quiet", b"the kernel", &initrd(&["init"]));
    w.write("lab.efi", &unified);
    File::create(w.path("esp")).unwrap().set_len(4 << 20).unwrap();
    tool("mkfs.vfat", &[&w.shown("esp")]);
    for args in [&["mmd", "::EFI", "::EFI/Linux"][..], &["mcopy", &w.shown("lab.efi"), "::EFI/Linux/LAB.EFI"]]
    {
        tool(args[0], &[&["-i", &w.shown("esp")], &args[1..]].concat());
    }
    tool("mke2fs", &["-q", "-t", "ext4", "-d", root.to_str().unwrap(), &w.shown("part"), "12M"]);
    let script = "label: gpt\nstart=2048, size=8192, type=U\nstart=10240, size=24576, type=L\n";
    let disk = File::create(w.path("disk.img")).unwrap();
    disk.set_len(24 << 20).unwrap();
    let mut sfdisk = Command::new("/usr/sbin/sfdisk");
    let mut child = sfdisk.arg("-q").arg(w.path("disk.img")).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    disk.write_all_at(&fs::read(w.path("esp")).unwrap(), 1 << 20).unwrap();
    disk.write_all_at(&fs::read(w.path("part")).unwrap(), 5 << 20).unwrap();

    let m = add(&w, &["disk.img", "--append", "panic=1"]);
    assert_eq!(m["kernel"]["from"], "/efi/EFI/Linux/LAB.EFI");
    assert_eq!((&m["initrd_from"], &m["append"]), (&"own".into(), &"console=ttyS0 quiet panic=1".into()));
    assert_eq!(fs::read(w.path("cat/images/disk/vmlinuz")).unwrap(), b"the kernel");
    w.run(&["image", "set", "disk", "--append", "nosmt"]).good();
    assert_eq!(shown(&w, "disk")["append"], "console=ttyS0 quiet nosmt", "its own parameters stay");
    let replaced = add(&w, &["disk.img", "--replace"]);
    assert_eq!(replaced["append"], "console=ttyS0 quiet nosmt");
    // The same file in the place of a kernel.
    let given = add(&w, &["lab", "--kernel", "lab.efi", "--name", "given"]);
    assert_eq!((&given["initrd_from"], &given["append"]), (&"own".into(), &"console=ttyS0 quiet".into()));
    fs::write(w.path("cut.efi"), &unified[..4110]).unwrap();
    w.run(&["image", "add", "lab", "--kernel", "cut.efi", "--name", "cut"])
        .refused("reading cut.efi: its section .cmdline ends behind the file");
}

/// An EFI program with these sections, and one that says which version the kernel is.
fn unified(cmdline: &[u8], linux: &[u8], initrd: &[u8]) -> Vec<u8> {
    let sections =
        [(".cmdline", cmdline), (".uname", KERNEL.as_bytes()), (".linux", linux), (".initrd", initrd)];
    let mut head = vec![0; 0x40];
    head[..2].copy_from_slice(b"MZ");
    head[60] = 0x40;
    head.extend_from_slice(b"PE\0\0\x64\x86\x04\0");
    head.resize(0x40 + 24, 0);
    let mut data = Vec::new();
    for (name, bytes) in sections {
        let mut entry = [0; 40];
        entry[..name.len()].copy_from_slice(name.as_bytes());
        for (n, field) in [(8, bytes.len()), (16, bytes.len()), (20, 4096 + data.len())] {
            entry[n..n + 4].copy_from_slice(&(field as u32).to_le_bytes());
        }
        head.extend_from_slice(&entry);
        data.extend_from_slice(bytes);
    }
    head.resize(4096, 0);
    [head, data].concat()
}

/// Machines have loaded them before; a tarball is as the folder it was made of.
#[test]
fn kernels_and_initrds_are_not_in_what_is_packed() {
    let w = World::new();
    w.root("lab");
    for (name, bytes) in [("boot/config-6.1", 10), ("boot/vmlinuz-6.2", 300_000), ("etc/vmlinuz-of-mine", 20)]
    {
        w.write(&format!("lab/{name}"), vec![7; bytes]);
    }
    w.write(&format!("lab/usr/lib/modules/{KERNEL}/vmlinuz"), vec![8; 200_000]);
    tool("tar", &["-C", &w.shown("lab"), "-cf", &w.shown("lab.tar"), "."]);
    let formats = ["squashfs", "erofs"];
    for (source, format) in formats.iter().flat_map(|f| [("lab", *f), ("lab.tar", *f)]) {
        let said =
            w.run(&["image", "add", source, "--compress", format, "--name", "lab", "--replace"]).good();
        assert!(
            said.contains("note: kernels and initrds (4") && said.contains(" KiB) are left out"),
            "{said}"
        );
        let payload = w.shown("cat/images/lab/payload");
        let list = match format {
            "squashfs" => output("unsquashfs", &["-lc", &payload]),
            _ => {
                let _ = fs::remove_dir_all(w.path("out"));
                tool("fsck.erofs", &[&format!("--extract={}", w.shown("out")), &payload]);
                output("find", &[&w.shown("out")])
            }
        };
        let has = |path: &str| list.lines().any(|l| l.ends_with(path));
        assert!(has("boot/config-6.1") && has("etc/vmlinuz-of-mine") && has("/vmlinuz"), "{list}");
        assert!(!list.contains("boot/vmlinuz-") && !list.contains("initrd.img"), "{list}");
        assert!(!has(&format!("{KERNEL}/vmlinuz")), "{list}");
    }
}

fn output(program: &str, args: &[&str]) -> String {
    String::from_utf8(Command::new(program).args(args).output().unwrap().stdout).unwrap()
}
