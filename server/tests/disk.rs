// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent image add` of disk images, made with real sfdisk, mke2fs and qemu-img.

mod common;

use common::{KERNEL, World, initrd, tool};
use serde_json::Value;
use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
    process::{Command, Stdio},
};

/// A disk of 24 MiB with partitions at these MiB, made with this sfdisk script.
fn disk(w: &World, name: &str, script: &str, parts: &[(&Path, u64)]) {
    let disk = File::create(w.path(name)).unwrap();
    disk.set_len(24 << 20).unwrap();
    let mut sfdisk = Command::new("/usr/sbin/sfdisk");
    let mut child =
        sfdisk.arg("-q").arg(w.path(name)).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    let disk = OpenOptions::new().write(true).open(w.path(name)).unwrap();
    for (part, mib) in parts {
        disk.write_all_at(&fs::read(part).unwrap(), mib << 20).unwrap();
    }
}

fn ext4(w: &World, name: &str, folder: &Path) -> std::path::PathBuf {
    tool("mke2fs", &["-q", "-t", "ext4", "-d", folder.to_str().unwrap(), &w.shown(name), "12M"]);
    w.path(name)
}

const GPT: &str = "label: gpt\nstart=2048, size=2048, type=U\nstart=4096, size=24576, type=L\n";

fn add(w: &World, args: &[&str]) -> Value {
    serde_json::from_str(&w.run(&[&["image", "add", "--json"], args].concat()).good()).unwrap()
}

// Tried: disk images: raw, qcow2, vmdk, vdi, vhdx | qemu-img 7.2
#[test]
fn a_disk_in_every_wrapping_is_the_same_image() {
    let w = World::new();
    let root = w.root("lab");
    w.write("lab/usr/lib/os-release", "ID=debian");
    let part = ext4(&w, "part", &root);
    disk(&w, "a.img", GPT, &[(&part, 2)]);
    for (program, end) in [("gzip", "gz"), ("xz", "xz"), ("zstd", "zst")] {
        fs::copy(w.path("a.img"), w.path(&format!("{end}.img"))).unwrap();
        tool(program, &["-q", &w.shown(&format!("{end}.img"))]);
    }
    for format in ["qcow2", "vmdk", "vdi", "vhdx"] {
        let to = w.shown(&format!("b.{format}"));
        tool("qemu-img", &["convert", "-f", "raw", "-O", format, &w.shown("a.img"), &to]);
    }
    fs::copy(w.path("b.qcow2"), w.path("both.qcow2")).unwrap();
    tool("zstd", &["-q", &w.shown("both.qcow2")]);
    let first = add(&w, &["a.img"]);
    assert_eq!(
        (&first["kind"], &first["partition"], &first["family"]),
        (&"disk".into(), &2.into(), &Value::Null)
    );
    assert_eq!(first["kernel"]["from"], format!("/boot/vmlinuz-{KERNEL}"));
    assert_eq!(fs::read(w.path("cat/images/a/payload")).unwrap(), fs::read(w.path("a.img")).unwrap());
    let blocks = |path: &str| fs::metadata(w.path(path)).unwrap().blocks();
    assert!(blocks("cat/images/a/payload") <= blocks("a.img") + 64, "holes stay holes");
    for (source, name) in [
        ("gz.img.gz", "gz"),
        ("xz.img.xz", "xz"),
        ("zst.img.zst", "zst"),
        ("b.qcow2", "qcow2"),
        ("b.vmdk", "vmdk"),
        ("b.vdi", "vdi"),
        ("b.vhdx", "vhdx"),
        ("both.qcow2.zst", "both"),
    ] {
        let m = add(&w, &[source, "--name", name]);
        // vhdx has whole MiB, VDI too: the disk has them.
        assert_eq!((&m["size"], &m["partition"]), (&first["size"], &2.into()), "{source}");
        let payload = format!("cat/images/{name}/payload");
        assert!(fs::read(w.path(&payload)).unwrap() == fs::read(w.path("a.img")).unwrap(), "{source}");
        assert!(blocks(&payload) < 24 << 11, "{source}: sparse");
        assert!(!w.path(&format!("cat/images/{name}/virtual")).exists());
    }
    let shown = w.run(&["image", "show", "a", "--server", "10.0.0.1"]).good();
    assert!(shown.contains("boottorrent.kind=disk boottorrent.partition=2"), "{shown}");
    add(&w, &["a.img", "--name", "own", "--append", "root=LABEL=other"]);
    let shown = w.run(&["image", "show", "own", "--server", "10.0.0.1"]).good();
    assert!(!shown.contains("boottorrent.partition"), "root= counts more: {shown}");
    // Compressed filesystems as well.
    fs::copy(w.squashfs("packed"), w.path("packed.img")).unwrap();
    tool("xz", &["-q", &w.shown("packed.img")]);
    assert_eq!(add(&w, &["packed.img.xz", "--name", "packed"])["format"], "squashfs");
}

/// An initrd as Debian makes it, a /boot of its own, logical partitions.
#[test]
fn what_the_initrd_lacks_is_taken_from_the_image() {
    let w = World::new();
    let (root, modules) = (w.root("deb"), format!("deb/usr/lib/modules/{KERNEL}"));
    w.write(
        &format!("{modules}/modules.dep"),
        "kernel/fs/overlayfs/overlay.ko.xz: kernel/lib/two.ko kernel/lib/one.ko\n",
    );
    w.write(&format!("{modules}/modules.builtin"), "kernel/fs/ext4/ext4.ko\n");
    for (path, text) in [("fs/overlayfs/overlay.ko", "three"), ("lib/one.ko", "one"), ("lib/two.ko", "two")] {
        w.write(&format!("{modules}/kernel/{path}"), format!("\x7fELF {text}"));
    }
    tool("xz", &["-q", &w.shown(&format!("{modules}/kernel/fs/overlayfs/overlay.ko"))]);
    let driver = format!("usr/lib/modules/{KERNEL}/kernel/drivers/net/virtio_net.ko");
    let looped = format!("usr/lib/modules/{KERNEL}/kernel/drivers/block/loop.ko");
    let stock = initrd(&["scripts/local", &driver, &looped]);
    fs::rename(root.join("boot"), w.path("boot")).unwrap();
    fs::create_dir(root.join("boot")).unwrap();
    w.write(&format!("boot/initrd.img-{KERNEL}"), &stock);
    let (boot, root) = (ext4(&w, "boot.ext4", &w.path("boot")), ext4(&w, "root.ext4", &root));
    let cut = OpenOptions::new().write(true).open(&boot).unwrap();
    tool("resize2fs", &[boot.to_str().unwrap(), "6M"]);
    cut.set_len(6 << 20).unwrap();
    let script =
        "label: dos\nstart=2048, size=12288\nstart=16384, size=32768, type=5\nstart=20480, size=24576\n";
    disk(&w, "m.img", script, &[(&boot, 1), (&root, 10)]);
    let m = add(&w, &["m.img"]);
    assert_eq!((&m["family"], &m["partition"]), (&"initramfs-tools".into(), &5.into()));
    let made = fs::read(w.path("cat/images/m/initrd")).unwrap();
    assert_eq!(m["initrd"]["size"], made.len());
    assert!(made.ends_with(&stock) && (made.len() - stock.len()).is_multiple_of(4));
    let mut gunzip = Command::new("sh")
        .args(["-c", "gzip -dcq | cpio -it --quiet"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    gunzip.stdin.take().unwrap().write_all(&made[..made.len() - stock.len()]).unwrap();
    let mut list = String::new();
    gunzip.stdout.take().unwrap().read_to_string(&mut list).unwrap();
    gunzip.wait().unwrap();
    let files: Vec<&str> = list.lines().filter(|l| l.ends_with(".ko")).collect();
    let folder = "usr/share/boottorrent/modules";
    assert_eq!(
        files,
        [format!("{folder}/00-one.ko"), format!("{folder}/01-two.ko"), format!("{folder}/02-overlay.ko")]
    );
}

#[test]
fn refusals() {
    let w = World::new();
    let root = w.root("lab");
    w.write("lab/usr/x", "");
    let part = ext4(&w, "part", &root);
    disk(&w, "good.img", GPT, &[(&part, 2)]);
    disk(&w, "blank.img", GPT, &[]);
    fs::write(w.path("short.img"), &fs::read(w.path("good.img")).unwrap()[..20 << 20]).unwrap();
    let back = w.shown("back.qcow2");
    tool("qemu-img", &["create", "-q", "-f", "qcow2", "-F", "raw", "-b", &w.shown("good.img"), &back]);
    let data = format!("data_file={},data_file_raw=on", w.shown("data"));
    tool("qemu-img", &["create", "-q", "-f", "qcow2", "-o", &data, &w.shown("data.qcow2"), "1M"]);
    let mut dirty = fs::read(w.path("good.img")).unwrap();
    dirty[(2 << 20) + 1024 + 0x60] |= 4;
    fs::write(w.path("dirty.img"), dirty).unwrap();
    let w = &w;
    w.run(&["image", "add", "good.img", "--name", "there"]).good();
    let before = w.catalogue();
    for (source, sentence) in [
        ("short.img", "'short.img' is truncated: its GPT needs 25165824 bytes, the file has 20971520"),
        (
            "blank.img",
            "'blank.img' has no partition with an operating system: it has 1 (1.00 MiB, something else), \
             2 (12.0 MiB, something else); the root must be ext4, squashfs or erofs, and not encrypted or in a volume group",
        ),
        (
            "back.qcow2",
            "'back.qcow2' is a qcow2 that needs a backing file: make one whole image of it first, with `qemu-img convert -O qcow2`",
        ),
        (
            "data.qcow2",
            "'data.qcow2' is a qcow2 that needs a data file of its own: make one whole image of it first, with `qemu-img convert -O qcow2`",
        ),
        ("dirty.img", "partition 2 of 'dirty.img' was not unmounted cleanly: run `e2fsck -f` on it first"),
    ] {
        w.run(&["image", "add", source]).refused(sentence);
        assert!(w.catalogue() == before, "{source}");
    }
    w.run(&["image", "add", "good.img", "--kind", "iso"])
        .refused("'good.img' is not a valid iso: omit --kind, or use --kind disk");
}

/// cases/boot.md 2: d-i's "separate /home, /var" is told; /usr apart, which no machine can boot, is refused.
// Tried: disk images with /var and /usr on partitions of their own | sfdisk 2.38, mke2fs 1.47
#[test]
fn partitions_of_fstab() {
    let w = World::new();
    let root = w.root("lab");
    w.write("lab/usr/lib/os-release", "ID=debian");
    let fstab = |lines: &str| {
        w.write("lab/etc/fstab", format!("LABEL=ROOT / ext4 defaults 0 1\n{lines}"));
        let _ = fs::remove_file(w.path("root.part"));
        ext4(&w, "root.part", &root)
    };
    fs::create_dir_all(w.path("var/lib")).unwrap();
    tool("mke2fs", &["-q", "-t", "ext4", "-L", "VAR", "-d", &w.shown("var"), &w.shown("var.part"), "2M"]);
    let gpt = "label: gpt\nstart=4096, size=24576, type=L\nstart=28672, size=4096, type=L\nstart=32768, size=4096, type=L\n";
    let lines = "LABEL=VAR /var ext4 defaults 0 2\nUUID=1-2 /home xfs defaults 0 2\nnas:/srv /srv nfs4 _netdev 0 0\n/dev/sr0 /media/cdrom0 udf,iso9660 user,noauto 0 0\n";
    disk(&w, "parts.img", gpt, &[(&fstab(lines), 2), (&w.path("var.part"), 14)]);
    let said = w.run(&["image", "add", "parts.img"]).good();
    assert!(said.contains("note: partition 2 is mounted on /var, below what the machine writes\n"), "{said}");
    let home =
        "note: its fstab mounts a disk on /home, which machines leave out: UUID=1-2 is not in the image\n";
    assert!(said.contains(home) && !said.contains("/srv") && !said.contains("cdrom"), "{said}");
    disk(&w, "usr.img", gpt, &[(&fstab("LABEL=VAR /usr ext4 defaults 0 2\n"), 2), (&w.path("var.part"), 14)]);
    w.run(&["image", "add", "usr.img"]).refused(
        "'usr.img' has /usr on a partition of its own (LABEL=VAR): machines cannot boot that; put it on the root partition",
    );
    fstab("UUID=1-2 /home ext4 defaults 0 2\n");
    let said = w.run(&["image", "add", "root.part", "--name", "plain"]).good();
    assert!(
        said.contains("mounts a disk on /home, which machines leave out: the image has no other disk\n"),
        "{said}"
    );
}
