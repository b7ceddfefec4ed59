// SPDX-License-Identifier: GPL-3.0-or-later
//! A machine that is switched to another image by soft-reboot, beside how long its own boot took.

use crate::results::Run;
use anyhow::{Result, ensure};
use boottorrent_tests::{
    BOOT, Lab, MULTI_USER, Server, Vm,
    assets::{Suite, lessons},
    kernel_time,
};

/// There and back.
const IMAGES: [&str; 2] = ["exam", "lesson"];

/// `run.each` are the soft-reboots, from the agent's word to multi-user; `first root` is from the kernel's start to there.
pub fn measure(run: &mut Run) -> Result<()> {
    let lab = Lab::new("bench-switch")?;
    // Debian 13 is the first release whose systemd can do it.
    let server = Server::of(&lab, &lessons(Suite::Trixie, None)?, &["--up", "40MB/s"])?;
    let set = ["host", "set", "default", "--image", "lesson", "--param", "boottorrent.remote=switch"];
    server.boottorrent(&set)?;
    let mut vm = Vm::pxe("pc").memory(1536).start(&lab)?;
    let first = kernel_time(&vm.expect(MULTI_USER, BOOT)?.text)?;
    vm.login()?;
    for image in IMAGES {
        server.boottorrent(&["host", "switch", vm.mac(), image])?;
        vm.expect("login: root (automatic login)", BOOT)?;
        vm.login()?;
        ensure!(vm.sh("test -e /exam && echo exam || echo lesson")? == image, "it does not run {image}");
        let log = vm.sh("dmesg | grep -e 'soft-reboot to ' -e 'reached multi-user'")?;
        let at = |what: &str| kernel_time(log.lines().rfind(|l| l.contains(what)).unwrap_or_default());
        run.each.push(at("reached multi-user")? - at(&format!("soft-reboot to {image}"))?);
    }
    run.seconds = run.each.iter().copied().reduce(f64::max);
    run.figures.insert("first root".into(), first);
    Ok(())
}
