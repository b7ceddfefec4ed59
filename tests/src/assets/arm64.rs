// SPDX-License-Identifier: GPL-3.0-or-later
//! A Debian root for machines with 64-bit ARM. Its packages are unpacked, and not set up: nothing of it runs here.

use super::{
    Suite, cached, copy_catalogue, image, key_of,
    root::{VERDICT, bootstrap_arm64, over},
    tiny,
};
use crate::{Cmd, agent_binary, server_binary, workspace};
use anyhow::{Context, Result, ensure};
use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

/// The name of its image.
pub const ARM64: &str = "arm";

/// Debian's GRUB for it, too: the newest, which has HTTP.
const PACKAGES: &str = "base-files,base-passwd,dash,coreutils,util-linux,systemd-sysv,udev,dbus,kmod,linux-image-arm64,grub-efi-arm64-signed";

const APPEND: &str = "console=ttyAMA0 mitigations=off norandmaps panic=-1";

/// Of what is in the root, only this belongs to a machine.
const LEAVE_OUT: [&str; 3] = ["usr/lib/grub", "usr/lib/shim", "var/cache/apt"];

/// A catalogue of the small x86 image and of [`ARM64`], which is a bare root.
pub fn arm64_catalogue() -> Result<PathBuf> {
    let (server, root) = (server_binary()?, root()?);
    let others = tiny(&image(Suite::own()?)?)?;
    let key = key_of(&[&server], &[&root.to_string_lossy(), &others.to_string_lossy(), APPEND, VERDICT])?;
    cached("catalogue-arm64", &key, |dir| {
        let catalogue = dir.join("catalogue");
        copy_catalogue(&others, &catalogue)?;
        over(&root, dir, move |root, _| {
            set_up(root)?;
            let add = Cmd::new(server).args(["image", "add"]).arg(root).args(["--name", ARM64]);
            let add = LEAVE_OUT.iter().fold(add, |add, path| add.args(["--exclude", path]));
            let said = add.args(["--append", APPEND, "--dir"]).arg(&catalogue).run()?;
            ensure!(said.contains("initrd made by this server"), "{said}");
            Ok(())
        })
    })
    .map(|dir| dir.join("catalogue"))
}

/// Where `boottorrent setup` finds Debian's loaders: this machine's for x86, and those for arm64.
pub fn arm64_loaders(dir: &Path) -> Result<PathBuf> {
    let (lib, theirs) = (dir.join("lib"), root()?.join("usr/lib"));
    fs::create_dir_all(lib.join("grub"))?;
    symlink("/usr/lib/ipxe", lib.join("ipxe"))?;
    symlink(theirs.join("grub/arm64-efi-signed"), lib.join("grub/arm64-efi-signed"))?;
    Ok(lib)
}

/// Put the agent for arm64, which `make agent-arm64` has built, where the server looks for it: beside the other.
pub fn arm64_agent() -> Result<()> {
    let agent = workspace().join("target/aarch64-unknown-linux-musl/agent/boottorrent-agent");
    ensure!(agent.is_file(), "{} is not there: run `make agent-arm64` first", agent.display());
    let mut beside = agent_binary()?.into_os_string();
    beside.push("-arm64");
    match symlink(&agent, &beside) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.with_context(|| format!("linking {}", beside.display())),
    }
}

fn root() -> Result<PathBuf> {
    bootstrap_arm64(Suite::Trixie, PACKAGES)
}

/// What the packages' own scripts would have done, as far as systemd needs it; and that it says when it is up.
fn set_up(root: &Path) -> Result<()> {
    for file in ["passwd", "group"] {
        let master = root.join(format!("usr/share/base-passwd/{file}.master"));
        fs::copy(master, root.join("etc").join(file)).with_context(|| format!("making /etc/{file}"))?;
    }
    for kernel in fs::read_dir(root.join("usr/lib/modules")).context("looking for kernels")? {
        let version = kernel?.file_name().to_string_lossy().into_owned();
        Cmd::new("/sbin/depmod").arg("--basedir").arg(root).arg(version).run()?;
    }
    let wants = root.join("etc/systemd/system/multi-user.target.wants");
    fs::create_dir_all(&wants)?;
    fs::write(root.join("etc/systemd/system/lab-verdict.service"), VERDICT)?;
    symlink("../lab-verdict.service", wants.join("lab-verdict.service")).context("enabling a unit")
}
