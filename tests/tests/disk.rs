// SPDX-License-Identifier: GPL-3.0-or-later
//! Disk images: from RAM, and written to a disk that was named, whole, half, and not at all.
//! The image has nothing of ours in it: its initrd gets the add-on.

use anyhow::{Context, Result, ensure};
use boottorrent_tests::{
    BOOT, Cmd, Lab, MULTI_USER, Server, Vm, VmConfig,
    assets::{self, APPEND, IMAGE},
    little_memory,
};
use std::{
    fs::{self, File},
    io::Read,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

const SOON: Duration = Duration::from_secs(60);

fn in_lab(name: &str, test: impl FnOnce(&Lab, &mut Server) -> Result<()>) -> Result<()> {
    Server::in_lab(name, &assets::disk_catalogue()?, &[], test)
}

fn blank(lab: &Lab, name: &str, mib: u64) -> Result<PathBuf> {
    let path = lab.dir().join(name);
    File::create(&path)?.set_len(mib << 20)?;
    Ok(path)
}

fn sum(path: &Path) -> Result<String> {
    Ok(Cmd::new("sha256sum").arg(path).run()?.split(' ').next().unwrap_or_default().to_owned())
}

// Tried: NVMe device with two namespaces of one serial number; disk with sectors of 4096 bytes | QEMU
// 7.2 | on machines
#[test]
fn boots_from_ram_and_leaves_every_disk_alone() -> Result<()> {
    in_lab("disk-ram", |lab, server| {
        let (small, used) = (blank(lab, "small", 64)?, blank(lab, "used", 512)?);
        Cmd::new("mke2fs").args(["-q", "-t", "ext4", "-L", "LABROOT"]).arg(&used).run()?;
        Cmd::new("sgdisk").args(["-n", "1:0:0"]).arg(&small).run()?;
        // Two namespaces with one serial number, and a disk with sectors of 4096 bytes: cases/boot.md 4 and 5.
        let (one, two, large) = (blank(lab, "one", 512)?, blank(lab, "two", 512)?, blank(lab, "large", 512)?);
        for (disk, label) in [(&one, "DATA1"), (&two, "DATA2")] {
            Cmd::new("mke2fs").args(["-q", "-L", label]).arg(disk).run()?;
        }
        let disks = [&small, &used, &one, &two, &large];
        let sums = || disks.iter().map(|d| sum(d)).collect::<Result<Vec<_>>>();
        let before = sums()?;
        let machine = Vm::pxe("ram").memory(1536).disk(&small, "SMALL").disk(&used, "USED");
        let machine = machine.disk_of_large_sectors(&large, "LARGE").nvme(&[&one, &two], "S1");
        let mut vm = machine.start(lab)?;
        vm.expect(MULTI_USER, BOOT)?;
        vm.login()?;

        // The image's root, although a disk of this machine has the label that the image's own root= names.
        let lower = vm.sh("grep ' /run/boottorrent/lower ' /proc/self/mounts")?;
        ensure!(lower.starts_with("/dev/loop0 ") && lower.contains(" ext4 ro"), "{lower}");
        let fstab = vm.sh("cat /etc/fstab")?;
        ensure!(!fstab.contains("/dev/vda3"), "systemd would wait for that: {fstab}");
        let srv = vm.sh("findmnt -rno FSTYPE /srv; grep ' /run/boottorrent/lower-3 ' /proc/self/mounts")?;
        ensure!(srv.starts_with("overlay\n/dev/loop") && srv.contains(" ext4 ro"), "its own /srv: {srv}");
        let name = vm.sh("hostname")?;
        ensure!(name.starts_with("boot-"), "{name}");

        little_memory(&server.client(vm.mac())?)?;

        vm.sh("mount -o ro /dev/vdb /mnt")?;
        let disks = "/dev/nvme0n1 (512 MiB, serial S1), /dev/nvme0n2 (512 MiB, serial S1), /dev/vda (64.0 MiB, serial SMALL), \
                     /dev/vdb (512 MiB, serial USED), /dev/vdc (512 MiB, serial LARGE)";
        let link = vm.sh("ls /dev/disk/by-id | grep 'nvme-.*_S1$'")?;
        let twice = |name: &str| {
            format!(
                "boottorrent.target=device:{name} fits 2 disks: name one by a link of /dev/disk/by-id that only it has; \
                 nothing was written"
            )
        };
        let sectors = |disk: &str, has: u32, made: u32| {
            format!(
                "the disk {disk} has sectors of {has} bytes, but the partition table of image debian was made for {made}: \
                 no partition would be found on it; nothing was written (boottorrent.sector= says what the image was made for)"
            )
        };
        let by_link = format!("/dev/disk/by-id/{link}");
        let missing =
            format!("boottorrent.target=device:SERIAL=USE: there is no such disk: there are {disks}");
        for (target, sentence) in [
            (
                "SERIAL=SMALL",
                "the disk /dev/vda (64.0 MiB, serial SMALL) is too small: image debian has 440 MiB (461373440 bytes), \
                 the disk 64.0 MiB (67108864 bytes); nothing was written"
                    .to_owned(),
            ),
            (
                "/dev/vdb",
                "the disk /dev/vdb (512 MiB, serial USED) is in use: /dev/vdb is mounted on /mnt; nothing was written"
                    .into(),
            ),
            ("SERIAL=USE", missing),
            ("/dev/loop0", "the disk /dev/loop0 (396 MiB) is read-only: nothing was written".into()),
            (
                "/dev/vda1",
                "/dev/vda1 is a partition: boottorrent.target=device: overwrites whole disks only; \
                 name the disk, /dev/vda"
                    .into(),
            ),
            ("SERIAL=S1", twice("SERIAL=S1")),
            (&by_link, twice(&by_link)),
            ("SERIAL=LARGE", sectors("/dev/vdc (512 MiB, serial LARGE)", 4096, 512)),
            ("/dev/nvme0n2 boottorrent.sector=4096", sectors("/dev/nvme0n2 (512 MiB, serial S1)", 512, 4096)),
        ] {
            refused(&mut vm, target, &sentence)?;
        }
        drop(vm);
        ensure!(before == sums()?, "a disk was written that should not be");
        server.check()
    })
}

/// The agent, run again in the booted system, stops before the first byte.
fn refused(vm: &mut Vm, target: &str, sentence: &str) -> Result<()> {
    vm.sh(&format!(
        "sed 's#$# boottorrent.target=device:{target} boottorrent.report=off#' /proc/cmdline >/tmp/line"
    ))?;
    let agent = "/run/boottorrent/boottorrent-agent boot --cmdline-file /tmp/line --run-dir /run/again \
                 --root-mnt /tmp/root --kmsg /dev/null --port 7001";
    // A console is narrow: the log has the sentence whole.
    vm.sh(&format!("{agent} >/tmp/said 2>&1; echo \"exit code $?\" >>/run/again/agent.log"))?;
    let said = vm.sh("cat /run/again/agent.log")?;
    ensure!(said.contains(sentence), "{target}: not '{sentence}', but\n{said}");
    ensure!(said.contains("exit code 13"), "{target}: {said}");
    Ok(())
}

#[test]
fn written_to_a_disk_that_then_boots_alone() -> Result<()> {
    in_lab("disk-write", |lab, server| {
        let target = blank(lab, "target", 512)?;
        let image = server.payload();
        let data = Cmd::new("du").args(["-m", "--"]).arg(&image).run()?;
        let data: u64 = data.split_whitespace().next().unwrap_or_default().parse::<u64>()? << 20;

        // It was in a RAID: mdadm's magic number, where metadata 1.0 has it.
        let superblock = (512 << 20) - 16 * 512;
        File::options().write(true).open(&target)?.write_all_at(&[0xfc, 0x4e, 0x2b, 0xa9], superblock)?;

        // Power fails in the middle.
        let mut vm = writing(lab, server, "half", &target, "boottorrent.down=20M")?.start(lab)?;
        vm.expect("writing to /dev/vda (512 MiB, serial TARGET)", BOOT)?;
        vm.expect("carries a RAID superblock of mdadm (metadata 1.0)", BOOT)?;
        let begun = Instant::now();
        let first = loop {
            ensure!(begun.elapsed() < BOOT && vm.is_on()?, "half of the image does not come");
            let got = server.client(vm.mac()).map_or(0, |c| c.progress.received());
            if got >= data / 2 {
                break got;
            }
            std::thread::sleep(Duration::from_millis(100));
        };
        drop(vm);
        let mut head = vec![1; 1 << 20];
        File::open(&target)?.read_exact(&mut head)?;
        ensure!(head.iter().all(|b| *b == 0), "the first MiB is written too early");
        let mut vm = Vm::from_disk("half-booted").disk(&target, "TARGET").start(lab)?;
        vm.expect("BdsDxe: failed to load Boot0001", BOOT)?;
        vm.expect("UEFI Interactive Shell", BOOT).context("a disk that is half written boots nothing")?;
        drop(vm);

        // Once more: what is there is kept, and the machine goes on with what it has written.
        let mut vm = writing(lab, server, "whole", &target, "")?.start(lab)?;
        vm.expect(" are on the disk already", BOOT)?;
        vm.expect(MULTI_USER, BOOT)?;
        let client = server.client(vm.mac())?;
        let second = client.progress.received();
        println!("data {data}, first {first}, second {second}");
        ensure!(second < data - first + (48 << 20), "{second} of {data} fetched again after {first}");
        little_memory(&client)?;
        vm.login()?;
        let lower = vm.sh("grep ' /run/boottorrent/lower ' /proc/self/mounts")?;
        ensure!(lower.starts_with("/dev/vda2 ") && lower.contains(" ext4 ro"), "{lower}");
        vm.send_line("poweroff -f")?;
        vm.wait_off(SOON)?;
        let size = fs::metadata(&image)?.len().to_string();
        Cmd::new("cmp").args(["-n", &size]).args([&image, &target]).run()?;

        // A disk that has everything is read, not fetched; and the machine's end is as asked.
        let mut vm = writing(lab, server, "again", &target, "boottorrent.then=poweroff")?.start(lab)?;
        vm.expect("powering off (boottorrent.then)", BOOT)?;
        vm.wait_off(SOON)?;
        let again = server.client(vm.mac())?.progress.received();
        ensure!(again == 0, "{again} bytes were fetched for a disk that had everything");

        // Alone: its own firmware, boot loader, kernel and initrd, and its own configuration.
        let mut vm = Vm::from_disk("alone").disk(&target, "TARGET").start(lab)?;
        vm.expect(MULTI_USER, BOOT)?;
        vm.login()?;
        let root = vm.sh(
            "hostname; findmnt -rno SOURCE,FSTYPE,OPTIONS /; findmnt -no SOURCE /srv; ls /sys/class/net",
        )?;
        for part in ["from-the-image", "/dev/vda2 ext4 rw", "/dev/vda3"] {
            ensure!(root.contains(part), "no {part}: {root}");
        }
        ensure!(!root.contains("eth0") && !root.contains("ens"), "{root}");
        Ok(())
    })
}

/// A machine whose firmware has loaded what /boot.ipxe says, and that writes to a disk.
fn writing(lab: &Lab, server: &Server, name: &str, disk: &Path, more: &str) -> Result<VmConfig> {
    let folder = server.payload().parent().context("a folder")?.to_owned();
    let initrd = lab.dir().join("with-addon");
    let addon = server.get(&format!("/images/{IMAGE}/addon"))?;
    fs::write(&initrd, [addon, fs::read(folder.join("initrd"))?].concat())?;
    let words = format!(
        "{APPEND} boot=boottorrent ip=dhcp boottorrent.image={IMAGE} boottorrent.kind=disk \
         boottorrent.target=device:SERIAL=TARGET {more}"
    );
    Ok(Vm::direct(name, &folder.join("vmlinuz"), &initrd, &words).disk(disk, "TARGET"))
}
