// SPDX-License-Identifier: GPL-3.0-or-later
//! Live ISOs as live-build, Fedora's tools and others make them: a squashfs, a
//! kernel, an initrd and the boot loader's configuration, and nothing of ours in any of them.

use super::{
    APPEND, IMAGE, Suite, cached, key_of,
    root::{AUTOLOGIN, VERDICT, bootstrap, chroot, is_initrd, name_of, over, speaks},
};
use crate::{Cmd, server_binary, workspace};
use anyhow::{Context, Result};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
};

/// Whose initrd is on an ISO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Live {
    /// Debian's live-boot.
    LiveBoot,
    /// Debian's dracut with dmsquash-live.
    Dracut,
    /// What our add-on meets of Ubuntu's casper (tests/fixtures/casper), on Debian's initramfs-tools.
    Casper,
    /// What it meets of Arch's mkinitcpio and archiso (tests/fixtures/archiso), on Debian's programs.
    Archiso,
}

/// What a live system of Debian has, and the parts of dracut that can be installed beside initramfs-tools.
const PACKAGES: &str = "systemd-sysv,udev,dbus,kmod,iproute2,ifupdown,linux-image-amd64,initramfs-tools,zstd,busybox,\
    live-boot,live-boot-initramfs-tools,live-config,live-config-systemd,user-setup,sudo,\
    dracut-core,dracut-network,dracut-live";

/// Run by whoever logs in; loud enough for `quiet`. live-config made the user, let it log in by itself, and gave it sudo without a password.
const SESSION: &str = "\
[ \"$(id -un)\" = user ] &&
	echo \"<2>lab: live session of $(id -un) ($(id -u)) on $(tty), host $(hostname)\" | sudo -n tee /dev/kmsg >/dev/null
";

/// What live-build leaves for live-config to change, instead of the builder's own name.
const HOSTNAME: &str = "localhost.localdomain\n";

/// Emulated machines beside one another are slow; the console's device comes when it comes.
const PATIENCE: &str = "[Manager]\nDefaultDeviceTimeoutSec=400s\n";

/// What drivers a virtual machine needs after the initramfs is none of these, and they are most of an ISO.
const LEFT_OUT: [&str; 5] =
    ["boot", "usr/lib/modules/*/kernel", "var/lib/apt", "var/cache/apt", "usr/share/bug"];

/// The volume's name.
pub const LABEL: &str = "LAB_LIVE";

const GRUB_LIVE: &str = "\
set default=0
set timeout=5
menuentry \"Live system (amd64)\" --hotkey=l {
	linux	/live/vmlinuz boot=live components quiet findiso=${iso_path}
	initrd	/live/initrd.img
}
menuentry \"Live system (amd64 fail-safe mode)\" {
	linux	/live/vmlinuz boot=live components memtest noapic noapm nodma nomce nolapic nomodeset nosmp nosplash
	initrd	/live/initrd.img
}
";

const GRUB_DRACUT: &str = "\
set default=\"1\"
search --no-floppy --set=root -l 'LAB_LIVE'
menuentry 'Start Lab Live' --class fedora --class gnu-linux {
	linux ($root)/images/pxeboot/vmlinuz root=live:CDLABEL=LAB_LIVE rd.live.image quiet
	initrd ($root)/images/pxeboot/initrd.img
}
menuentry 'Test this media & start Lab Live' {
	linux ($root)/images/pxeboot/vmlinuz root=live:CDLABEL=LAB_LIVE rd.live.image rd.live.check quiet
	initrd ($root)/images/pxeboot/initrd.img
}
";

const GRUB_CASPER: &str = "\
menuentry \"Try or Install Lab\" {
	set gfxpayload=keep
	linux	/casper/vmlinuz  --- quiet splash
	initrd	/casper/initrd
}
";

const LOADER_ARCHISO: &str = "\
title    Lab install medium (x86_64, UEFI)
sort-key 01
linux    /arch/boot/x86_64/vmlinuz-linux
initrd   /arch/boot/x86_64/initramfs-linux.img
options  archisobasedir=arch archisosearchuuid=2026-11-23-01-18-00-00
";

/// What stands in for parts that Debian does not have.
fn fixture(live: Live) -> Option<PathBuf> {
    match live {
        Live::LiveBoot | Live::Dracut => None,
        Live::Casper => Some(workspace().join("tests/fixtures/casper")),
        Live::Archiso => Some(workspace().join("tests/fixtures/archiso")),
    }
}

fn files_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let found = Cmd::new("find").arg(folder).args(["-type", "f"]).run()?;
    let mut files: Vec<PathBuf> = found.lines().map(PathBuf::from).collect();
    files.sort();
    Ok(files)
}

/// An initrd with a fixture's files in a second archive behind the first, compressed together.
fn with_fixture(initrd: &Path, fixture: &Path, to: &Path) -> Result<()> {
    let script =
        "{ zstd -dc \"$1\"; cd \"$2\"; find . | cpio -o -H newc --quiet -R 0:0; } | zstd -q -3 >\"$3\"";
    Cmd::new("sh").args(["-ec", script, "sh"]).args([initrd, fixture, to]).run().map(drop)
}

/// An ISO of this machine's own release, from the cache or made now.
pub fn iso(live: Live) -> Result<PathBuf> {
    let parts = parts()?;
    let of_fixture = fixture(live).map_or(Ok(Vec::new()), |f| files_in(&f))?;
    let key = key_of(
        &of_fixture,
        &[&parts.to_string_lossy(), "zstd", GRUB_LIVE, GRUB_DRACUT, GRUB_CASPER, LOADER_ARCHISO],
    )?;
    let dir = cached(&format!("iso-{live:?}").to_lowercase(), &key, |dir| {
        let tree = dir.join("tree");
        // Where things are, as the makers of such ISOs have it.
        let (squashfs, kernel, initrd, grub, text) = match live {
            Live::LiveBoot => (
                "live/filesystem.squashfs",
                "live/vmlinuz",
                "live/initrd.img",
                "boot/grub/grub.cfg",
                GRUB_LIVE,
            ),
            Live::Casper => (
                "casper/filesystem.squashfs",
                "casper/vmlinuz",
                "casper/initrd",
                "boot/grub/grub.cfg",
                GRUB_CASPER,
            ),
            Live::Archiso => (
                "arch/x86_64/airootfs.sfs",
                "arch/boot/x86_64/vmlinuz-linux",
                "arch/boot/x86_64/initramfs-linux.img",
                "loader/entries/01-archiso-x86_64-linux.conf",
                LOADER_ARCHISO,
            ),
            Live::Dracut => (
                "LiveOS/squashfs.img",
                "images/pxeboot/vmlinuz",
                "images/pxeboot/initrd.img",
                "EFI/BOOT/grub.cfg",
                GRUB_DRACUT,
            ),
        };
        let from = match live {
            Live::Dracut => "initrd-dracut",
            _ => "initrd-live-boot",
        };
        let root = if live == Live::Dracut { "fedora.squashfs" } else { "root.squashfs" };
        for (to, part) in [(squashfs, root), (kernel, "vmlinuz"), (initrd, from)] {
            let to = tree.join(to);
            fs::create_dir_all(to.parent().context("a folder")?)?;
            match fixture(live) {
                Some(fixture) if part == from => with_fixture(&parts.join(part), &fixture, &to)?,
                _ => fs::hard_link(parts.join(part), to).context("linking a part")?,
            }
        }
        let grub = tree.join(grub);
        fs::create_dir_all(grub.parent().context("a folder")?)?;
        fs::write(grub, text)?;
        Cmd::new("xorriso")
            .args(["-as", "mkisofs", "-quiet", "-r", "-J", "-V", LABEL, "-o"])
            .args([dir.join("lab.iso"), tree.clone()])
            .run()?;
        fs::remove_dir_all(tree).context("tidying up")
    })?;
    Ok(dir.join("lab.iso"))
}

/// `root.squashfs`, `vmlinuz`, and an initrd of each family.
fn parts() -> Result<PathBuf> {
    let base = bootstrap("base-live", Suite::own()?, PACKAGES)?;
    let made_of = ["fedora with lz4", PATIENCE, SESSION, VERDICT, AUTOLOGIN, HOSTNAME, &LEFT_OUT.concat()];
    let key = key_of::<&str>(&[], &[&[&*base.to_string_lossy()][..], &made_of].concat())?;
    cached("live", &key, |dir| over(&base, dir, make))
}

fn make(root: &Path, dir: &Path) -> Result<()> {
    speaks(root)?;
    fs::write(root.join("etc/profile.d/lab.sh"), SESSION)?;
    fs::write(root.join("etc/hostname"), HOSTNAME)?;
    let manager = root.join("etc/systemd/system.conf.d");
    fs::create_dir_all(&manager)?;
    fs::write(manager.join("lab.conf"), PATIENCE)?;

    let log = |name: &str| dir.join(format!("{name}.log"));
    let version = fs::read_dir(root.join("boot"))?
        .flatten()
        .find_map(|e| name_of(&e.path()).strip_prefix("vmlinuz-").map(str::to_owned))
        .context("no kernel")?;
    fs::copy(root.join(format!("boot/vmlinuz-{version}")), dir.join("vmlinuz"))?;
    // mmdebstrap has made none: INITRD=No.
    chroot(root, &["update-initramfs", "-c", "-k", &version]).run_logged(Stdio::null(), &log("initramfs"))?;
    let initrd = fs::read_dir(root.join("boot"))?.flatten().map(|e| e.path()).find(|p| is_initrd(p));
    fs::rename(initrd.context("no initrd")?, dir.join("initrd-live-boot")).or_else(|_| {
        fs::copy(root.join(format!("boot/initrd.img-{version}")), dir.join("initrd-live-boot")).map(drop)
    })?;
    // What Fedora's live ISOs are made with.
    chroot(
        root,
        &[
            "dracut",
            "--no-hostonly",
            "--no-hostonly-cmdline",
            "--zstd",
            "--force",
            "--tmpdir",
            "/tmp",
            "--add",
            "dmsquash-live network",
            "--kver",
            &version,
            "/boot/initrd-dracut",
        ],
    )
    .run_logged(Stdio::null(), &log("dracut"))?;
    fs::copy(root.join("boot/initrd-dracut"), dir.join("initrd-dracut"))?;
    for file in ["initrd-live-boot", "initrd-dracut", "vmlinuz"] {
        fs::set_permissions(dir.join(file), fs::Permissions::from_mode(0o644))?;
    }
    Cmd::new("mksquashfs")
        .args([root, &dir.join("root.squashfs")])
        .args(["-noappend", "-quiet", "-no-progress", "-comp", "zstd", "-Xcompression-level", "3"])
        .args(["-wildcards", "-e"])
        .args(LEFT_OUT)
        .run()?;
    as_fedora(dir)
}

/// The same root as Fedora has it: an ext4 in a squashfs, over which dmsquash-live puts a snapshot.
fn as_fedora(dir: &Path) -> Result<()> {
    let (tree, live) = (dir.join("tree"), dir.join("fedora/LiveOS"));
    Cmd::new("unsquashfs").args(["-q", "-n", "-d"]).arg(&tree).arg(dir.join("root.squashfs")).run()?;
    fs::create_dir_all(&live)?;
    Cmd::new("mke2fs")
        .args(["-q", "-t", "ext4", "-O", "^has_journal", "-d"])
        .args([&tree, &live.join("rootfs.img")])
        .arg("400M")
        .run()?;
    Cmd::new("mksquashfs")
        .args([dir.join("fedora"), dir.join("fedora.squashfs")])
        // Each block of the ext4 is a block of the squashfs, or two: cheap to unpack under emulation.
        .args(["-noappend", "-quiet", "-no-progress", "-comp", "lz4"])
        .run()?;
    fs::remove_dir_all(dir.join("fedora"))?;
    fs::remove_dir_all(tree).context("tidying up")
}

/// A catalogue with that ISO, as real `boottorrent image add` imported it. Shared and read-only.
pub fn catalogue(live: Live) -> Result<PathBuf> {
    let (server, iso) = (server_binary()?, iso(live)?);
    let key = key_of(&[&server], &[&iso.to_string_lossy(), APPEND])?;
    cached(&format!("catalogue-{live:?}").to_lowercase(), &key, |dir| {
        Cmd::new(&server)
            .args(["image", "add"])
            .arg(&iso)
            .args(["--name", IMAGE, "--append", APPEND, "--dir"])
            .arg(dir)
            .run()
            .map(|said| eprint!("{said}"))
    })
}
