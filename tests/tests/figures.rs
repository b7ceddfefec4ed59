// SPDX-License-Identifier: GPL-3.0-or-later
//! What every machine gets from the server before the swarm can help.

use anyhow::{Result, ensure};
use bootspec::Phase;
use boottorrent_tests::{
    BOOT, Cmd, Lab, Server, Vm, agent_binary,
    assets::{self, Suite, TINY, phase_one, tiny_with},
};
use std::path::PathBuf;

#[test]
fn the_agent_is_small() -> Result<()> {
    let agent = agent_binary()?;
    let tls = PathBuf::from(format!("{}-tls", agent.display()));
    // Of it, 105 kB are signatures and SHA-256 (minisign-verify has arithmetic of its own), 30 kB the network of the
    // booted system (identity), 30 kB what the swarm remembers of each host, 90 kB what makes an init of it (DHCP, drivers),
    // which saves each machine 30 MB of another initrd, and 230 kB (100 packed) what unpacks the initrds of live ISOs, which
    // saves each of their machines 30 to 60 MB, and 70 kB (18 packed) the files for machines, 125 kB (39 packed)
    // a root that is not complete, and that an agent which was killed goes on with, and 150 kB (57 packed) orders to machines
    // that run, and 40 kB (12 packed) what gives kernels and initrds to other machines. HTTPS only for who wants it, and the key for private files with it.
    for (agent, most, most_packed) in [(agent, 4_066_000, 1_588_000), (tls, 5_050_000, 2_053_000)] {
        let stripped = std::fs::metadata(&agent)?.len();
        let packed = Cmd::new("zstd").args(["-19", "-q", "-c"]).arg(&agent).output()?.stdout.len();
        println!("{}: {stripped} bytes, {packed} with zstd -19", agent.display());
        ensure!(
            stripped <= most && packed <= most_packed,
            "{} has grown: {stripped} bytes, {packed} packed",
            agent.display()
        );
        let kind = Cmd::new("readelf").args(["--program-headers", "--wide"]).arg(&agent).run()?;
        ensure!(!kind.contains("INTERP"), "{} needs a dynamic linker:\n{kind}", agent.display());
    }
    Ok(())
}

#[test]
fn phase_one_is_told() -> Result<()> {
    let image = assets::image(Suite::own()?)?;
    let [kernel, initrd] = [image.kernel(), image.initrd()].map(|f| std::fs::metadata(f).map(|m| m.len()));
    let (kernel, initrd) = (kernel?, initrd?);
    println!("phase one: {} bytes ({kernel} kernel + {initrd} initrd)", kernel + initrd);
    ensure!(kernel + initrd < 120 << 20, "an initrd of {initrd} bytes");
    Ok(())
}

/// What docs/network.md recommends: at most 60 % of what Debian makes by itself; and it boots.
#[test]
#[ignore = "an initrd to make and a boot: make test-full"]
fn phase_one_can_be_small() -> Result<()> {
    small_and_boots(Suite::own()?)
}

#[test]
#[ignore = "what the other release makes: make test-full"]
fn phase_one_can_be_small_in_other_releases() -> Result<()> {
    let own = Suite::own()?;
    Suite::ALL.into_iter().filter(|s| *s != own).try_for_each(small_and_boots)
}

fn small_and_boots(suite: Suite) -> Result<()> {
    let made = phase_one(suite)?;
    let [kernel, stock, netboot] =
        [made.kernel(), made.stock(), made.netboot()].map(|f| std::fs::metadata(f).map_or(0, |m| m.len()));
    let percent = (kernel + netboot) as f64 * 100. / (kernel + stock) as f64;
    println!(
        "phase one, {}: kernel {kernel}, stock initrd {stock}, with NETBOOT=yes {netboot}: {percent:.1} %",
        suite.as_str()
    );
    ensure!(kernel > 0 && stock > 0 && netboot > 0 && percent <= 60., "{percent:.1} % of stock");
    let image = assets::image(suite)?;
    let catalogue = tiny_with(&image, "small", &made.kernel(), &made.netboot())?;
    let lab = Lab::new(&format!("small-{}", suite.as_str()))?;
    let server = Server::of(&lab, &catalogue, &[])?;
    let mut vm = Vm::pxe("small").start(&lab)?;
    vm.expect(TINY, BOOT)?;
    ensure!(server.client(vm.mac())?.phase == Phase::Seed, "{:#?}", server.clients());
    Ok(())
}
