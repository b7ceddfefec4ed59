// SPDX-License-Identifier: GPL-3.0-or-later
//! Files out of Debian packages that nobody wants installed on the machine that tests.

use super::{cached, key_of};
use crate::Cmd;
use anyhow::{Context, Result};
use std::{fs, path::PathBuf, process::Stdio};

/// A folder with what is in a package of this machine's own release.
pub fn package(name: &str) -> Result<PathBuf> {
    let dir = cached(&format!("package-{name}"), &key_of::<&str>(&[], &[name])?, |dir| {
        // apt's own user cannot write here, which it says and does without.
        let download = "cd \"$1\" && apt-get -q -o APT::Sandbox::User=root download \"$2\"";
        let download = Cmd::new("sh").args(["-ec", download, "sh"]).arg(dir).arg(name);
        download.run_logged(Stdio::null(), &dir.join("apt.log"))?;
        let debs = fs::read_dir(dir)?.filter_map(|e| Some(e.ok()?.path()));
        let deb = debs.into_iter().find(|p| p.extension().is_some_and(|e| e == "deb"));
        let deb = deb.with_context(|| format!("apt-get download {name} has left no package"))?;
        Cmd::new("dpkg-deb").arg("-x").arg(deb).arg(dir.join("root")).run().map(drop)
    })?;
    Ok(dir.join("root"))
}
