// SPDX-License-Identifier: GPL-3.0-or-later
//! What every machine gets from the server before the swarm can help.

use anyhow::{Result, ensure};
use boottorrent_tests::{
    Cmd, agent_binary,
    assets::{self, Suite},
};

#[test]
fn the_agent_is_small() -> Result<()> {
    let agent = agent_binary()?;
    let stripped = std::fs::metadata(&agent)?.len();
    let packed = Cmd::new("zstd").args(["-19", "-q", "-c"]).arg(&agent).output()?.stdout.len();
    println!("agent: {stripped} bytes, {packed} with zstd -19");
    ensure!(
        stripped <= 3_000_000 && packed <= 1_200_000,
        "the agent has grown: {stripped} bytes, {packed} packed"
    );
    let kind = Cmd::new("readelf").args(["--program-headers", "--wide"]).arg(&agent).run()?;
    ensure!(!kind.contains("INTERP"), "the agent needs a dynamic linker:\n{kind}");
    Ok(())
}

#[test]
fn phase_one_is_told() -> Result<()> {
    for suite in Suite::ALL {
        let image = assets::image(suite)?;
        let [kernel, initrd] =
            [image.kernel(), image.initrd()].map(|f| std::fs::metadata(f).map(|m| m.len()));
        let (kernel, initrd) = (kernel?, initrd?);
        println!(
            "phase one, {}: {} bytes ({kernel} kernel + {initrd} initrd)",
            suite.as_str(),
            kernel + initrd
        );
        ensure!(kernel + initrd < 120 << 20, "an initrd of {initrd} bytes");
    }
    Ok(())
}
