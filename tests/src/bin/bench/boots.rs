// SPDX-License-Identifier: GPL-3.0-or-later
//! Machines that boot by PXE to multi-user, in QEMU.

use crate::results::Run;
use anyhow::{Context, Result};
use bootspec::{Phase, Progress};
use boottorrent_tests::{BOOT, Client, Lab, MULTI_USER, Server, Vm, assets};
use std::time::Duration;

/// How many at a time.
pub const MACHINES: [usize; 2] = [1, 3];

/// Boot `run.n` machines: for each the seconds from the agent's start to its root.
pub fn measure(run: &mut Run, image: &assets::Image) -> Result<()> {
    let lab = Lab::new("bench")?;
    let server = Server::start(&lab, image, &[])?;
    let mut vms = (0..run.n).map(|i| Vm::pxe(&format!("vm{i}")).start(&lab)).collect::<Result<Vec<_>>>()?;
    let mut last: f64 = 0.0;
    for vm in &mut vms {
        last = last.max(vm.expect(MULTI_USER, BOOT)?.at.as_secs_f64());
    }
    // Memory is told ten seconds after the boot.
    std::thread::sleep(Duration::from_secs(12));
    let clients: Vec<Client> = vms.iter().map(|vm| server.client(vm.mac())).collect::<Result<_>>()?;
    let mut memory = 0;
    for c in &clients {
        let root = c.phases.iter().find(|p| p.phase == Phase::Seed).context("a machine without a root")?;
        run.each.push(root.at);
        memory = memory.max(c.memory);
    }
    let sum = |of: fn(&Progress) -> u64| clients.iter().map(|c| of(&c.progress)).sum::<u64>() as f64;
    run.size = std::fs::metadata(image.payload())?.len();
    run.seconds = run.each.iter().copied().reduce(f64::max);
    run.figures.insert("multi-user".into(), last);
    run.figures.insert("from machines".into(), sum(|p| p.from_peers) / sum(Progress::received));
    run.figures.insert("memory".into(), memory as f64);
    Ok(())
}
