// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent image add`, by the real program, with real mksquashfs, mkfs.erofs and mke2fs.

mod common;

use common::{KERNEL, World, exists, initrd, noise, signal, tool, until};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::PathBuf,
    process::{Command, Stdio},
};

const WANT: &str =
    "give a live ISO, a disk image, a squashfs, erofs or ext4 image, a root directory or a root tarball";

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Every kind of source becomes an image with the same kernel and initrd.
#[test]
fn every_kind_of_source() {
    let w = World::new();
    let root = w.root("lab");
    let r = root.to_str().unwrap();
    if is_root() {
        tool("mknod", &[&format!("{r}/etc/null"), "c", "1", "3"]);
        tool("chown", &["12:13", &format!("{r}/etc/secret")]);
        tool("chmod", &["4750", &format!("{r}/etc/secret")]);
    }
    tool("mksquashfs", &[r, &w.shown("a.squashfs"), "-quiet", "-no-progress"]);
    tool("mkfs.erofs", &["-zlz4hc", &w.shown("b.erofs"), r]);
    tool("mke2fs", &["-q", "-t", "ext4", "-d", r, &w.shown("c.ext4"), "8M"]);
    tool("tar", &["-C", r, "-cf", &w.shown("d.tar"), "."]);
    for (program, end) in [("gzip", "gz"), ("xz", "xz"), ("zstd", "zst")] {
        tool(program, &["-kq", &w.shown("d.tar")]);
        fs::rename(w.path(&format!("d.tar.{end}")), w.path(&format!("d-{end}.tar.{end}"))).unwrap();
    }
    let sources = [
        ("lab", "lab", "squashfs"),
        ("a.squashfs", "a", "squashfs"),
        ("b.erofs", "b", "erofs"),
        ("c.ext4", "c", "ext4"),
        ("d.tar", "d", "squashfs"),
        ("d-gz.tar.gz", "d-gz", "squashfs"),
        ("d-xz.tar.xz", "d-xz", "squashfs"),
        ("d-zst.tar.zst", "d-zst", "squashfs"),
    ];
    for (source, name, format) in sources {
        let json = w.run(&["image", "add", source, "--json"]).good();
        let m: Value = serde_json::from_str(&json).unwrap();
        assert_eq!((m["name"].as_str(), m["format"].as_str()), (Some(name), Some(format)));
        assert_eq!(m["kernel"]["from"], format!("/boot/vmlinuz-{KERNEL}"));
        let dir = w.path("cat/images").join(name);
        assert_eq!(fs::read_to_string(dir.join("vmlinuz")).unwrap(), "the kernel of lab", "{source}");
        assert_eq!(
            fs::read(dir.join("initrd")).unwrap(),
            fs::read(root.join(format!("boot/initrd.img-{KERNEL}"))).unwrap()
        );
        let torrent = swarm::Metainfo::parse(fs::read(dir.join(format!("{name}.torrent"))).unwrap()).unwrap();
        assert_eq!(m["infohash"], torrent.infohash().to_string());
        assert_eq!(
            (torrent.size(), torrent.name(), torrent.trackers().len()),
            (m["size"].as_u64().unwrap(), name, 0)
        );
        for entry in fs::read_dir(&dir).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o644, "{:?}", entry.path());
        }
    }
    assert_eq!(fs::read(w.path("a.squashfs")).unwrap(), fs::read(w.path("cat/images/a/payload")).unwrap());
    // Packed twice, it is the same.
    w.run(&["image", "add", "lab", "--name", "again"]).good();
    assert_eq!(
        fs::read(w.path("cat/images/lab/payload")).unwrap(),
        fs::read(w.path("cat/images/again/payload")).unwrap()
    );
    for name in ["lab", "d-zst"] {
        let out = w.path(&format!("out-{name}"));
        tool(
            "unsquashfs",
            &["-q", "-n", "-d", out.to_str().unwrap(), &w.shown(&format!("cat/images/{name}/payload"))],
        );
        kept(&out);
    }
}

/// Owners, modes, devices and hard links are as in the root.
fn kept(out: &std::path::Path) {
    let meta = |p: &str| fs::symlink_metadata(out.join(p)).unwrap();
    assert_eq!(meta("etc/secret").permissions().mode() & 0o7777, 0o4750);
    assert_eq!(meta("etc/secret").ino(), meta("etc/twin").ino());
    assert_eq!(meta("").permissions().mode() & 0o777, 0o755, "the root folder itself");
    if is_root() {
        assert_eq!((meta("etc/secret").uid(), meta("etc/secret").gid()), (12, 13));
        assert!(meta("etc/null").file_type().is_char_device());
    }
}

#[test]
fn erofs_on_request() {
    let w = World::new();
    let root = w.root("lab");
    let m: Value =
        serde_json::from_str(&w.run(&["image", "add", "lab", "--compress", "erofs", "--json"]).good())
            .unwrap();
    assert_eq!(m["format"], "erofs");
    // Packed twice, at another time, it is the same.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    w.run(&["image", "add", "lab", "--name", "again", "--compress", "erofs"]).good();
    let payload = |name: &str| fs::read(w.path(&format!("cat/images/{name}/payload"))).unwrap();
    assert_eq!(payload("lab"), payload("again"));
    if is_root() {
        tool("tar", &["-C", root.to_str().unwrap(), "-cf", &w.shown("t.tar"), "."]);
        w.run(&["image", "add", "t.tar", "--compress", "erofs"]).good();
        assert_eq!(
            fs::read_dir(w.path("cat/images/t")).unwrap().count(),
            7,
            "what it was unpacked to is gone"
        );
    }
}

/// What it says at the end, what list and show say, replace, and remove.
/// What nobody wants of another machine's past stays out, in both formats, and what --exclude names.
#[test]
fn left_out() {
    let w = World::new();
    let root = w.root("lab");
    for (file, bytes) in [
        ("proc/kcore", 9),
        ("tmp/x", 9),
        ("var/cache/apt/archives/a_1.deb", 70_000),
        ("home/ann/.cache/thumb", 9),
        ("home/ann/letter", 9),
        ("home/.keep", 9),
        ("srv/big", 9),
        ("etc/ssh/ssh_host_ed25519_key", 9),
    ] {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, vec![0; bytes]).unwrap();
    }
    tool("tar", &["-C", root.to_str().unwrap(), "-cf", &w.shown("lab.tar"), "."]);
    let excludes = ["--exclude", "/home/*/.cache", "--exclude", "srv", "--exclude", "opt/none"];
    let sources: &[(&str, &str)] = match is_root() {
        true => &[("lab", "squashfs"), ("lab", "erofs"), ("lab.tar", "squashfs")],
        false => &[("lab", "squashfs"), ("lab.tar", "squashfs")],
    };
    for (source, format) in sources {
        let (name, out) = (format!("{}-{format}", source.replace('.', "-")), w.path("out"));
        let add = ["image", "add", source, "--name", &name, "--compress", format];
        let said = w.run(&[&add[..], &excludes].concat()).good();
        for note in [
            "note: --exclude 'opt/none' matches nothing\n",
            "note: apt's caches (68.4 KiB) are left out of the payload\n",
            "note: it contains SSH host keys (/etc/ssh/ssh_host_ed25519_key): ",
        ] {
            assert!(said.contains(note), "{source}, {format}: {note}{said}");
        }
        let payload = w.shown(&format!("cat/images/{name}/payload"));
        match *format {
            "erofs" => tool("fsck.erofs", &[&format!("--extract={}", out.display()), &payload]),
            _ => tool("unsquashfs", &["-q", "-n", "-d", out.to_str().unwrap(), &payload]),
        };
        for (path, is_there) in [
            ("proc", true),
            ("proc/kcore", false),
            ("tmp/x", false),
            ("var/cache/apt/archives", true),
            ("var/cache/apt/archives/a_1.deb", false),
            ("home/ann/letter", true),
            ("home/ann/.cache", false),
            ("home/.keep", true),
            ("srv", false),
            (&format!("boot/vmlinuz-{KERNEL}"), false),
        ] {
            assert_eq!(exists(&out.join(path)), is_there, "{source}, {format}: {path}");
        }
        fs::remove_dir_all(out).unwrap();
    }
    tool("mksquashfs", &[root.to_str().unwrap(), &w.shown("a.squashfs"), "-quiet", "-no-progress"]);
    w.run(&["image", "add", "a.squashfs", "--exclude", "srv"]).refused(
        "--exclude 'srv' is not possible: only directories and tarballs are packed here, and 'a.squashfs' is an image already",
    );
}

#[test]
fn from_add_to_remove() {
    let w = World::new();
    w.squashfs("lab");
    let said =
        w.run(&["image", "add", "lab.squashfs", "--append", "quiet panic=5", "--piece-length", "32K"]).good();
    let m: Value =
        serde_json::from_str(&w.run(&["image", "show", "lab", "--json", "--server", "10.0.0.1"]).good())
            .unwrap();
    let infohash = m["infohash"].as_str().unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("image 'lab': squashfs, "), "{said}");
    assert!(lines[0].ends_with(&format!(" in pieces of 32.0 KiB, infohash {infohash}")), "{said}");
    assert_eq!(
        lines[1],
        format!("kernel {KERNEL} from /boot/vmlinuz-{KERNEL}, initrd from /boot/initrd.img-{KERNEL}")
    );
    assert!(lines[2].starts_with("phase one (kernel and initrd, sent to each machine): 22 B + "), "{said}");
    assert_eq!(
        m["cmdline"],
        format!(
            "boot=boottorrent ip=dhcp BOOTIF=01-${{mac:hexhyp}} boottorrent.server=10.0.0.1 boottorrent.image=lab \
             boottorrent.infohash={infohash} quiet panic=5"
        )
    );
    let before = w.catalogue();
    w.run(&["image", "add", "lab.squashfs"])
        .refused("there is an image 'lab' already: give --replace, or another --name");
    assert_eq!(w.catalogue(), before);

    w.run(&["image", "add", "lab.squashfs", "--replace", "--private"]).good();
    let list: Value = serde_json::from_str(&w.run(&["image", "list", "--json"]).good()).unwrap();
    assert_eq!((list.as_array().unwrap().len(), &list[0]["private"]), (1, &Value::Bool(true)));
    assert_ne!(list[0]["infohash"], infohash);
    assert!(w.run(&["image", "list"]).good().contains("\nlab   squashfs  "));
    assert_eq!(list[0]["priority"], 5);

    let manifest = w.path("cat/images/lab/manifest.toml");
    let usual = fs::read_to_string(&manifest).unwrap();
    assert!(!usual.contains("priority"), "{usual}");
    assert_eq!(
        w.run(&["image", "set", "lab", "--priority", "9"]).good(),
        "image 'lab' has priority 9; a running server has seen it within 2 seconds\n"
    );
    assert!(w.run(&["image", "show", "lab"]).good().contains("\npriority  9\n"));
    w.run(&["image", "set", "lab", "--priority", "5"]).good();
    assert_eq!(fs::read_to_string(&manifest).unwrap(), usual);
    let bad = w.run(&["image", "set", "lab", "--priority", "10"]);
    assert!(
        bad.code == Some(2) && bad.err.contains("'10' is not a valid priority: write a number from 1"),
        "{}",
        bad.err
    );
    w.run(&["image", "set", "lab2", "--priority", "1"])
        .refused(&format!("no image 'lab2' in {}: there are: lab", w.shown("cat/images")));

    w.run(&["image", "show", "lab2"])
        .refused(&format!("no image 'lab2' in {}: there are: lab", w.shown("cat/images")));

    assert_eq!(w.run(&["image", "remove", "lab"]).good(), "image 'lab' removed\n");
    assert!(w.catalogue().is_empty());
    assert_eq!(
        w.run(&["image", "list"]).good(),
        format!("no images in {}: add one with `boottorrent image add`\n", w.shown("cat/images"))
    );
}

#[test]
fn kernel_and_initrd_from_elsewhere() {
    let w = World::new();
    w.write("root/etc/hostname", "x");
    let (kernel, good) =
        (w.write("k", "kernel"), w.write("i", initrd(&["scripts/boottorrent", "bin/boottorrent-agent"])));
    let given = ["--kernel", kernel.to_str().unwrap(), "--initrd", good.to_str().unwrap()];
    w.run(&[&["image", "add", "root"][..], &given].concat()).good();
    assert_eq!(fs::read(w.path("cat/images/root/initrd")).unwrap(), fs::read(good).unwrap());
}

/// Must hold 5: each refusal is one sentence, exit code 1, and the catalogue is as it was.
#[test]
fn refusals_leave_the_catalogue_as_it_was() {
    let w = World::new();
    let squashfs = fs::read(w.squashfs("lab")).unwrap();
    w.run(&["image", "add", "lab.squashfs"]).good();
    let before = w.catalogue();

    w.write("empty", "");
    w.write("notes.txt", "milk\nbread\n");
    w.write("cut.squashfs", &squashfs[..squashfs.len() / 2]);
    w.write("bare/etc/hostname", "x");
    let stock = w.root("stock").join(format!("boot/initrd.img-{KERNEL}"));
    fs::write(&stock, initrd(&["init", "scripts/nfs"])).unwrap();
    tool("mksquashfs", &[&w.shown("bare"), &w.shown("bare.squashfs"), "-quiet", "-no-progress"]);
    tool("tar", &["-C", &w.shown("bare"), "-cf", &w.shown("bare.tar"), "."]);
    tool("mke2fs", &["-q", "-t", "ext4", "-d", &w.shown("bare"), &w.shown("bare.ext4"), "1M"]);
    tool("mkfs.erofs", &[&w.shown("bare.erofs"), &w.shown("bare")]);
    let tar = fs::read(w.path("bare.tar")).unwrap();
    let need = u64::from_le_bytes(squashfs[40..48].try_into().unwrap());
    let no_kernel = |s: &str| {
        format!(
            "'{s}' has no kernel: there is no /boot/vmlinuz-* in it; install linux-image-amd64 in it, or give --kernel and --initrd"
        )
    };
    for (args, sentence) in [
        (vec!["empty"], "'empty' is empty".to_owned()),
        (vec!["notes.txt"], format!("'notes.txt' is a text file: {WANT}")),
        (
            vec!["cut.squashfs"],
            format!(
                "'cut.squashfs' is truncated: its squashfs needs {need} bytes, the file has {}",
                squashfs.len() / 2
            ),
        ),
        (vec!["bare"], no_kernel("bare")),
        (vec!["bare.squashfs"], no_kernel("bare.squashfs")),
        (vec!["bare.ext4"], no_kernel("bare.ext4")),
        (vec!["bare.erofs"], no_kernel("bare.erofs")),
        (vec!["bare.tar"], no_kernel("bare.tar")),
        (
            vec!["stock"],
            format!(
                "the initrd /boot/initrd.img-{KERNEL} lacks BootTorrent's boot script (scripts/boottorrent): install \
                 the package boottorrent-initramfs-tools in the image; and this server cannot make one instead, because \
                 the image has no /lib/modules/{KERNEL}/modules.dep"
            ),
        ),
        (vec!["nowhere"], "opening nowhere: No such file or directory (os error 2)".into()),
        (vec!["/dev/null"], "'/dev/null' is neither a file nor a directory".into()),
        (
            vec!["lab-root", "--kernel", "empty", "--name", "x"],
            "the file empty is empty: a machine could not boot with it".into(),
        ),
    ] {
        w.run(&[&["image", "add"][..], &args].concat()).refused(&sentence);
        assert_eq!(w.catalogue(), before, "{args:?}");
    }
    // A tarball that ends too early: between two files, and within one.
    let data = tar.iter().rposition(|b| *b != 0).unwrap().next_multiple_of(512);
    for end in [600, data, data + 512, data - 100] {
        w.write("cut.tar", &tar[..end]);
        let said = w.run(&["image", "add", "cut.tar"]);
        assert_eq!(said.code, Some(1), "{end}");
        assert!(said.err.contains("truncated") || said.err.contains("Unexpected EOF"), "{end}: {}", said.err);
        assert_eq!(w.catalogue(), before);
    }
}

#[test]
fn bad_names_are_usage_errors() {
    let w = World::new();
    w.squashfs("lab");
    for name in ["a/b", "..", "../x", "", ".hidden", "a b"] {
        let said = w.run(&["image", "add", "lab.squashfs", "--name", name]);
        assert_eq!(said.code, Some(2), "{name}");
        let sentence = format!(
            "'{name}' is not a valid image name: use 1 to 64 of a-z A-Z 0-9 . _ - and start with a letter or digit"
        );
        assert!(said.err.contains(&sentence), "{}", said.err);
        assert!(!exists(&w.path("cat")));
    }
    fs::rename(w.path("lab.squashfs"), w.path("my image.squashfs")).unwrap();
    w.run(&["image", "add", "my image.squashfs"]).refused(
        "'my image' is not a valid image name: use 1 to 64 of a-z A-Z 0-9 . _ - and start with a letter or digit; give one with --name",
    );
}

/// On a tmpfs of 2 MiB in a mount namespace of its own: an image that is seen
/// to be too large, and a directory that turns out to be.
#[test]
fn a_full_disk() {
    let w = World::new();
    w.squashfs("small");
    w.root("big");
    w.write("big/noise", noise(6_000_000));
    tool("mksquashfs", &[&w.shown("big"), &w.shown("big.squashfs"), "-quiet", "-no-progress"]);
    fs::create_dir(w.path("cat")).unwrap();
    let program = env!("CARGO_BIN_EXE_boottorrent");
    let script = format!(
        "mount -t tmpfs -o size=2M none cat && B='{program} --config server.toml --dir cat image add' && \
         $B small.squashfs >/dev/null && state() {{ find cat -type f ! -name .lock | sort | xargs sha256sum; ls -A cat/images; }} && \
         state >before; $B big.squashfs; echo $?; state | cmp - before && $B big; echo $?; state | cmp - before && echo same"
    );
    w.write("server.toml", "");
    let unshare = if is_root() { "-m" } else { "-rm" };
    let out = Command::new("unshare")
        .args([unshare, "sh", "-c", &script])
        .current_dir(w.dir.path())
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8(out.stdout).unwrap(), String::from_utf8(out.stderr).unwrap());
    assert_eq!(out, "1\n1\nsame\n", "{err}");
    let lines: Vec<&str> = err.lines().filter(|l| l.starts_with("boottorrent: ")).collect();
    assert!(lines[0].starts_with("boottorrent: no room for 'big' in the catalogue: it needs 6."), "{err}");
    assert!(lines[0].ends_with(" are free; free some, or choose another disk with --dir"), "{err}");
    assert_eq!(
        lines[1],
        "boottorrent: no room for 'big' in the catalogue: the disk with cat/images is full; free some, or choose another one with --dir"
    );
    assert_eq!(lines.len(), 2, "{err}");
}

/// The folder in which an image is being made: nobody can foresee its name.
fn staged(w: &World, image: &str) -> Option<PathBuf> {
    let mut all = fs::read_dir(w.path("cat/images")).ok()?.filter_map(|e| Some(e.ok()?.path()));
    let name =
        |p: &PathBuf| p.file_name().unwrap().to_string_lossy().starts_with(&format!(".staging-{image}-"));
    all.find(name)
}

/// ^C in the middle of a copy of 1 GiB.
#[test]
fn interrupted_while_copying() {
    let w = World::new();
    let root = w.root("big-root");
    w.run(&["image", "add", "big-root", "--name", "first"]).good();
    let before = w.catalogue();
    tool("mke2fs", &["-q", "-t", "ext4", "-d", root.to_str().unwrap(), &w.shown("big.ext4"), "1G"]);
    for name in [Signal::SIGINT, Signal::SIGTERM] {
        let mut child = w.command(&["image", "add", "big.ext4"]).stderr(Stdio::piped()).spawn().unwrap();
        until("copying", || exists(&staged(&w, "big")?.join("payload")).then_some(()));
        signal(&child, name);
        assert_eq!(child.wait().unwrap().code(), Some(130));
        let mut err = String::new();
        std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut err).unwrap();
        assert!(err.ends_with("boottorrent: interrupted: nothing was changed\n"), "{err}");
        assert_eq!(w.catalogue(), before);
    }
}

/// ^C while another program works, and kill -9, whose leavings the next run cleans.
#[test]
fn interrupted_while_packing() {
    let w = World::new();
    w.root("lab");
    let slow = w.write("bin/mksquashfs", "#!/bin/sh\necho half >\"$2\"\nexec sleep 3\n");
    fs::set_permissions(slow, fs::Permissions::from_mode(0o755)).unwrap();
    let start = || {
        let path = format!("{}:{}", w.shown("bin"), std::env::var("PATH").unwrap());
        let mut command = w.command(&["image", "add", "lab"]);
        let child = command.env("PATH", path).stderr(Stdio::null()).spawn().unwrap();
        let staging = until("packing", || staged(&w, "lab").filter(|s| exists(&s.join("payload"))));
        (child, staging)
    };
    let (mut child, staging) = start();
    signal(&child, Signal::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(!exists(&staging));

    let (mut child, staging) = start();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(exists(&staging), "kill -9 cannot clean");
    assert_eq!(w.run(&["image", "list", "--json"]).good(), "[]\n", "and it is not an image");
    w.run(&["image", "add", "lab"]).good();
    assert!(!exists(&staging), "the next run cleans");
}
