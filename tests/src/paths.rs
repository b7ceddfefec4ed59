// SPDX-License-Identifier: GPL-3.0-or-later
//! Where things are: the workspace, what it built, and where labs keep theirs.

use anyhow::{Result, ensure};
use std::path::{Path, PathBuf};

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the workspace")
}

/// Where images are cached and runs keep their logs: `$BOOTTORRENT_LAB`, or `lab/` in the workspace.
pub fn lab_dir() -> PathBuf {
    std::env::var_os("BOOTTORRENT_LAB").map_or_else(|| workspace().join("lab"), PathBuf::from)
}

/// The agent as it is sent to machines: `$BOOTTORRENT_AGENT`, or what `make agent` built.
pub fn agent_binary() -> Result<PathBuf> {
    built("BOOTTORRENT_AGENT", "target/x86_64-unknown-linux-musl/agent/boottorrent-agent")
}

/// The server: `$BOOTTORRENT_SERVER`, or what `make server` built.
pub fn server_binary() -> Result<PathBuf> {
    built("BOOTTORRENT_SERVER", "target/release/boottorrent")
}

fn built(variable: &str, path: &str) -> Result<PathBuf> {
    let path = std::env::var_os(variable).map_or_else(|| workspace().join(path), PathBuf::from);
    ensure!(path.is_file(), "{} is not there: run `make build` first", path.display());
    Ok(path)
}
