// SPDX-License-Identifier: GPL-3.0-or-later
//! A live ISO as Debian's own live-build makes it (as Debian's, Kali's and grml's are made), and nothing of ours in it.

use super::{IMAGE, Suite, apt, cached, key_of};
use crate::{Cmd, server_binary};
use anyhow::{Context, Result};
use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

/// Serial, so that a test sees it; everything else is live-build's.
const PARAMETERS: &str = "boot=live components console=ttyS0";

/// The ISO: eight minutes the first time.
pub fn iso() -> Result<PathBuf> {
    let suite = Suite::own()?;
    let version = Cmd::new("dpkg-query").args(["-W", "-f=${Version}", "live-build"]).run()?;
    let dir = cached("livebuild", &key_of::<&str>(&[], &[&version, include_str!("livebuild.rs")])?, |dir| {
        let archive = apt::archive(suite)?;
        let mut config = lb(dir).args(["config", "--mode", "debian", "--distribution", suite.as_str()]);
        for stage in ["bootstrap", "chroot", "binary"] {
            config = config.args([&format!("--mirror-{stage}"), &archive]);
        }
        config
            .args(["--archive-areas", "main", "--security", "false", "--updates", "false"])
            .args(["--debian-installer", "none", "--memtest", "none"])
            .args(["--firmware-chroot", "false", "--firmware-binary", "false"])
            .args(["--binary-images", "iso-hybrid", "--bootappend-live", PARAMETERS])
            .run()?;
        lb(dir).arg("build").run_logged(Stdio::null(), &dir.join("build.log"))?;
        // What it was made in.
        for folder in ["chroot", "binary", "cache", ".build"] {
            Cmd::new("rm").args(["-rf", "--one-file-system"]).arg(dir.join(folder)).run()?;
        }
        Ok(())
    })?;
    let mut found = std::fs::read_dir(&dir)?.flatten().map(|e| e.path());
    found.find(|p| p.extension().is_some_and(|e| e == "iso")).context("live-build has made no ISO")
}

/// live-build works in the folder where it is run.
fn lb(dir: &Path) -> Cmd {
    Cmd::new("env").arg("-C").arg(dir).arg("lb")
}

/// A catalogue with it, added without any option.
pub fn catalogue() -> Result<PathBuf> {
    let (server, iso) = (server_binary()?, iso()?);
    cached("catalogue-livebuild", &key_of(&[&server], &[&iso.to_string_lossy()])?, |dir| {
        Cmd::new(&server)
            .args(["image", "add"])
            .arg(&iso)
            .args(["--name", IMAGE, "--dir"])
            .arg(dir)
            .run()
            .map(drop)
    })
}
