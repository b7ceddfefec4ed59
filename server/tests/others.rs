// SPDX-License-Identifier: GPL-3.0-or-later
//! `image add` of what other people make, each made by the real tool: shared cases boot.md and server.md.

mod common;

use common::{KERNEL, Said, World, initrd, tool};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A kernel's header (Documentation/arch/x86/boot.rst) with a version.
fn kernel(version: &str) -> Vec<u8> {
    let mut bytes = vec![0; 0x400];
    bytes[510..512].copy_from_slice(&[0x55, 0xAA]);
    bytes[0x202..0x206].copy_from_slice(b"HdrS");
    bytes[0x20e..0x210].copy_from_slice(&0x100u16.to_le_bytes());
    let text = format!("{version} (x@y) ");
    bytes[0x300..0x300 + text.len()].copy_from_slice(text.as_bytes());
    bytes
}

/// An initrd with our hook, and modules for a version.
fn hooked(version: &str) -> Vec<u8> {
    let module = format!("usr/lib/modules/{version}/kernel/drivers/net/virtio_net.ko");
    initrd(&["scripts/boottorrent", "usr/bin/boottorrent-agent", &module])
}

/// A root whose parts belong together.
fn root(w: &World, name: &str) -> PathBuf {
    let root = w.root(name);
    w.write(&format!("{name}/boot/vmlinuz-{KERNEL}"), kernel(KERNEL));
    w.write(&format!("{name}/boot/initrd.img-{KERNEL}"), hooked(KERNEL));
    w.write(&format!("{name}/usr/lib/modules/{KERNEL}/modules.dep"), "");
    w.write(&format!("{name}/etc/os-release"), "ID=debian\n");
    root
}

fn add(w: &World, args: &[&str]) -> Said {
    w.run(&[&["image", "add"][..], args].concat())
}

/// The image `name`, unpacked.
fn unpacked(w: &World, name: &str) -> PathBuf {
    let out = w.path(&format!("out-{name}"));
    let payload = w.shown(&format!("cat/images/{name}/payload"));
    tool("unsquashfs", &["-q", "-n", "-d", out.to_str().unwrap(), &payload]);
    out
}

fn as_user(w: &World, args: &[&str]) -> Said {
    tool("chmod", &["-R", "a+rwX", w.dir.path().to_str().unwrap()]);
    let ours = w.command(args);
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
    command.arg(ours.get_program()).args(ours.get_args()).current_dir(w.dir.path());
    command.output().unwrap().into()
}

/// What tar means by an archive is what the image has (server.md F5, F6).
// Tried: root tarballs: a name twice, sparse files, a hard link to nothing, files below links | tar
// 1.34
#[test]
fn tarballs_mean_what_tar_means() {
    let w = World::new();
    let tree = root(&w, "lab");
    let (tree, tar) = (tree.to_str().unwrap(), w.shown("r.tar"));
    // Sparse, as `tar -S` stores it.
    let lastlog = w.write("lab/var/log/lastlog", "");
    fs::File::options().write(true).open(lastlog).unwrap().set_len(292_292).unwrap();
    std::os::unix::fs::symlink("usr/bin", w.path("lab/bin")).unwrap();
    w.write("lab/usr/bin/first", "1");
    // Twice the same name, and a file below a folder that is a link by now.
    w.write("up/etc/os-release", "ID=newer\n");
    w.write("up/bin/second", "2");
    tool("tar", &["-cSf", &tar, "-C", tree, "."]);
    tool("tar", &["-rf", &tar, "-C", &w.shown("up"), "etc/os-release", "bin/second"]);
    add(&w, &["r.tar"]).good();
    let out = unpacked(&w, "r");
    assert_eq!(fs::read_to_string(out.join("etc/os-release")).unwrap(), "ID=newer\n");
    assert_eq!(fs::metadata(out.join("var/log/lastlog")).unwrap().len(), 292_292);
    assert_eq!(fs::read_to_string(out.join("usr/bin/second")).unwrap(), "2");

    // Without root rights sqfstar would keep the older file: it is refused, not changed in silence.
    let said = as_user(&w, &["image", "add", "r.tar", "--name", "user"]);
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(
        said.err.starts_with("boottorrent: packing the tarball without root rights (with sudo,"),
        "{}",
        said.err
    );

    // A hard link to nothing.
    w.write("l/etc/a", "a");
    fs::hard_link(w.path("l/etc/a"), w.path("l/etc/b")).unwrap();
    let links = w.shown("links.tar");
    tool("tar", &["-cf", &links, "-C", &w.shown("l"), "etc/a", "etc/b"]);
    tool("tar", &["--delete", "-f", &links, "etc/a"]);
    let said = add(&w, &["links.tar"]);
    assert!(said.err.contains("Cannot hard link"), "{}", said.err);
}

/// Tarballs as others pack them (server.md F15).
// Tried: tarballs: `zstd --long=31` by a pipe, bzip2, lz4, cut off | zstd 1.5, bzip2 1.0, lz4 1.9
#[test]
fn packed_by_others() {
    let w = World::new();
    let tree = root(&w, "lab");
    let tree = tree.to_str().unwrap();
    tool("tar", &["-cf", &w.shown("r.tar"), "-C", tree, "."]);
    let piped = |command: &str| tool("sh", &["-c", &format!("cd {} && {command}", w.dir.path().display())]);
    piped("cat r.tar | zstd -q --long=31 -c > long.tar.zst");
    piped("bzip2 -k r.tar && lz4 -q r.tar r.tar.lz4");
    for (file, name) in [("long.tar.zst", "long"), ("r.tar.bz2", "bz2"), ("r.tar.lz4", "lz4")] {
        add(&w, &[file, "--name", name]).good();
    }
    piped("head -c 300000 long.tar.zst > cut.tar.zst");
    let said = add(&w, &["cut.tar.zst"]);
    assert!(said.code == Some(1) && !said.err.contains("no filesystem"), "{}", said.err);

    piped("mkdir top && mv lab top/rootfs && tar -cf below.tar -C top rootfs");
    let said = add(&w, &["below.tar"]);
    assert!(
        said.err.contains("; everything in it is below rootfs/: pack what is in that folder\n"),
        "{}",
        said.err
    );
    piped("mkdir -p save/blobs && echo '[]' > save/manifest.json && tar -cf save.tar -C save .");
    let said = add(&w, &["save.tar"]);
    assert!(said.err.contains("`docker save` writes: use `docker export`"), "{}", said.err);
}

/// What no machine could mount (boot.md 14), and what is not an image (boot.md 0).
// Tried: squashfs with lzma, lzo, lz4, xz and zstd | mksquashfs 4.5.1
#[test]
fn what_no_machine_could_boot() {
    let w = World::new();
    let tree = root(&w, "lab");
    let tree = tree.to_str().unwrap();
    tool("mksquashfs", &[tree, &w.shown("lzma.squashfs"), "-comp", "lzma", "-quiet", "-no-progress"]);
    add(&w, &["lzma.squashfs"]).refused(
        "'lzma.squashfs' is a squashfs compressed with lzma, which no kernel mounts: pack it with zstd or xz",
    );
    // Its own kernel says what it can.
    w.write(
        &format!("lab/boot/config-{KERNEL}"),
        "CONFIG_SQUASHFS_XZ=y\nCONFIG_SQUASHFS_ZSTD=m\n# CONFIG_SQUASHFS_LZO is not set\n",
    );
    for (compressor, good) in [("lzo", false), ("lz4", false), ("xz", true), ("zstd", true)] {
        let file = format!("{compressor}.squashfs");
        tool("mksquashfs", &[tree, &w.shown(&file), "-comp", compressor, "-quiet", "-no-progress"]);
        let said = add(&w, &[&file]);
        assert_eq!(said.code == Some(0), good, "{compressor}: {}", said.err);
        if !good {
            let option = format!("(CONFIG_SQUASHFS_{} is not set)", compressor.to_uppercase());
            assert!(said.err.contains(KERNEL) && said.err.contains(&option), "{}", said.err);
        }
    }
    w.write("bzImage", kernel(KERNEL));
    add(&w, &["bzImage"])
        .refused("'bzImage' is a Linux kernel: add the root filesystem, and give this file with --kernel");
    let long = format!("x={}", "y".repeat(2100));
    let said = add(&w, &["lab", "--append", &long]);
    assert!(
        said.err.starts_with("boottorrent: the kernel command line has 2")
            && said.err.contains("at most 2047"),
        "{}",
        said.err
    );
}

/// Kernel, initrd and modules belong together (boot.md 7).
#[test]
fn parts_of_different_versions() {
    let w = World::new();
    root(&w, "lab");
    let other = "6.12.73-amd64";
    w.write("other-kernel", kernel(other));
    w.write("other-initrd", hooked(other));
    add(&w, &["lab"]).good();
    add(&w, &["lab", "--name", "k", "--kernel", "other-kernel"]).refused(&format!(
        "the kernel other-kernel is version {other}, but the initrd /boot/initrd.img-{KERNEL} has modules for {KERNEL}: a \
         machine would find no network card; use the initrd of this kernel (`update-initramfs -c -k {other}` makes it)"
    ));
    let said = add(&w, &["lab", "--name", "i", "--initrd", "other-initrd"]);
    assert!(said.err.contains(&format!("initrd other-initrd has modules for {other}")), "{}", said.err);
    let said =
        add(&w, &["lab", "--name", "both", "--kernel", "other-kernel", "--initrd", "other-initrd"]).good();
    assert!(said.contains(&format!("kernel {other} from other-kernel")), "{said}");
    // The image has no modules of its kernel: the same in each kind of source.
    let modules = |at: &Path| fs::rename(at.join(KERNEL), at.join("6.1.0-8-amd64")).unwrap();
    modules(&w.path("lab/usr/lib/modules"));
    let tree = w.shown("lab");
    tool("mksquashfs", &[&tree, &w.shown("s.squashfs"), "-quiet", "-no-progress"]);
    tool("mke2fs", &["-q", "-t", "ext4", "-d", &tree, &w.shown("e.ext4"), "16M"]);
    for source in ["lab", "s.squashfs", "e.ext4"] {
        let said = add(&w, &[source, "--name", "old", "--replace"]).good();
        let note = format!("the kernel is version {KERNEL}, but the image has no /lib/modules/{KERNEL}");
        assert!(said.contains(&note), "{source}: {said}");
    }
}

/// What a tool warns of is passed on (boot.md 17).
#[test]
fn lost_acls_are_told() {
    let w = World::new();
    root(&w, "lab");
    let setfacl = Command::new("setfacl")
        .args(["-m", "u:1234:rwx", &w.shown("lab/etc/secret")])
        .stderr(Stdio::null())
        .status();
    if !setfacl.is_ok_and(|s| s.success()) {
        panic!("setfacl is not installed, or this filesystem has no ACLs: scripts/setup installs acl");
    }
    let said = add(&w, &["lab"]).good();
    assert!(said.contains("POSIX ACLs are lost, since squashfs has none: use --compress erofs"), "{said}");
    let said = add(&w, &["lab", "--name", "e", "--compress", "erofs"]).good();
    assert!(!said.contains("ACL"), "{said}");
}

/// `--replace` keeps what was set (users.md A1, A2).
#[test]
fn a_new_version_keeps_what_was_set() {
    let w = World::new();
    root(&w, "lab");
    add(&w, &["lab", "--append", "console=ttyS0 console=tty0", "--priority", "3"]).good();
    let shown = |name: &str| {
        let json: serde_json::Value =
            serde_json::from_str(&w.run(&["image", "show", name, "--json"]).good()).unwrap();
        (json["append"].as_str().unwrap().to_owned(), json["priority"].as_u64().unwrap())
    };
    let said = add(&w, &["lab", "--replace"]).good();
    assert_eq!(shown("lab"), ("console=ttyS0 console=tty0".into(), 3));
    assert!(
        said.contains("kept from the version before: --append 'console=ttyS0 console=tty0' --priority 3"),
        "{said}"
    );
    add(&w, &["lab", "--replace", "--append", "quiet"]).good();
    assert_eq!(shown("lab"), ("quiet".into(), 3));
    add(&w, &["lab", "--replace", "--append", "", "--priority", "5"]).good();
    assert_eq!(shown("lab"), (String::new(), 5));
    // And it can be set without adding it again: no byte of the torrent changes.
    let torrent = fs::read(w.path("cat/images/lab/lab.torrent")).unwrap();
    w.run(&["image", "set", "lab", "--append", "panic=60"]).good();
    assert_eq!(shown("lab"), ("panic=60".into(), 5));
    assert_eq!(fs::read(w.path("cat/images/lab/lab.torrent")).unwrap(), torrent);
    w.run(&["image", "set", "lab", "--append", ""]).good();
    assert_eq!(shown("lab"), (String::new(), 5));
}
