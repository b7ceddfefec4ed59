// SPDX-License-Identifier: GPL-3.0-or-later
//! A root of a few megabytes, for tests of what comes before it: a shell, a few programs of Debian's,
//! and an init that says what it finds.

use super::{APPEND, IMAGE, Image, cached, key_of, root::base};
use crate::{Cmd, server_binary};
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

/// What its init says first.
pub const TINY: &str = "lab: the tiny root is up";

/// Taken from the release's own root.
const PROGRAMS: [&str; 11] = [
    "/bin/sh",
    "/bin/cat",
    "/bin/dmesg",
    "/bin/grep",
    "/bin/ip",
    "/bin/ls",
    "/bin/mount",
    "/bin/sleep",
    "/bin/stty",
    "/usr/bin/od",
    "/usr/bin/tr",
];

/// The prompt is what `Vm::login` waits for.
const INIT: &str = "\
#!/bin/sh
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/root PS1='root@tiny# '
mount -t tmpfs tmpfs /tmp
exec </dev/ttyS0 >/dev/ttyS0 2>&1
echo 'lab: the tiny root is up'
while :; do sh -i; done
";

/// A catalogue with it, called [`IMAGE`], and the kernel and the initrd of `image`. Shared and read-only.
pub fn tiny(image: &Image) -> Result<PathBuf> {
    tiny_with(image, "tiny", &image.kernel(), &image.initrd())
}

/// The same with another kernel and initrd.
pub fn tiny_with(image: &Image, name: &str, kernel: &Path, initrd: &Path) -> Result<PathBuf> {
    let (server, suite) = (server_binary()?, image.suite());
    let base = base(suite)?;
    let key =
        key_of(&[&server, kernel, initrd], &[&base.to_string_lossy(), APPEND, INIT, &PROGRAMS.concat()])?;
    cached(&format!("catalogue-{name}-{}", suite.as_str()), &key, |dir| {
        let (tree, packed) = (dir.join("tree"), dir.join("tiny.squashfs"));
        plant(&base, &tree)?;
        Cmd::new("mksquashfs").arg(&tree).arg(&packed).args(["-quiet", "-no-progress", "-all-root"]).run()?;
        let add = Cmd::new(&server).args(["image", "add"]).arg(&packed).args(["--name", IMAGE, "--dir"]);
        add.arg(dir)
            .args(["--append", APPEND, "--kernel"])
            .args([kernel, Path::new("--initrd"), initrd])
            .run()?;
        fs::remove_dir_all(tree)?;
        fs::remove_file(packed).context("tidying up")
    })
}

fn plant(base: &Path, tree: &Path) -> Result<()> {
    for folder in ["dev", "etc", "proc", "root", "run", "sys", "tmp", "var", "usr/bin", "usr/sbin", "usr/lib"]
    {
        fs::create_dir_all(tree.join(folder))?;
    }
    for link in ["bin", "sbin", "lib"] {
        symlink(format!("usr/{link}"), tree.join(link))?;
    }
    fs::create_dir_all(tree.join("usr/lib64"))?;
    symlink("usr/lib64", tree.join("lib64"))?;
    let listed =
        Cmd::new("unshare").arg(format!("--root={}", base.display())).arg("ldd").args(PROGRAMS).run()?;
    // `libc.so.6 => /lib/… (0x…)`, `/lib64/ld-linux-x86-64.so.2 (0x…)`
    let libraries = listed.split_whitespace().filter(|w| w.starts_with('/') && w.contains(".so"));
    for file in PROGRAMS.into_iter().chain(libraries) {
        let to = tree.join(file.trim_start_matches('/'));
        fs::create_dir_all(to.parent().context("a file without a folder")?)?;
        fs::copy(base.join(file.trim_start_matches('/')), &to).with_context(|| format!("copying {file}"))?;
    }
    let init = tree.join("usr/sbin/init");
    fs::write(&init, INIT)?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
    fs::write(tree.join("etc/os-release"), "ID=lab\n")?;
    ensure!(tree.join("lib64").exists(), "no dynamic linker in {listed}");
    Ok(())
}
