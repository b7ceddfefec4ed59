// SPDX-License-Identifier: GPL-3.0-or-later
//! Debian's LTSP as it is: docs/ltsp.md followed to the letter, two machines over the swarm with no NFS
//! server anywhere, and back to stock.

use anyhow::{Context, Result, ensure};
use bootspec::Phase;
use boottorrent_tests::{
    BOOT, Client, Cmd, Lab, LtspServer, MULTI_USER, Server, Vm,
    assets::{self, LTSP_IMAGE, LTSP_SERVER, Suite},
    doc,
    site::{found_signed, made},
    workspace,
};
use std::{
    fs::File,
    time::{Duration, Instant},
};

#[test]
#[ignore = "a server, three machines and NFS, eight minutes: make test-full"]
fn to_the_swarm_and_back() -> Result<()> {
    scenario("ltsp", Suite::own()?)
}

#[test]
#[ignore = "minutes for what the own release shows: make test-full"]
fn the_same_with_the_other_releases() -> Result<()> {
    let own = Suite::own()?;
    Suite::ALL.into_iter().filter(|s| *s != own).try_for_each(|s| scenario("ltsp-other", s))
}

/// Where LTSP's boot files are.
const MENU: &str = "/srv/tftp/ltsp/ltsp.ipxe";
const PINS: &str = "/srv/tftp/ltsp/boottorrent.ipxe";
/// All files of ltsp.img with their sums: a cpio archive has times and inode numbers besides.
const LTSP_IMG: &str = "rm -rf /tmp/img && mkdir /tmp/img && cd /tmp/img && \
    cpio -idm --quiet </srv/tftp/ltsp/ltsp.img && find . -type f -exec sha256sum {} + | sort -k 2";

/// What the root is, and how many mounts over NFS the kernel has, seen or not.
const ROOT: &str = "awk '$2 == \"/\" {print $3, $4}' /proc/mounts; \
    echo NFS $(grep '^v' /proc/fs/nfsfs/volumes 2>/dev/null | wc -l)";

/// The guide's blocks, run one after the other.
struct Guide<'a> {
    blocks: std::vec::IntoIter<doc::Block>,
    server: &'a LtspServer<'a>,
}

impl Guide<'_> {
    /// Run the next block, which must stand under this heading.
    fn next(&mut self, heading: &str) -> Result<String> {
        let block = self.blocks.next().with_context(|| format!("no block of commands under '{heading}'"))?;
        ensure!(
            block.heading == heading,
            "line {} of ltsp.md: {block:?} is not under '{heading}'",
            block.line
        );
        self.server.sh(&block.text).with_context(|| format!("line {} of ltsp.md", block.line))
    }
}

fn scenario(name: &str, suite: Suite) -> Result<()> {
    let lab = Lab::new(name)?;
    let server = LtspServer::new(&lab, assets::ltsp(suite)?)?;
    // An LTSP server that works, as its own documentation has it.
    server.sh("ltsp dnsmasq --proxy-dhcp=0 && ltsp initrd && ltsp ipxe")?;
    let dnsmasq = server.dnsmasq()?;
    let (menu, img) = (server.read(MENU)?, server.sh(LTSP_IMG)?);

    // One machine has a disk that keeps images, and its own section for it.
    let disk = lab.dir().join("disk");
    File::create(&disk)?.set_len(1 << 30)?;
    Cmd::new("mke2fs").args(["-q", "-t", "ext4", "-m", "0", "-L", "images"]).arg(&disk).run()?;
    let conf = String::from_utf8(server.read("/etc/ltsp/ltsp.conf")?)?;
    let own = "KERNEL_PARAMETERS=\"console=ttyS0 mitigations=off panic=-1 systemd.default_device_timeout_sec=300 boottorrent.target=LABEL=images,ram\"";
    server.write(
        "/etc/ltsp/ltsp.conf",
        &format!("{conf}\n[52:54:00:77:00:03]\nHOSTNAME=disk3\n{own}\n"),
        0o644,
    )?;
    server.sh("ltsp ipxe && ltsp initrd")?;

    let markdown = std::fs::read_to_string(workspace().join("docs/ltsp.md"))?;
    let mut guide = Guide { blocks: doc::commands(&markdown).into_iter(), server: &server };
    server.install()?;
    // What packages bring, and what brings packages.
    server.write(
        "/usr/local/bin/apt",
        "#!/bin/sh\n[ \"$*\" = \"install ltsp-server-boottorrent\" ]\n",
        0o755,
    )?;
    // Debian's own, which `ltsp nfs` would have brought; ours is the real one.
    {
        let unit = "nfs-kernel-server";
        let text = "[Service]\nExecStart=true\n[Install]\nWantedBy=multi-user.target\n";
        server.write(&format!("/usr/local/lib/systemd/system/{unit}.service"), text, 0o644)?;
    }
    // With a key, what is published is signed, and ltsp.img has the public half.
    let key = made(&server.sh("boottorrent key generate --no-password")?)?;
    let said = guide.next("Switch over")?;
    ensure!(
        said.contains("Published /srv/ltsp/images/x86_64.img") && said.contains("Generated ltsp.img"),
        "{said}"
    );
    let twice = server.sh("stat -c %h /srv/ltsp/images/x86_64.img")?;
    ensure!(twice.trim() == "2", "the published file is not a hard link: {twice}");
    let catalogue = server.path("/var/lib/boottorrent");
    let mut serve = Server::serve(&lab, &catalogue, &["--up", "15MB/s"])?;
    let status = guide.next("Look")?;
    ensure!(status.contains("over the swarm") && !status.contains("to do:"), "{status}");
    guide.next("Without NFS")?;

    let mut one = Vm::pxe("one").memory(1536).start(&lab)?;
    let mut two = Vm::pxe("two").disk(&disk, "IMAGES").start(&lab)?;
    ensure!(two.mac() == "52:54:00:77:00:03", "{}", two.mac());
    for vm in [&mut one, &mut two] {
        vm.expect(MULTI_USER, BOOT)?;
        over_the_swarm(vm, &serve.client(vm.mac())?)?;
        found_signed(vm, &key)?;
    }
    let ram = one.sh("losetup -n -O BACK-FILE; hostname")?;
    ensure!(ram.contains("/run/boottorrent/store/payload\nltsp"), "{ram}");
    let kept = two.sh("losetup -n -O BACK-FILE; hostname")?;
    ensure!(kept.contains("/run/boottorrent/disk/") && kept.ends_with("\ndisk3"), "{kept}");
    let status = server.sh("ltsp boottorrent status")?;
    ensure!(status.contains("2 machines run LTSP's images, 0 load them"), "{status}");

    // A new version, while both run.
    let pins = server.read(PINS)?;
    server.write(&format!("/srv/ltsp/{LTSP_IMAGE}/etc/lab-version"), "2\n", 0o644)?;
    guide.next("A new version of an image")?;
    ensure!(server.read(PINS)? != pins, "the menu still has the old version");
    ensure!(server.sh("ltsp boottorrent status")?.contains(" yes "));
    let old = std::str::from_utf8(&pins)?.lines().last().context("no pin")?.to_owned();
    let old = old.split("infohash=").nth(1).and_then(|w| w.split(' ').next()).context("no infohash")?;
    let torrent = |query: &str| serve.get(&format!("/images/{LTSP_IMAGE}/{LTSP_IMAGE}.torrent{query}"));
    // Whoever has the old menu still gets the old version. The server looks every two seconds.
    let (asked, start) = (torrent(&format!("?infohash={old}"))?, Instant::now());
    while torrent("")? == asked {
        ensure!(start.elapsed() < BOOT, "the server has not seen the new version");
        std::thread::sleep(Duration::from_millis(200));
    }
    ensure!(torrent(&format!("?infohash={old}"))? == asked, "the old version is not given any more");
    for vm in [&mut one, &mut two] {
        // Of the image, and not of what is in memory.
        vm.sh("echo 3 >/proc/sys/vm/drop_caches; cat /usr/lib/modules/*/kernel/fs/*/*.ko* >/dev/null")?;
    }
    guide.next("A few machines first")?;
    ensure!(!std::str::from_utf8(&server.read(PINS)?)?.contains("boot=boottorrent"));
    guide.next("A few machines first")?;
    server.sh("ltsp boottorrent enable")?;
    ensure!(server.read(MENU)? != menu);

    // And back.
    guide.next("Undo")?;
    ensure!(guide.blocks.next().is_none(), "a block was not run");
    server.write("/etc/ltsp/ltsp.conf", &conf, 0o644)?;
    server.sh("ltsp ipxe && ltsp initrd")?;
    ensure!(server.read(MENU)? == menu, "ltsp.ipxe is not as it was");
    let now = server.sh(LTSP_IMG)?;
    ensure!(now == img, "ltsp.img is not as it was: {img}\nand now {now}");
    ensure!(server.sh("ls /srv/tftp/ltsp /var/lib/boottorrent/images")?.matches("boottorrent").count() == 1);
    serve.check()?;
    serve.stop();
    drop((one, two));
    let nfs = server.nfs()?;
    let mut three = Vm::pxe("three").start(&lab)?;
    three.expect(MULTI_USER, BOOT)?;
    over_nfs(&mut three)?;
    drop((nfs, dnsmasq));
    Ok(())
}

/// Stock LTSP.
fn over_nfs(vm: &mut Vm) -> Result<()> {
    vm.login()?;
    let line = vm.sh("cat /proc/cmdline")?;
    ensure!(line.contains(" ltsp.image=images/x86_64.img ") && !line.contains("boottorrent"), "{line}");
    let root = vm.sh(ROOT)?;
    ensure!(root.contains("=/run/initramfs/ltsp/0/looproot,") && root.ends_with("\nNFS 1"), "{root}");
    let version = vm.sh("ls -d /run/boottorrent || cat /etc/lab-version")?;
    ensure!(version.ends_with("\n2"), "{version}");
    is_ltsp(vm)
}

/// LTSP's own scripts have run, up to where somebody could log in.
fn is_ltsp(vm: &mut Vm) -> Result<()> {
    let said = vm.sh(
        "systemctl is-active multi-user.target ltsp.service; ls -d /run/ltsp/client; grep server /etc/hosts; \
         grep -l pamltsp /etc/pam.d/common-auth",
    )?;
    let want = format!("active\nactive\n/run/ltsp/client\n{LTSP_SERVER}\tserver\n/etc/pam.d/common-auth");
    ensure!(said == want, "{}: {said}", vm.name());
    Ok(())
}

/// LTSP's own scripts have run, on what came over the swarm, and nothing is mounted over a network.
fn over_the_swarm(vm: &mut Vm, client: &Client) -> Result<()> {
    ensure!(client.phase == Phase::Seed && client.image.as_deref() == Some(LTSP_IMAGE), "{client:#?}");
    vm.login()?;
    let line = vm.sh("cat /proc/cmdline")?;
    ensure!(line.contains("boot=boottorrent boottorrent.infohash="), "{line}");
    let root = vm.sh(ROOT)?;
    ensure!(root.starts_with("overlay ") && root.contains("=/run/initramfs/ltsp/0/looproot,"), "{root}");
    ensure!(root.ends_with("\nNFS 0"), "{root}");
    is_ltsp(vm)?;
    println!("{}: {:?}", vm.name(), client.progress);
    Ok(())
}
