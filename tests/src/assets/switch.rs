// SPDX-License-Identifier: GPL-3.0-or-later
//! Two images of one root, between which machines switch: `lesson` and `exam`, which has the file /exam besides.

use super::{
    Suite, cached,
    common::APPEND,
    key_of,
    root::{PACKAGES, bootstrap, over, pack, speaks},
};
use crate::{Cmd, server_binary};
use anyhow::{Context, Result};
use std::{fs, path::PathBuf};

/// A catalogue with both. Machines are sent an initrd that the server makes. Of the other release besides, if it is asked for:
/// `old-lesson`.
pub fn lessons(suite: Suite, other: Option<Suite>) -> Result<PathBuf> {
    let server = server_binary()?;
    let root = packed(suite)?;
    let old = other.map(packed).transpose()?;
    let shown = format!("{} {old:?}", root.display());
    let key = key_of(&[&server], &[&shown, APPEND])?;
    let with = if old.is_some() { "two-" } else { "" };
    cached(&format!("catalogue-{with}lessons-{}", suite.as_str()), &key, |dir| {
        let exam = dir.join("exam.squashfs");
        fs::copy(root.join("payload.squashfs"), &exam).context("copying the image")?;
        let more = dir.join("more");
        fs::create_dir(&more)?;
        fs::write(more.join("exam"), "2027\n")?;
        // Appended: everything else is where it was.
        Cmd::new("mksquashfs").args([&more, &exam]).args(["-quiet", "-no-progress"]).run()?;
        let add = |name: &str, payload: PathBuf| {
            let add = Cmd::new(&server).args(["image", "add"]).arg(payload).args(["--initrd-from", "own"]);
            add.args(["--name", name, "--append", APPEND, "--dir"]).arg(dir).run().map(drop)
        };
        add("lesson", root.join("payload.squashfs"))?;
        add("exam", exam.clone())?;
        if let Some(old) = &old {
            add("old-lesson", old.join("payload.squashfs"))?;
        }
        fs::remove_dir_all(more)?;
        fs::remove_file(exam).context("tidying up")
    })
}

/// The root as a squashfs, without anything of ours: with sessions of people who are logged in (libpam-systemd).
fn packed(suite: Suite) -> Result<PathBuf> {
    let base = bootstrap("people", suite, &format!("{PACKAGES},libpam-systemd"))?;
    let key = key_of::<&str>(&[], &[&base.to_string_lossy(), include_str!("switch.rs")])?;
    cached(&format!("people-image-{}", suite.as_str()), &key, |dir| {
        over(&base, dir, |root, dir| {
            speaks(root)?;
            pack(root, dir, &[])
        })
    })
}
