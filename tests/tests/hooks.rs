// SPDX-License-Identifier: GPL-3.0-or-later
//! The initramfs-tools hook and boot script, on the real thing: roots of both
//! Debian releases, in which `make install` and `update-initramfs` ran.

use anyhow::{Result, ensure};
use boottorrent_tests::{
    BOOT, Cmd, Lab, MULTI_USER, Server, Vm,
    assets::{APPEND, IMAGE, Suite, baked, baked_by_dracut, image},
    workspace,
};
use std::path::Path;

/// What the agent needs of the kernel. A module may also be built in.
const MODULES: [&str; 8] =
    ["af_packet", "loop", "squashfs", "erofs", "overlay", "ext4", "isofs", "virtio_net"];

/// Cards that this machine does not have: an image boots on any hardware.
const DRIVERS: [&str; 5] = ["e1000e", "igb", "r8169", "tg3", "ixgbe"];

#[test]
fn bookworm_initramfs_is_complete() -> Result<()> {
    complete(Suite::Bookworm)
}

#[test]
#[ignore = "another root to make: make test-full"]
fn trixie_initramfs_is_complete() -> Result<()> {
    complete(Suite::Trixie)
}

fn complete(suite: Suite) -> Result<()> {
    let image = image(suite)?;
    let log = std::fs::read_to_string(image.build_log())?;
    ensure!(log.contains("Generating /boot/initrd.img-"), "update-initramfs did not run: {log}");
    ensure!(!log.contains("boottorrent"), "the hook warned: {log}");
    let files = image.initrd_files()?;
    for path in ["usr/bin/boottorrent-agent", "scripts/boottorrent"] {
        ensure!(files.iter().any(|l| l == path), "{path} is not in the initramfs");
    }
    for module in MODULES.iter().chain(&DRIVERS) {
        ensure!(image.has_module(module)?, "module {module} is neither in the initramfs nor built in");
    }
    Ok(())
}

/// Public keys and certificates are in the initrd, and what is secret beside them is not; with a certificate, the agent
/// that speaks HTTPS is there.
#[test]
fn whom_machines_believe_is_in_the_initrd() -> Result<()> {
    are_in_the_initrd(Suite::own()?)?;
    let there = baked_by_dracut()?;
    ensure!(there.trim() == believed("etc/boottorrent/"), "dracut: {there}");
    Ok(())
}

#[test]
#[ignore = "another root to make: make test-full"]
fn whom_machines_believe_is_in_the_initrd_of_other_releases() -> Result<()> {
    let own = Suite::own()?;
    Suite::ALL.into_iter().filter(|s| *s != own).try_for_each(are_in_the_initrd)
}

fn are_in_the_initrd(suite: Suite) -> Result<()> {
    let there = baked(suite)?;
    ensure!(there.trim() == believed("/made/etc/boottorrent/"), "{suite:?}: {there}");
    Ok(())
}

fn believed(root: &str) -> String {
    format!("{root}ca/site.crt\n{root}keys/site.pub\nhttps")
}

/// The suite of this machine boots in pxe.rs; here the others do.
#[test]
#[ignore = "two minutes: make test-full"]
fn other_releases_boot_too() -> Result<()> {
    let own = Suite::own()?;
    for suite in Suite::ALL.into_iter().filter(|s| *s != own) {
        let image = image(suite)?;
        let lab = Lab::new(suite.as_str())?;
        let _server = Server::start(&lab, &image, &[])?;
        let append = format!("{APPEND} boot=boottorrent ip=dhcp boottorrent.image={IMAGE}");
        let mut vm = Vm::direct("vm", &image.kernel(), &image.initrd(), &append).start(&lab)?;
        vm.expect(MULTI_USER, BOOT)?;
        vm.login()?;
        let release = vm.sh("cat /etc/os-release")?;
        ensure!(release.contains(&format!("VERSION_CODENAME={}", suite.as_str())), "{release}");
        vm.sh("/run/boottorrent/boottorrent-agent status")?;
    }
    Ok(())
}

#[test]
fn shell_is_small_and_clean() -> Result<()> {
    let all = Cmd::new("git")
        .args(["-C"])
        .arg(workspace())
        .args(["ls-files", "-co", "--exclude-standard"])
        .run()?;
    let mut checked = 0;
    for path in all.lines().map(|f| workspace().join(f)).filter(|p| is_shell(p)) {
        Cmd::new("sh").arg("-n").arg(&path).run()?;
        Cmd::new("shellcheck").arg(&path).run()?;
        let lines = std::fs::read_to_string(&path)?.lines().count();
        ensure!(lines <= 60, "{} has {lines} lines: what is more belongs into Rust", path.display());
        checked += 1;
    }
    ensure!(checked >= 4, "only {checked} shell files found");
    Ok(())
}

fn is_shell(path: &Path) -> bool {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let first = text.lines().next().unwrap_or_default();
    first.starts_with("#!/bin/sh") || first.starts_with("# shellcheck shell=")
}
