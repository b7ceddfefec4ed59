// SPDX-License-Identifier: GPL-3.0-or-later
//! From the kernel's start to the mounted root: with the initrd of the image, and with the one that the server makes. The image
//! is on the machine's disk from a boot before, so that no network is measured.

use crate::results::Run;
use anyhow::Result;
use boottorrent_tests::{
    BOOT, Lab, MULTI_USER, Server, Vm,
    assets::{Image, own_initrd_catalogue},
    kernel_time,
};
use std::fs::File;

/// `initrd of the image` and `initrd of the server`, in seconds.
pub fn measure(run: &mut Run, image: &Image) -> Result<()> {
    let lab = Lab::new("bench-init")?;
    let stock = kept(&lab, Server::start(&lab, image, &[])?)?;
    drop(lab);
    let lab = Lab::new("bench-init-own")?;
    let own = kept(&lab, Server::of(&lab, &own_initrd_catalogue(image)?, &[])?)?;
    run.each.push(own);
    run.figures.insert("initrd of the image".into(), stock);
    run.figures.insert("initrd of the server".into(), own);
    Ok(())
}

/// The second boot of a machine that keeps its image.
fn kept(lab: &Lab, server: Server) -> Result<f64> {
    let disk = lab.dir().join("disk");
    File::create(&disk)?.set_len(1 << 30)?;
    let params = ["boottorrent.mkfs=/dev/vda", "boottorrent.target=LABEL=boottorrent"];
    for param in params {
        server.boottorrent(&["host", "set", "default", "--param", param])?;
    }
    let start = |name: &str| Vm::pxe(name).memory(1024).disk(&disk, "KEPT").start(lab);
    let mut first = start("first")?;
    first.expect(MULTI_USER, BOOT)?;
    first.login()?;
    first.send_line("poweroff")?;
    first.wait_off(BOOT)?;
    kernel_time(&start("second")?.expect("boottorrent: root mounted", BOOT)?.text)
}
