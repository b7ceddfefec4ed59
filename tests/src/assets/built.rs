// SPDX-License-Identifier: GPL-3.0-or-later
//! Images as Debian's own builders make them: mkosi, whose kernel is in a unified kernel image, FAI and debos. Nothing of
//! ours is in them.

use super::{APPEND, IMAGE, Suite, apt, cached, key_of, root::bootstrap};
use crate::{Cmd, server_binary};
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

/// A program that makes images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builder {
    /// Debian 13's mkosi, as root in a root of its own, where it needs no kernel with FAT.
    Mkosi,
    /// fai-diskimage, with the configuration that the package fai-doc has as its example.
    Fai,
    /// debos, without its virtual machine: a tarball of a root with cloud-init.
    Debos,
    /// vmdb2, to a loop device: for a file it needs device-mapper, which some kernels lack.
    Vmdb2,
    /// Packer, which starts FAI's disk in QEMU and changes it over SSH: qcow2.
    Packer,
}

/// mkosi, and what it calls.
const MKOSI: &str = "mkosi,systemd-repart,systemd-ukify,dosfstools,mtools,e2fsprogs,kmod,cpio,zstd,apt,debian-archive-keyring";

/// What an image of a machine has at least; with a kernel command line, which its unified kernel image carries.
const MKOSI_CONF: &str = "\
[Output]
Format=disk
Output=disk

[Content]
Bootable=yes
Bootloader=uki
RootPassword=hashed:$1$kBnWcO.E$djxB128U7dMkrltJHPf6d1
Packages=systemd
         systemd-sysv
         udev
         dbus
         kmod
         iproute2
         linux-image-amd64
         systemd-boot-efi
KernelCommandLine=console=ttyS0 mitigations=off

[Build]
WithNetwork=yes
PackageCacheDirectory=/work/cache
WorkspaceDirectory=/work
BuildSources=
";

/// A root becomes `/` in a mount namespace, as mkosi's sandbox wants it; `$2` is what it works in.
const IN_ROOT: &str = r#"
set -e
mount --make-rprivate /
mount --bind "$1" "$1"
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
mount --rbind /sys "$1/sys"
mount -t tmpfs tmpfs "$1/run"
mount -t tmpfs tmpfs "$1/mnt"
mkdir -p "$1/work" "$1/mnt/old"
mount --bind "$2" "$1/work"
for file in resolv.conf hosts; do cp "/etc/$file" "$1/etc/$file"; done
cd "$1"
pivot_root . mnt/old
exec chroot . sh -c 'umount -l /mnt/old; cd /work; mkosi --distribution debian --release "$0" build' "$3"
"#;

/// The classes of FAI's example for a disk image that boots with a BIOS.
const CLASSES: &str = "DEFAULT,LINUX,AMD64,DEBIAN,FAIBASE,GRUB_PC,CLOUD,LAST";
const CONFIGURATION: &str = "/usr/share/doc/fai-doc/examples/simple";

const DEBOS: &str = include_str!("debos.yaml");
const VMDB2: &str = include_str!("vmdb2.yaml");
const PACKER: &str = include_str!("packer.pkr.hcl");

/// What root logs in with, in all of them: FAI's example has it.
pub const BUILT_PASSWORD: &str = "fai";

impl Builder {
    fn as_str(self) -> &'static str {
        match self {
            Builder::Mkosi => "mkosi",
            Builder::Fai => "fai",
            Builder::Debos => "debos",
            Builder::Vmdb2 => "vmdb2",
            Builder::Packer => "packer",
        }
    }

    /// The image: two minutes the first time.
    pub fn made(self) -> Result<PathBuf> {
        let key = key_of::<&str>(&[], &[include_str!("built.rs"), DEBOS, VMDB2, PACKER])?;
        let dir = cached(&format!("built-{}", self.as_str()), &key, |dir| match self {
            Builder::Mkosi => mkosi(dir),
            Builder::Fai => fai(dir),
            Builder::Debos => debos(dir),
            Builder::Vmdb2 => vmdb2(dir),
            Builder::Packer => packer(dir),
        })?;
        Ok(dir.join(match self {
            Builder::Debos => "lab.tar.gz",
            Builder::Packer => "packer/disk.qcow2",
            _ => "disk.raw",
        }))
    }

    /// A catalogue with it, added with no more than what tests need of a kernel.
    pub fn catalogue(self) -> Result<PathBuf> {
        let (server, disk) = (server_binary()?, self.made()?);
        let key = key_of(&[&server], &[&disk.to_string_lossy(), APPEND])?;
        cached(&format!("catalogue-built-{}", self.as_str()), &key, |dir| {
            let add = Cmd::new(&server).args(["image", "add"]).arg(&disk).args(["--name", IMAGE]);
            let said = add.args(["--append", APPEND, "--dir"]).arg(dir).run()?;
            fs::write(dir.join("said"), said).context("writing what image add said")
        })
    }
}

fn mkosi(dir: &Path) -> Result<()> {
    let (tools, suite) = (bootstrap("mkosi", Suite::Trixie, MKOSI)?, Suite::own()?);
    let work = dir.join("work");
    // The machine's own sources: mkosi writes none where there is this file.
    let sources = work.join("mkosi.sandbox/etc/apt/sources.list.d");
    for folder in [&sources, &work.join("cache")] {
        fs::create_dir_all(folder)?;
    }
    apt::write(&apt::sources(suite)?, &sources)?;
    let deb822 = sources.join("debian.sources");
    match deb822.exists() {
        true => fs::rename(deb822, sources.join("mkosi.sources"))?,
        false => fs::write(sources.join("mkosi.sources"), "# See debian.list.\n")?,
    }
    fs::write(work.join("mkosi.conf"), MKOSI_CONF)?;
    Cmd::new("unshare")
        .args(["--mount", "--pid", "--fork", "sh", "-c", IN_ROOT, "sh"])
        .args([&tools, &work])
        .arg(suite.as_str())
        .run_logged(Stdio::null(), &dir.join("build.log"))?;
    fs::rename(work.join("disk.raw"), dir.join("disk.raw")).context("mkosi has made no disk.raw")?;
    fs::remove_dir_all(work).context("tidying up")
}

fn fai(dir: &Path) -> Result<()> {
    let (space, disk) = (dir.join("config"), dir.join("disk.raw"));
    Cmd::new("cp").args(["-a", "--no-target-directory", CONFIGURATION]).arg(&space).run()?;
    let (suite, archive) = (Suite::own()?, apt::archive(Suite::own()?)?);
    let cdn = archive.trim_end_matches('/').trim_end_matches("/debian");
    let release = suite.as_str();
    let own = format!("FAI_DEBOOTSTRAP=\"{release} {archive}\"\napt_cdn={cdn}\nrelease={release}\n");
    fs::write(space.join("class/LAST.var"), own)?;
    let made = Cmd::new("fai-diskimage")
        .args(["-v", "-u", "lab", "-S", "1500M", "-c", CLASSES, "-s"])
        .args([&space, &disk])
        .output()?;
    fs::write(dir.join("build.log"), [made.stdout.clone(), made.stderr].concat())?;
    // It ends with 1 where any of its programs has warned of anything.
    let said = String::from_utf8_lossy(&made.stdout).into_owned();
    ensure!(said.contains("FAI finished at"), "fai-diskimage: see {}", dir.join("build.log").display());
    fs::remove_dir_all(space).context("tidying up")
}

fn debos(dir: &Path) -> Result<()> {
    let suite = Suite::own()?;
    fs::write(dir.join("lab.yaml"), DEBOS)?;
    Cmd::new("debos")
        .args(["--disable-fakemachine", "-t", &format!("suite:{}", suite.as_str())])
        .args(["-t", &format!("mirror:{}", apt::archive(suite)?)])
        .arg(format!("--artifactdir={}", dir.display()))
        .arg(dir.join("lab.yaml"))
        .run_logged(Stdio::null(), &dir.join("build.log"))
}

/// `$1` is the file, the rest is vmdb2.
const ON_LOOP: &str = r#"
file=$1
shift
loop=$(losetup --find --show --partscan "$file")
trap 'losetup -d "$loop"' EXIT
"$@" --output "$loop"
"#;

fn vmdb2(dir: &Path) -> Result<()> {
    let (suite, disk, spec) = (Suite::own()?, dir.join("disk.raw"), dir.join("lab.yaml"));
    fs::write(&spec, VMDB2)?;
    fs::File::create(&disk)?.set_len(1500 << 20)?;
    Cmd::new("sh")
        .args(["-e", "-c", ON_LOOP, "sh"])
        .arg(&disk)
        .args(["vmdb2", "--verbose", &format!("--variable=suite={}", suite.as_str())])
        .arg(format!("--variable=mirror={}", apt::archive(suite)?))
        .arg(&spec)
        .run_logged(Stdio::null(), &dir.join("build.log"))
}

/// FAI's disk with what Packer needs to start it and to log in, and FAI leaves to others: a root that is not the loop
/// device of whoever made it, a network by DHCP, host keys, and a key of root's. `$1` the disk, `$2` a folder.
const LET_IN: &str = r#"
ssh-keygen -q -t ed25519 -N '' -f "$2/key"
mkdir "$2/mnt"
mount -o loop,offset=$(($(partx --noheadings --output START --nr 1 "$1") * 512)) "$1" "$2/mnt"
trap 'umount "$2/mnt"; rmdir "$2/mnt"' EXIT
printf 'auto eth0\niface eth0 inet dhcp\n' >"$2/mnt/etc/network/interfaces.d/eth0"
sed -i 's,root=/dev/loop[0-9]*p1,root=/dev/vda1,' "$2/mnt/boot/grub/grub.cfg"
ssh-keygen -q -A -f "$2/mnt"
mkdir -p -m 700 "$2/mnt/root/.ssh"
cp "$2/key.pub" "$2/mnt/root/.ssh/authorized_keys"
"#;

fn packer(dir: &Path) -> Result<()> {
    let (base, spec) = (dir.join("base.raw"), dir.join("lab.pkr.hcl"));
    Cmd::new("cp").arg("--sparse=always").arg(Builder::Fai.made()?).arg(&base).run()?;
    Cmd::new("sh").args(["-e", "-c", LET_IN, "sh"]).arg(&base).arg(dir).run()?;
    fs::write(&spec, PACKER)?;
    Cmd::new("sh")
        .args([
            "-e",
            "-c",
            "cd \"$1\"; PACKER_LOG=1 packer build -var base=\"$2\" -var key=\"$1/key\" \"$3\"",
            "sh",
        ])
        .args([dir, &base, &spec])
        .run_logged(Stdio::null(), &dir.join("build.log"))?;
    fs::remove_file(base).context("tidying up")
}
