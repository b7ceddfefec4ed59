// SPDX-License-Identifier: GPL-3.0-or-later
//! An LTSP server as an admin has it before BootTorrent comes: Debian's ltsp, a chroot, and an image of it
//! that `ltsp image` made.

use super::{
    Suite, cached, key_of,
    root::{AUTOLOGIN, VERDICT, base, chroot},
};
use crate::Cmd;
use anyhow::{Context, Result};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Stdio,
};

/// What LTSP's own installation page names, as far as Debian has it, and an NFS server that needs no kernel module.
const PACKAGES: &str = "ltsp busybox cpio ipxe dnsmasq squashfs-tools openssh-server nfs-ganesha-vfs man-db";

/// The image's name, which is its chroot's.
pub const LTSP_IMAGE: &str = "x86_64";

/// LTSP's own address in its default configuration of a server with a network of its own.
pub const LTSP_SERVER: &str = "192.168.67.1";

/// A folder for what the NFS server exports as /srv/ltsp.
pub const NFS: &str = "/srv/nfs";

/// Layers over a Debian root.
pub struct LtspRoot {
    base: PathBuf,
    made: PathBuf,
}

/// Made once for each suite.
pub fn ltsp(suite: Suite) -> Result<LtspRoot> {
    let base = base(suite)?;
    let key = key_of::<&str>(&[], &[&base.to_string_lossy(), PACKAGES, CONF, AUTOLOGIN, VERDICT])?;
    let made = cached(&format!("ltsp-{}", suite.as_str()), &key, |dir| make(&base, dir))?;
    Ok(LtspRoot { base, made })
}

impl LtspRoot {
    /// Mount it in `dir`, for the calling thread and what it starts. Returns the server's root, with the
    /// chroot in its place, both writable.
    pub fn mount(&self, dir: &Path) -> Result<PathBuf> {
        private_mounts()?;
        let (packages, server, client) =
            (self.made.join("packages"), self.made.join("server"), self.made.join("client"));
        let root = overlay(&[&server, &packages, &self.base], dir, "server")?;
        let client = overlay(&[&client, &packages, &self.base], dir, "client")?;
        let flags = MsFlags::MS_BIND;
        mount(Some(&client), &root.join("srv/ltsp").join(LTSP_IMAGE), None::<&str>, flags, None::<&str>)?;
        devices(&root)?;
        // No overlay, which no NFS server can export.
        let (plain, export) = (dir.join("nfs"), root.join(NFS.trim_start_matches('/')));
        for d in [&plain, &export] {
            fs::create_dir_all(d)?;
        }
        mount(Some(&plain), &export, None::<&str>, flags, None::<&str>)?;
        Ok(root)
    }
}

/// What this thread mounts is nobody else's.
fn private_mounts() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("making a mount namespace (this needs root)")?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .context("making mounts private")
}

/// An overlay over `lowers` at DIR/NAME; what is written goes to DIR/NAME.upper.
fn overlay(lowers: &[&Path], dir: &Path, name: &str) -> Result<PathBuf> {
    let place = |suffix: &str| dir.join(format!("{name}{suffix}"));
    let (at, upper, work) = (place(""), place(".upper"), place(".work"));
    for d in [&at, &upper, &work] {
        fs::create_dir_all(d).with_context(|| format!("creating {}", d.display()))?;
    }
    let lowers: Vec<String> = lowers.iter().map(|l| l.display().to_string()).collect();
    let options =
        format!("lowerdir={},upperdir={},workdir={}", lowers.join(":"), upper.display(), work.display());
    mount(Some("overlay"), &at, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
        .with_context(|| format!("mounting an overlay on {}", at.display()))?;
    Ok(at)
}

/// LTSP mounts images on loop devices, and looks in /sys whether there are any.
fn devices(root: &Path) -> Result<()> {
    for dir in ["dev", "sys"] {
        let (from, to) = (Path::new("/").join(dir), root.join(dir));
        mount(Some(&from), &to, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
            .with_context(|| format!("mounting {}", to.display()))?;
    }
    Ok(())
}

fn make(base: &Path, dir: &Path) -> Result<()> {
    let (base, made) = (base.to_owned(), dir.to_owned());
    std::thread::spawn(move || layers(&base, &made)).join().expect("no panic in there")?;
    for layer in ["packages", "server", "client"] {
        fs::remove_dir(dir.join(layer))?;
        fs::remove_dir_all(dir.join(format!("{layer}.work")))?;
        fs::rename(dir.join(format!("{layer}.upper")), dir.join(layer))?;
    }
    Ok(())
}

fn layers(base: &Path, dir: &Path) -> Result<()> {
    private_mounts()?;
    let log = |name: &str| dir.join(format!("{name}.log"));
    let packages = overlay(&[base], dir, "packages")?;
    let install = format!(
        "apt-get -q update && apt-get -q -y --no-install-recommends install {PACKAGES} && apt-get clean && \
         rm -rf /var/lib/apt/lists/*"
    );
    fs::copy("/etc/resolv.conf", packages.join("etc/resolv.conf")).context("copying resolv.conf")?;
    chroot(&packages, &["sh", "-c", &install])
        .env("INITRD", "No")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .run_logged(Stdio::null(), &log("apt"))?;

    let client = overlay(&[&dir.join("packages.upper"), base], dir, "client")?;
    let units = client.join("etc/systemd/system");
    let (getty, wants) = (units.join("serial-getty@ttyS0.service.d"), units.join("multi-user.target.wants"));
    for folder in [&getty, &wants] {
        fs::create_dir_all(folder)?;
    }
    fs::write(getty.join("autologin.conf"), AUTOLOGIN)?;
    fs::write(units.join("lab-verdict.service"), VERDICT)?;
    symlink("../lab-verdict.service", wants.join("lab-verdict.service"))?;
    chroot(&client, &["update-initramfs", "-c", "-k", "all"])
        .run_logged(Stdio::null(), &log("update-initramfs"))?;

    let server = overlay(&[&dir.join("packages.upper"), base], dir, "server")?;
    let place = server.join("srv/ltsp").join(LTSP_IMAGE);
    fs::create_dir_all(&place)?;
    mount(Some(&client), &place, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    devices(&server)?;
    fs::create_dir_all(server.join("etc/ltsp"))?;
    fs::write(server.join("etc/ltsp/ltsp.conf"), CONF)?;
    image(&server).run_logged(Stdio::null(), &log("ltsp-image"))
}

/// A script in a root. Never as process 1, for which `ltsp` takes it for a client's.
pub fn shell(root: &Path, script: &str) -> Cmd {
    // There is no systemd in these roots: services are "started" by the tests.
    chroot(root, &["sh", "-e", "-c", &format!("{script}\n:")]).env("SYSTEMD_OFFLINE", "1")
}

/// What an admin types first, on a server that has a network. zstd and its first level: made and unpacked quickly.
fn image(server: &Path) -> Cmd {
    let network = [("DEVICE", "lo"), ("IP_ADDRESS", LTSP_SERVER), ("MAC_ADDRESS", "52:54:00:77:00:01")];
    let cmd = shell(server, &format!("ltsp image {LTSP_IMAGE}"));
    network.into_iter().fold(cmd, |cmd, (name, value)| cmd.env(name, value))
}

/// Machines without mitigations are a third faster under emulation; they write to the serial port. What they need of
/// the kernel's modules is in their initrd.
const CONF: &str = "\
[common]
KERNEL_PARAMETERS=\"console=ttyS0 mitigations=off panic=-1 systemd.default_device_timeout_sec=300\"
[server]
MKSQUASHFS_PARAMS=\"-comp zstd -Xcompression-level 1 -no-progress\"
ADD_IMAGE_EXCLUDES=\"usr/lib/modules/*/kernel/arch/*
usr/lib/modules/*/kernel/drivers/*
usr/lib/modules/*/kernel/net/*
usr/lib/modules/*/kernel/sound/*\"
MENU_TIMEOUT=100
";
