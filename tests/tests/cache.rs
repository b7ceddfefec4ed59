// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent.target=LABEL=…`: a disk that keeps images between boots.

use anyhow::{Context, Result, ensure};
use bootspec::Progress;
use boottorrent_tests::{
    BOOT, Cmd, Lab, MULTI_USER, Server, Vm,
    assets::{self, Image, Suite},
    little_memory,
};
use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// So narrow that fetching takes much longer than all the rest of a boot.
const LINK: u32 = 25;

/// A server behind a narrow link, and a disk.
struct Room {
    image: Image,
    lab: Lab,
}

impl Room {
    fn new(name: &str) -> Result<Self> {
        let room = Self { image: assets::image(Suite::own()?)?, lab: Lab::new(name)? };
        room.lab.limit(room.lab.server(), LINK)?;
        Ok(room)
    }

    /// A file of so many MiB, with an ext4 labelled `images` if there is a label.
    fn disk(&self, name: &str, mib: u64, label: Option<&str>) -> Result<PathBuf> {
        let file = self.lab.dir().join(name);
        File::create(&file)?.set_len(mib << 20)?;
        if let Some(label) = label {
            Cmd::new("mke2fs").args(["-q", "-t", "ext4", "-m", "0", "-L", label]).arg(&file).run()?;
        }
        Ok(file)
    }

    /// The server has a new version of the image, in which a tenth of the files is other.
    fn publish_changed(&self, server: &Server, name: &str) -> Result<()> {
        let text = |p: &Path| p.to_string_lossy().into_owned();
        let changed = text(&changed(&self.image)?);
        let (kernel, initrd) = (text(&self.image.kernel()), text(&self.image.initrd()));
        let add = ["image", "add", &changed, "--name", name, "--replace", "--append", assets::APPEND];
        server.boottorrent(&[&add[..], &["--kernel", &kernel, "--initrd", &initrd]].concat()).map(drop)
    }

    fn boot(&self, disk: &Path, memory: u32, words: &str) -> Result<Vm> {
        let append = format!("{} boot=boottorrent ip=dhcp boottorrent.image=debian {words}", assets::APPEND);
        let vm = Vm::direct("vm", &self.image.kernel(), &self.image.initrd(), &append);
        vm.memory(memory).disk(disk, "CACHE1").start(&self.lab)
    }
}

/// Wait until the root is mounted. When that was, and what had been fetched.
fn root(vm: &mut Vm, server: &Server) -> Result<(Duration, Progress)> {
    let line = vm.expect("boottorrent: root mounted", BOOT)?;
    vm.expect(MULTI_USER, BOOT)?;
    let client = server.client(vm.mac())?;
    // Read when it seeds: a moment later.
    little_memory(&client)?;
    let progress = client.progress;
    println!(
        "root after {:.1} s; {} of {} bytes received",
        line.at.as_secs_f64(),
        progress.received(),
        progress.total
    );
    Ok((line.at, progress))
}

/// What of the image was fetched, in percent.
fn percent(p: &Progress) -> f64 {
    p.received() as f64 * 100.0 / p.total as f64
}

const TARGET: &str = "boottorrent.target=LABEL=boottorrent";

#[test]
#[ignore = "five boots, four minutes: make test-full"]
fn an_image_is_fetched_once() -> Result<()> {
    let room = Room::new("cache")?;
    let mut server = Server::start(&room.lab, &room.image, &[])?;
    let disk = room.disk("disk.raw", 1500, None)?;

    let mut vm = room.boot(&disk, 1024, &format!("boottorrent.mkfs=/dev/vda {TARGET}"))?;
    vm.expect("making a filesystem for images on /dev/vda (1.46 GiB, label boottorrent)", BOOT)?;
    let (first, all) = root(&mut vm, &server)?;
    ensure!((99.0..110.0).contains(&percent(&all)), "{all:?}");
    // What holds the disk does not hold up the machine's end.
    vm.login()?;
    off(&mut vm)?;

    // Too little RAM for the image in RAM: the second choice is taken, and has it.
    let words = "boottorrent.mkfs=/dev/vda boottorrent.target=ram,LABEL=boottorrent";
    let mut vm = room.boot(&disk, 512, words)?;
    vm.expect("; taking the next target, LABEL=boottorrent", BOOT)?;
    let (second, none) = root(&mut vm, &server)?;
    ensure!(percent(&none) < 1.0, "{none:?}");
    println!("the second boot took {second:.1?}, the first {first:.1?}");
    vm.login()?;
    vm.sh("grep '/run/boottorrent/disk/vda ext4 ro,' /proc/mounts")?;
    off(&mut vm)?;

    // Its torrent still has the name that it was made with: what counts is what machines ask for.
    server.boottorrent(&["image", "set", "debian", "--rename", "lab"])?;
    server.restart(&[])?;
    let infohash = server.image("lab")?.infohash;
    flip(&disk, &format!("/boottorrent/{infohash}.img"), 5000)?;
    let kept = format!("{TARGET} boottorrent.overlay=LABEL=boottorrent boottorrent.image=lab");
    let mut vm = room.boot(&disk, 1024, &kept)?;
    vm.expect(" are here and right, 1 pieces are missing", BOOT)?;
    let (_, one) = root(&mut vm, &server)?;
    let piece = u64::from(server.image("lab")?.piece_length);
    ensure!((1..=2 * piece).contains(&one.received()), "{one:?}");
    vm.login()?;
    let id = vm.sh("echo mine >/etc/mine && cat /etc/machine-id")?;
    off(&mut vm)?;

    server.stop();
    let mut vm = room.boot(&disk, 1024, &kept)?;
    vm.expect(
        "the server 10.77.0.1:6980 did not answer within 20 s: booting lab as it was fetched on 20",
        BOOT,
    )?;
    vm.expect(MULTI_USER, BOOT)?;
    vm.login()?;
    let found = vm.sh("cat /etc/mine /etc/machine-id")?;
    ensure!(found.replace('\r', "") == format!("mine\n{id}"), "what was written is not there: {found}");
    drop(vm);

    // A tenth of the files is new.
    room.publish_changed(&server, "lab")?;
    server.restart(&[])?;
    let mut vm = room.boot(&disk, 1024, &format!("{TARGET} boottorrent.image=lab"))?;
    vm.expect("from images that are here: ", BOOT)?;
    let (_, new) = root(&mut vm, &server)?;
    println!("a new version: {:.1} % fetched", percent(&new));
    ensure!(percent(&new) < 35.0, "{new:?}");
    Ok(())
}

/// Switch a machine off from its shell, which somebody has logged in to.
fn off(vm: &mut Vm) -> Result<()> {
    let begun = Instant::now();
    vm.send_line("poweroff")?;
    vm.wait_off(Duration::from_secs(90))?;
    println!("powered off in {:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
}

/// The image with other content in a tenth of its files: kernel modules and data, so that it still boots.
fn changed(image: &Image) -> Result<PathBuf> {
    let key = assets::key_of(&[image.payload()], &["1"])?;
    let dir = assets::cached("changed", &key, |dir| {
        let tree = dir.join("tree");
        Cmd::new("unsquashfs").args(["-q", "-n", "-d"]).arg(&tree).arg(image.payload()).run()?;
        let files = Cmd::new("find").arg(&tree).args(["-type", "f"]).run()?;
        let mut some: Vec<&str> = files
            .lines()
            .filter(|f| f.contains("/lib/modules/") && f.contains("/kernel/") || f.contains("/usr/share/"))
            .collect();
        some.sort_unstable();
        let (all, every) = (files.lines().count(), some.len() * 10 / files.lines().count().max(1));
        for file in some.iter().step_by(every.max(1)).take(all / 10) {
            let mut bytes = fs::read(file)?;
            bytes.iter_mut().for_each(|b| *b = b.wrapping_add(1));
            bytes.extend_from_slice(&b"odd"[..1 + all % 3]);
            fs::write(file, bytes)?;
        }
        Cmd::new("mksquashfs")
            .args([&tree, &dir.join("payload.squashfs")])
            .args(["-noappend", "-quiet", "-no-progress", "-comp", "zstd", "-Xcompression-level", "3"])
            .run()?;
        fs::remove_dir_all(tree).context("tidying up")
    })?;
    Ok(dir.join("payload.squashfs"))
}

/// Change one bit of a file on an ext4 in an image file.
fn flip(disk: &Path, file: &str, block: u64) -> Result<()> {
    let said = Cmd::new("debugfs").arg("-R").arg(format!("bmap {file} {block}")).arg(disk).run()?;
    let at = said.trim().parse::<u64>().with_context(|| format!("debugfs says: {said}"))? * 4096;
    let (file, mut byte) = (File::options().read(true).write(true).open(disk)?, [0]);
    file.read_exact_at(&mut byte, at + 77)?;
    file.write_all_at(&[byte[0] ^ 4], at + 77)?;
    Ok(())
}

#[test]
fn a_power_cut_costs_what_was_not_fetched() -> Result<()> {
    let room = Room::new("powercut")?;
    let server = Server::start(&room.lab, &room.image, &[])?;
    let disk = room.disk("disk.raw", 1500, Some("images"))?;
    let vm = room.boot(&disk, 1024, "boottorrent.target=LABEL=images")?;
    let begun = Instant::now();
    let had = loop {
        let have = server.client(vm.mac()).map_or(0.0, |c| c.progress.percent());
        if have >= 50.0 {
            break have;
        }
        ensure!(begun.elapsed() < BOOT, "it does not get half of the image: {have} %");
        std::thread::sleep(Duration::from_millis(200));
    };
    drop(vm);
    let mut vm = room.boot(&disk, 1024, "boottorrent.target=LABEL=images")?;
    vm.expect(" are here and right, ", BOOT)?;
    let (_, rest) = root(&mut vm, &server)?;
    println!("cut at {had:.0} %, then {:.0} % fetched", percent(&rest));
    ensure!((100.0 - had - 5.0..100.0 - had + 20.0).contains(&percent(&rest)), "{rest:?}");
    Ok(())
}

#[test]
#[ignore = "a case that is rare, and three minutes: make test-full"]
fn a_server_that_dies_in_a_new_version_leaves_the_old_one() -> Result<()> {
    let room = Room { image: assets::image(Suite::own()?)?, lab: Lab::new("dies")? };
    let mut server = Server::start(&room.lab, &room.image, &[])?;
    let disk = room.disk("disk.raw", 1500, Some("images"))?;
    let mut vm = room.boot(&disk, 1024, "boottorrent.target=LABEL=images")?;
    root(&mut vm, &server)?;
    vm.login()?;
    off(&mut vm)?;
    let old = server.image("debian")?.infohash;

    room.publish_changed(&server, assets::IMAGE)?;
    server.restart(&[])?;
    room.lab.limit(room.lab.server(), 4)?;
    // RAM would have room for the new version, but it has not the old one.
    let words = "boottorrent.target=LABEL=images,ram boottorrent.timeout=15s";
    let mut vm = room.boot(&disk, 1024, words)?;
    vm.expect("debian: from images that are here: ", BOOT)?;
    let begun = Instant::now();
    while server.client(vm.mac()).map_or(0, |c| c.progress.received()) < 2 << 20 {
        ensure!(begun.elapsed() < BOOT, "nothing of the new version comes");
        std::thread::sleep(Duration::from_millis(100));
    }
    server.stop();
    vm.expect("nobody has sent a piece of debian for 15 s", BOOT)?;
    vm.expect(": booting debian as it was fetched on 20", BOOT)?;
    vm.expect(MULTI_USER, BOOT)?;
    vm.login()?;
    let from = vm.sh("losetup --raw -n -O BACK-FILE")?;
    ensure!(from.contains(&format!("{old}.img")), "{from}");
    Ok(())
}

/// Other filesystems than ext4, a root that is read-only, and no network at all.
#[test]
#[ignore = "what an admin may choose, and few do: make test-full"]
fn xfs_and_btrfs_keep_images_too() -> Result<()> {
    let room = Room { image: assets::image(Suite::own()?)?, lab: Lab::new("cachefs")? };
    let mut server = Server::start(&room.lab, &room.image, &[])?;
    let mut disks = Vec::new();
    for (format, overlay) in [("xfs", "none"), ("btrfs", "LABEL=images")] {
        let disk = room.disk(format, 1500, None)?;
        Cmd::new(format!("mkfs.{format}")).args(["-q", "-L", "images"]).arg(&disk).run()?;
        let words = format!("boottorrent.target=LABEL=images boottorrent.overlay={overlay}");
        let mut vm = room.boot(&disk, 1024, &words)?;
        root(&mut vm, &server)?;
        vm.login()?;
        let mounts = vm.sh("grep -e ' / ' -e /run/boottorrent/disk /proc/self/mounts")?;
        println!("{mounts}");
        ensure!(mounts.contains(&format!("/run/boottorrent/disk/vda {format} ")), "{mounts}");
        let read_only = mounts.lines().any(|l| l.contains(" / squashfs ro"));
        ensure!(read_only == (overlay == "none"), "{mounts}");
        off(&mut vm)?;
        disks.push((disk, words));
    }
    server.stop();
    for (disk, words) in disks {
        let mut vm = room.boot(&disk, 1024, &format!("{words} ip=off"))?;
        vm.expect(": booting debian as it was fetched on 20", BOOT)?;
        let said = vm.expect("boottorrent: root mounted", BOOT)?;
        println!("without a network, root after {:.1} s", said.at.as_secs_f64());
        vm.expect(MULTI_USER, BOOT)?;
        drop(vm);
    }
    Ok(())
}

/// All refusals on one machine: from its rescue shell, the agent is run with other parameters.
#[test]
fn refusals_touch_nothing() -> Result<()> {
    let room = Room::new("cacheno")?;
    let _server = Server::start(&room.lab, &room.image, &[])?;
    let disk = room.disk("disk.raw", 100, Some("small"))?;
    let before = fs::read(&disk)?;
    let append = "console=ttyS0 mitigations=off boot=boottorrent ip=dhcp boottorrent.image=debian";
    let mut vm = Vm::direct(
        "vm",
        &room.image.kernel(),
        &room.image.initrd(),
        &format!("{append} boottorrent.target=LABEL=images"),
    )
    .disk(&disk, "CACHE1")
    .start(&room.lab)?;
    vm.expect("boottorrent: there is no LABEL=images on this machine: there are LABEL=small", BOOT)?;
    vm.expect("(initramfs)", Duration::from_secs(60))?;
    for (words, sentence) in [
        (
            "boottorrent.mkfs=/dev/vda boottorrent.target=/dev/vda",
            "boottorrent.mkfs=/dev/vda is not formatted: /dev/vda carries a filesystem (ext4); if nothing on it is needed, erase it",
        ),
        ("boottorrent.mkfs=/dev/vdb", "there is no /dev/vdb on this machine"),
        ("boottorrent.target=LABEL=small", "on LABEL=small, but there is room for "),
    ] {
        vm.send_line(&format!(
            "echo '{append} {words}' >/cmdline; boottorrent-agent boot --cmdline-file /cmdline; echo exit-$?-"
        ))?;
        vm.expect(sentence, Duration::from_secs(90))?;
        vm.expect("exit-1", Duration::from_secs(30))?;
        if words.contains("mkfs") {
            ensure!(fs::read(&disk)? == before, "{words}: the disk is not as it was");
        }
    }
    Ok(())
}

#[test]
#[ignore = "3 GB through an emulated machine: make test-full"]
fn three_gigabytes_on_a_machine_of_768_megabytes() -> Result<()> {
    let room = Room { image: assets::image(Suite::own()?)?, lab: Lab::new("large")? };
    let mut server = Server::start(&room.lab, &room.image, &[])?;
    let large = room.lab.dir().join("large.squashfs");
    let tree = room.lab.dir().join("tree");
    Cmd::new("unsquashfs").args(["-q", "-n", "-d"]).arg(&tree).arg(room.image.payload()).run()?;
    Cmd::new("dd")
        .args(["if=/dev/urandom", "bs=1M", "count=2600", "status=none"])
        .arg(format!("of={}/noise", tree.display()))
        .run()?;
    // Not compressed: noise cannot be, and the rest need not.
    let flags = ["-noappend", "-quiet", "-no-progress", "-noD", "-noF"];
    Cmd::new("mksquashfs").args([&tree, &large]).args(flags).run()?;
    fs::remove_dir_all(tree)?;
    ensure!(large.metadata()?.len() > 3 << 30, "{} bytes", large.metadata()?.len());
    let text = |p: &Path| p.to_string_lossy().into_owned();
    let (file, kernel, initrd) = (text(&large), text(&room.image.kernel()), text(&room.image.initrd()));
    let add =
        ["image", "add", &file, "--name", "debian", "--replace", "--kernel", &kernel, "--initrd", &initrd];
    server.boottorrent(&add)?;
    server.restart(&[])?;
    let disk = room.disk("disk.raw", 4096, Some("images"))?;
    for fetches in [true, false] {
        let mut vm = room.boot(&disk, 768, "boottorrent.target=ram,LABEL=images")?;
        vm.expect("image debian needs 3.", BOOT)?;
        vm.expect("; taking the next target, LABEL=images", BOOT)?;
        let (_, progress) = root(&mut vm, &server)?;
        ensure!((percent(&progress) > 90.0) == fetches, "{progress:?}");
    }
    Ok(())
}
