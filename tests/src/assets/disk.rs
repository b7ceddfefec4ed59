// SPDX-License-Identifier: GPL-3.0-or-later
//! A disk as an installed Debian has it: GPT, an ESP with GRUB, an ext4 root with Debian's kernel and
//! initrd, and nothing of ours in any of them. Made without a loop device: each filesystem in a file, then side by side.

use super::{
    Suite, cached, key_of,
    root::{base, chroot, is_initrd, name_of, over, speaks},
};
use crate::Cmd;
use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

/// The root's partition, and what its filesystem is called.
pub const ROOT_PARTITION: u32 = 2;
const LABEL: &str = "LABROOT";

/// Drivers that no virtual machine has a use for: most of a kernel's bytes.
const LEFT_OUT: [&str; 12] = [
    "drivers/gpu",
    "drivers/media",
    "drivers/infiniband",
    "drivers/iio",
    "drivers/staging",
    "drivers/net/wireless",
    "drivers/net/ethernet",
    "drivers/scsi",
    "drivers/isdn",
    "drivers/usb",
    "net/wireless",
    "sound",
];

/// A partition that is there when the disk boots by itself, and nowhere when it boots from RAM.
const FSTAB: &str = "\
LABEL=LABROOT / ext4 errors=remount-ro 0 1
/dev/vda3 /srv ext4 defaults 0 2
";

/// What finds the root from the ESP, built into GRUB.
const EARLY: &str = "search --no-floppy --label --set=root LABROOT\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n";

/// The modules for that. Serial: the firmware's console is on it already.
const GRUB: [&str; 9] =
    ["part_gpt", "fat", "ext2", "normal", "configfile", "linux", "search", "search_label", "minicmd"];

/// Where each partition begins, in MiB, and how large it is.
const ESP: (u64, u64) = (1, 34);
const DATA: u64 = 8;

/// The disk image, as a raw file, from the cache or made now.
pub fn disk() -> Result<PathBuf> {
    let base = base(Suite::own()?)?;
    let key = key_of::<&str>(&[], &[&base.to_string_lossy(), include_str!("disk.rs")])?;
    let dir = cached("disk", &key, |dir| {
        over(&base, dir, fill)?;
        esp(dir)?;
        assemble(dir)
    })?;
    Ok(dir.join("disk.raw"))
}

fn fill(root: &Path, dir: &Path) -> Result<()> {
    speaks(root)?;
    fs::write(root.join("etc/fstab"), FSTAB)?;
    fs::write(root.join("etc/hostname"), "from-the-image\n")?;

    let kernel = fs::read_dir(root.join("boot"))?.flatten().map(|e| e.path());
    let version = kernel
        .filter_map(|p| name_of(&p).strip_prefix("vmlinuz-").map(str::to_owned))
        .next()
        .context("no kernel")?;
    let modules = root.join("usr/lib/modules").join(&version);
    for folder in LEFT_OUT {
        Cmd::new("rm").arg("-rf").arg(modules.join("kernel").join(folder)).run()?;
    }
    chroot(root, &["depmod", &version]).run()?;
    // mmdebstrap has made none: INITRD=No.
    chroot(root, &["update-initramfs", "-c", "-k", &version])
        .run_logged(Stdio::null(), &dir.join("initramfs.log"))?;
    let initrd = fs::read_dir(root.join("boot"))?.flatten().map(|e| e.path()).find(|p| is_initrd(p));
    let initrd = initrd.context("no initrd")?;
    let menu = format!(
        "linux /boot/vmlinuz-{version} root=LABEL={LABEL} ro console=ttyS0 mitigations=off panic=-1\n\
         initrd /boot/{}\nboot\n",
        name_of(&initrd)
    );
    fs::create_dir_all(root.join("boot/grub"))?;
    fs::write(root.join("boot/grub/grub.cfg"), menu)?;
    for folder in ["var/lib/apt/lists", "var/cache/apt"] {
        Cmd::new("rm").arg("-rf").arg(root.join(folder)).run()?;
    }
    let used = Cmd::new("du").args(["-sm"]).arg(root).run()?;
    let mib: u64 = used.split_whitespace().next().unwrap_or_default().parse()?;
    ext4(&dir.join("root.ext4"), LABEL, mib + mib / 10 + 40, Some(root))?;
    ext4(&dir.join("data.ext4"), "LABDATA", DATA, None)
}

fn ext4(image: &Path, label: &str, mib: u64, from: Option<&Path>) -> Result<()> {
    let mut cmd = Cmd::new("mke2fs").args(["-q", "-t", "ext4", "-m", "1", "-L", label]);
    if let Some(folder) = from {
        cmd = cmd.arg("-d").arg(folder);
    }
    cmd.arg(image).arg(format!("{mib}M")).run().map(drop)
}

/// An ESP with GRUB where every firmware looks.
fn esp(dir: &Path) -> Result<()> {
    let (image, early, grub) = (dir.join("esp.fat"), dir.join("early.cfg"), dir.join("BOOTX64.EFI"));
    fs::write(&early, EARLY)?;
    Cmd::new("grub-mkimage")
        .args(["-O", "x86_64-efi", "-p", "/boot/grub", "-c"])
        .arg(&early)
        .arg("-o")
        .arg(&grub)
        .args(GRUB)
        .run()?;
    fs::File::create(&image)?.set_len(ESP.1 << 20)?;
    Cmd::new("mkfs.vfat").args(["-F", "32", "-n", "ESP"]).arg(&image).run()?;
    let mtools = |program: &str| Cmd::new(program).arg("-i").arg(&image);
    mtools("mmd").args(["::EFI", "::EFI/BOOT"]).run()?;
    mtools("mcopy").arg(&grub).arg("::EFI/BOOT/BOOTX64.EFI").run().map(drop)
}

fn assemble(dir: &Path) -> Result<()> {
    let size = |name: &str| Ok::<_, std::io::Error>(fs::metadata(dir.join(name))?.len() >> 20);
    let (disk, root) = (dir.join("disk.raw"), size("root.ext4")?);
    let parts = [("esp.fat", ESP.0), ("root.ext4", ESP.0 + ESP.1), ("data.ext4", ESP.0 + ESP.1 + root)];
    fs::File::create(&disk)?.set_len((parts[2].1 + DATA + 1) << 20)?;
    let mut sgdisk = Cmd::new("sgdisk");
    for (n, ((_, at), (mib, kind))) in
        parts.iter().zip([(ESP.1, "ef00"), (root, "8300"), (DATA, "8300")]).enumerate()
    {
        let n = n + 1;
        sgdisk = sgdisk.args(["-n", &format!("{n}:{at}M:+{mib}M"), "-t", &format!("{n}:{kind}")]);
    }
    sgdisk.arg(&disk).run()?;
    for (name, at) in parts {
        let to = format!("of={}", disk.display());
        Cmd::new("dd")
            .arg(format!("if={}", dir.join(name).display()))
            .args([to.as_str(), "bs=1M", &format!("seek={at}"), "conv=notrunc,sparse", "status=none"])
            .run()?;
        fs::remove_file(dir.join(name))?;
    }
    Ok(())
}
