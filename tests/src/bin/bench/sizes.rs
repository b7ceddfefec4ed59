// SPDX-License-Identifier: GPL-3.0-or-later
//! Bytes that every machine gets before the swarm can help.

use crate::results::Run;
use anyhow::{Context, Result};
use boottorrent_tests::{Cmd, agent_binary, assets};

/// Measure them.
pub fn measure(run: &mut Run, image: &assets::Image) -> Result<()> {
    let agent = agent_binary()?;
    let packed = Cmd::new("zstd").args(["-19", "-q", "-c"]).arg(&agent).output()?.stdout.len();
    let manifest = assets::catalogue(image)?.join("images").join(assets::IMAGE).join("manifest.toml");
    let text = std::fs::read_to_string(&manifest)?;
    for part in ["kernel", "initrd"] {
        let section = text.split(&format!("[{part}]")).nth(1).context("a manifest with kernel and initrd")?;
        let line = section.lines().find_map(|l| l.strip_prefix("size = ")).context("a size")?;
        run.figures.insert(part.into(), line.trim().parse()?);
    }
    run.figures.insert("agent".into(), std::fs::metadata(&agent)?.len() as f64);
    run.figures.insert("agent, zstd -19".into(), packed as f64);
    Ok(())
}
