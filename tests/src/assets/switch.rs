// SPDX-License-Identifier: GPL-3.0-or-later
//! Two images of one root, between which machines switch: `lesson` and `exam`, which has the file /exam besides.

use super::{
    Suite, cached,
    common::APPEND,
    image, key_of,
    root::{PACKAGES, bootstrap, over, pack, speaks},
};
use crate::{Cmd, server_binary};
use anyhow::{Context, Result};
use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

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

/// A catalogue for machines in namespaces ([`crate::Seat`]): `lesson`, and `exam` with so many MiB of noise, and so many more that both
/// have. Their roots have what a soft-reboot asks for, and a program that sleeps. With `keys`, both are signed by the key in
/// that folder.
pub fn small_lessons(dir: &Path, mib: u32, common: u32, keys: Option<&Path>) -> Result<()> {
    let noise = |file: &Path, mib: u32| -> Result<()> {
        let noise = fs::File::open("/dev/urandom")?;
        io::copy(&mut noise.take(u64::from(mib) << 20), &mut fs::File::create(file)?)?;
        Ok(())
    };
    fs::create_dir_all(dir)?;
    noise(&dir.join("common"), common)?;
    let (server, base) = (server_binary()?, image(Suite::own()?)?);
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    for (name, mib) in [("lesson", 2), ("exam", mib)] {
        let tree = dir.join(format!("tree-{name}"));
        for folder in ["etc", "proc", "run", "tmp", "var", "usr/lib/systemd"] {
            fs::create_dir_all(tree.join(folder))?;
        }
        fs::create_dir_all(tree.join("usr/lib/modules").join(release.trim()))?;
        fs::write(tree.join("usr/lib/systemd/systemd"), "a stub")?;
        fs::create_dir_all(tree.join("sbin"))?;
        fs::copy("/bin/true", tree.join("sbin/init")).context("copying a program")?;
        for file in ["bin/sleep", "lib64/ld-linux-x86-64.so.2", "lib/x86_64-linux-gnu/libc.so.6"] {
            let to = tree.join(file);
            fs::create_dir_all(to.parent().unwrap_or(&tree))?;
            fs::copy(Path::new("/").join(file), to).with_context(|| format!("copying /{file}"))?;
        }
        fs::write(tree.join("name"), name)?;
        noise(&tree.join("noise"), mib)?;
        fs::copy(dir.join("common"), tree.join("usr/common")).context("copying what both have")?;
        let packed = dir.join(format!("{name}.squashfs"));
        let pack = Cmd::new("mksquashfs").arg(&tree).arg(&packed);
        pack.args(["-noI", "-noD", "-noF", "-quiet", "-no-progress"]).run()?;
        let mut add = Cmd::new(&server);
        if let Some(keys) = keys {
            add = add.arg("--keys").arg(keys);
        }
        let add = add
            .args(["image", "add"])
            .arg(&packed)
            .args(["--name", name, "--dir"])
            .arg(dir.join("catalogue"));
        add.arg("--kernel").arg(base.kernel()).arg("--initrd").arg(base.initrd()).run()?;
    }
    Ok(())
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
