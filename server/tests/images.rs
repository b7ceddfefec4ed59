// SPDX-License-Identifier: GPL-3.0-or-later
//! Images that somebody made to do harm: they name other files, or have no end. One sentence, and nothing is left.
#![allow(missing_docs)]

mod common;

use common::{World, tool};
use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::FileExt,
    process::{Command, Stdio},
};

const SECRET: &str = "what only root should read";

/// A disk that `image add` would take, with a kernel and an initrd of ours.
fn disk(w: &World, name: &str) {
    let root = w.root(&format!("{name}-root"));
    w.write(&format!("{name}-root/usr/lib/os-release"), "ID=debian");
    let (part, image) = (w.shown(&format!("{name}.part")), w.path(name));
    tool("mke2fs", &["-q", "-t", "ext4", "-d", root.to_str().unwrap(), &part, "10M"]);
    File::create(&image).unwrap().set_len(12 << 20).unwrap();
    let mut sfdisk = Command::new("/usr/sbin/sfdisk");
    let mut child = sfdisk
        .args(["-q", "--no-reread", "--no-tell-kernel"])
        .arg(&image)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"label: gpt\nstart=2048, size=20480, type=linux\n").unwrap();
    assert!(child.wait().unwrap().success());
    let to = File::options().write(true).open(&image).unwrap();
    to.write_all_at(&fs::read(&part).unwrap(), 1 << 20).unwrap();
}

/// Put words into a VMDK's embedded description.
fn describe(vmdk: &std::path::Path, change: impl Fn(String) -> String) {
    let mut file = File::options().read(true).write(true).open(vmdk).unwrap();
    let mut text = vec![0; 20 * 512];
    file.seek(SeekFrom::Start(512)).unwrap();
    file.read_exact(&mut text).unwrap();
    let end = text.iter().position(|b| *b == 0).unwrap();
    let mut new = change(String::from_utf8(text[..end].to_vec()).unwrap()).into_bytes();
    new.resize(20 * 512, 0);
    file.write_all_at(&new, 512).unwrap();
}

#[test]
fn no_image_reads_another_file() {
    let w = World::new();
    disk(&w, "good.img");
    w.write("secret", SECRET.repeat(50_000));
    let secret = w.shown("secret");
    let create = |args: &[&str]| tool("qemu-img", &[&["create", "-q"], args].concat());
    for format in ["qcow2", "vmdk"] {
        let (base, child) = (w.shown(&format!("base.{format}")), w.shown(&format!("child.{format}")));
        tool("qemu-img", &["convert", "-f", "raw", "-O", format, &w.shown("good.img"), &base]);
        create(&["-f", format, "-F", format, "-b", &base, &child]);
    }
    // The one of which a parent is only in the description; and one that hides it behind the header at the end.
    fs::copy(w.path("base.vmdk"), w.path("hint.vmdk")).unwrap();
    let inner = format!("json:{{'driver':'raw','file':{{'driver':'file','filename':'{secret}'}}}}");
    describe(&w.path("hint.vmdk"), |t| {
        format!("{}parentFileNameHint=\"{inner}\"\n", t.replace("parentCID=ffffffff", "parentCID=12345678"))
    });
    fs::copy(w.path("base.vmdk"), w.path("quiet.vmdk")).unwrap();
    describe(&w.path("quiet.vmdk"), |t| format!("{t}parentFileNameHint=\"{inner}\"\n"));
    create(&["-f", "vmdk", "-o", "subformat=monolithicFlat", &w.shown("flat.vmdk"), "12M"]);
    create(&["-f", "vmdk", "-o", "subformat=twoGbMaxExtentSparse", &w.shown("many.vmdk"), "12M"]);
    tool("qemu-img", &["convert", "-f", "raw", "-O", "vdi", &w.shown("good.img"), &w.shown("diff.vdi")]);
    File::options().write(true).open(w.path("diff.vdi")).unwrap().write_all_at(&[4, 0, 0, 0], 0x4c).unwrap();
    let why = |image: &str| {
        let said = w.run(&["image", "add", image, "--name", "taken"]);
        assert_eq!(said.code, Some(1), "{image}: {}", said.out);
        assert_eq!(said.err.lines().count(), 1, "{image}: {}", said.err);
        said.err
    };
    for (image, what) in [
        ("child.qcow2", "a backing file"),
        ("child.vmdk", "a parent file"),
        ("hint.vmdk", "a parent file"),
        ("quiet.vmdk", "a parent file"),
        ("diff.vdi", "a parent file"),
    ] {
        let said = why(image);
        assert!(said.contains(&format!("that needs {what}: ")), "{image}: {said}");
    }
    for image in ["flat.vmdk", "many.vmdk"] {
        why(image);
    }
    // What is whole is taken, whoever may read it.
    fs::set_permissions(w.path("base.vmdk"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    w.run(&["image", "add", "base.vmdk", "--name", "vmdk"]).good();
    w.run(&["image", "add", "base.qcow2", "--name", "qcow2"]).good();
    let payload = fs::read(w.path("cat/images/vmdk/payload")).unwrap();
    assert!(payload == fs::read(w.path("good.img")).unwrap(), "byte for byte");
    assert!(payload == fs::read(w.path("cat/images/qcow2/payload")).unwrap());
    // And were it not refused: qemu-img does not get at the other file.
    let mut all = fs::read_dir(w.path("cat/images")).unwrap().map(|e| e.unwrap().file_name());
    assert!(all.all(|n| !n.to_string_lossy().starts_with(".staging")));
}

/// The bytes of a GNU tar entry.
fn entry(name: &[u8], kind: u8, size: u64, data: &[u8]) -> Vec<u8> {
    let mut head = vec![0; 512];
    head[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
    head[100..108].copy_from_slice(b"0000755\0");
    head[108..116].copy_from_slice(b"0000000\0");
    head[116..124].copy_from_slice(b"0000000\0");
    head[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    head[136..148].copy_from_slice(b"00000000000\0");
    head[156] = kind;
    head[257..265].copy_from_slice(b"ustar  \0");
    if kind == b'S' {
        // One sparse byte at the end of 8 TiB (base 256).
        head[386..398].copy_from_slice(b"00000000000\0");
        head[398..410].copy_from_slice(b"00000000000\0");
        head[483] = 0x80;
        head[483 + 4..483 + 12].copy_from_slice(&(8_u64 << 40).to_be_bytes());
    }
    head[148..156].copy_from_slice(b"        ");
    let sum: u32 = head.iter().map(|b| u32::from(*b)).sum();
    head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    head.extend_from_slice(data);
    head.resize(head.len().next_multiple_of(512), 0);
    head
}

fn long(name: &[u8]) -> Vec<u8> {
    [entry(b"././@LongLink", b'L', name.len() as u64, name), entry(name, b'0', 0, b"")].concat()
}

/// What has no end ends when the disk would be full, and a reserve is left; nothing stays.
#[test]
fn bombs() {
    let w = World::new();
    let big = w.path("big.img");
    // A squashfs by its head; then what does not compress away by itself.
    let mut file = File::create(&big).unwrap();
    file.write_all(b"hsqs").unwrap();
    let line = b"all work and no play makes jack a dull boy\n".repeat(24_966);
    (0..120).for_each(|_| file.write_all(&line).unwrap());
    for (program, ending) in [("gzip", "gz"), ("xz", "xz"), ("zstd", "zst")] {
        let to = File::create(w.path(&format!("bomb.{ending}"))).unwrap();
        let from = File::open(&big).unwrap();
        assert!(Command::new(program).args(["-1", "-c"]).stdin(from).stdout(to).status().unwrap().success());
    }
    tool(
        "qemu-img",
        &["convert", "-c", "-f", "raw", "-O", "qcow2", &w.shown("big.img"), &w.shown("bomb.qcow2")],
    );
    tool("qemu-img", &["create", "-q", "-f", "qcow2", &w.shown("huge.qcow2"), "1P"]);
    let end = vec![0; 1024];
    w.write("sparse.tar", [entry(b"boot/x", b'S', 512, &[1; 512]), end.clone()].concat());
    w.write("deep.tar", [long(&b"a/".repeat(50_000)), end.clone()].concat());
    w.write("long.tar", [long(&vec![b'a'; 8 << 20]), end].concat());
    let images =
        ["bomb.gz", "bomb.xz", "bomb.zst", "bomb.qcow2", "huge.qcow2", "sparse.tar", "deep.tar", "long.tar"];
    let program = env!("CARGO_BIN_EXE_boottorrent");
    w.write("server.toml", "");
    fs::create_dir(w.path("cat")).unwrap();
    for image in images {
        // The least room that there was meanwhile, and what the program said.
        let script = format!(
            "mount -t tmpfs -o size=64M none cat; {program} --config server.toml --dir cat image add {image} --name x & \
             pid=$!; least=99999999; while kill -0 $pid 2>/dev/null; do now=$(stat -f -c %a cat); \
             [ \"$now\" -ge $least ] || least=$now; sleep 0.01; done; wait $pid; code=$?; \
             echo \"$code $least $(ls -A cat/images | grep -v '^.lock$' | wc -l)\""
        );
        let unshare = if nix::unistd::geteuid().is_root() { "-m" } else { "-rm" };
        let out = Command::new("timeout")
            .args(["120", "unshare", unshare, "sh", "-c", &script])
            .current_dir(w.dir.path())
            .output();
        let out = out.unwrap();
        let (said, err) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        let told: Vec<u64> = said.split_whitespace().map(|n| n.parse().unwrap()).collect();
        assert_eq!((told[0], told[2]), (1, 0), "{image}: {said}{err}");
        // qemu-img writes by itself, and is looked at fifty times a second: on a small disk that is late.
        assert!(told[1] > 0 || image.ends_with("qcow2"), "{image}: a reserve is left: {said}{err}");
        // Beside it there may be how far it was.
        let sentences: Vec<&str> = err.lines().filter(|l| l.starts_with("boottorrent: ")).collect();
        let [err] = sentences.as_slice() else { panic!("{image}: {err}") };
        if image.starts_with("bomb") {
            assert!(err.starts_with("boottorrent: no room for 'x' in the catalogue: "), "{image}: {err}");
        }
    }
}
