// SPDX-License-Identifier: GPL-3.0-or-later
//! A live ISO's own initrd, which is on the ISO: it is unpacked into a tmpfs, gets what the add-on would bring, and becomes
//! the root, so that the ISO's scripts go on from there.

use super::{mounts, unpack};
use crate::{iso::MEDIUM, report::Report};
use anyhow::{Context, anyhow};
use bootspec::{
    RUN_DIR,
    live::{HANDED_DIR, HOOK_DIR, LiveInitrd},
    manifest::Family,
    units::human_size,
};
use nix::unistd::{chroot, fchdir};
use std::{
    fs::{self, DirBuilder, File},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Instant,
};
use sys_mount::{FilesystemType, Mount, MountFlags};

/// Where it is unpacked.
const SECOND: &str = "/second";
/// Where the agent is in the initrds of others.
const AGENT: &str = "/usr/bin/boottorrent-agent";
/// What its scripts may write beside it.
const SPACE: u64 = 64 << 20;

/// Become the init of the ISO's own initrd. Returns only when it fails.
pub fn enter(live: &LiveInitrd) -> anyhow::Error {
    if let Err(e) = make(live) {
        return e.context("starting the ISO's own initrd");
    }
    mounts::switch_root(Path::new(SECOND), Some("/init"), kept(live.family))
}

/// Whether its init takes mounted file systems over. The init of initramfs-tools mounts its own.
fn kept(family: Family) -> bool {
    family == Family::Dracut
}

fn make(live: &LiveInitrd) -> anyhow::Result<()> {
    let begun = Instant::now();
    let medium = Path::new(RUN_DIR).join(MEDIUM);
    let device = fs::read_to_string(&medium).with_context(|| format!("reading {}", medium.display()))?;
    let device = File::open(device.trim()).with_context(|| format!("opening {}", device.trim()))?;
    let mut hook = files(Path::new(HOOK_DIR), Path::new("/"))?;
    // Its hooks call the agent once more, before they switch root.
    hook.push((PathBuf::from(AGENT), 0o755, fs::read("/init").context("reading /init")?));
    if !kept(live.family) {
        hook.extend(addresses()?);
    }
    let resolv = fs::read("/etc/resolv.conf").unwrap_or_default();
    fs::create_dir_all(SECOND).with_context(|| format!("creating {SECOND}"))?;
    Mount::builder()
        .fstype(FilesystemType::Manual("tmpfs"))
        .flags(MountFlags::empty())
        .data(&format!("mode=0755,size={}", live.unpacked.saturating_add(SPACE)))
        .mount("initrd", SECOND)
        .context("mounting a tmpfs for it")?;
    // Links in it lead to places in it.
    let outside = File::open("/").context("opening the initramfs")?;
    chroot(SECOND).context("entering it")?;
    let made = unpack::initrd(&device, live, Path::new("/")).and_then(|bytes| {
        write(&PathBuf::from("/etc/resolv.conf"), 0o644, &resolv)?;
        hook.iter().try_for_each(|(path, mode, bytes)| write(path, *mode, bytes))?;
        Ok(bytes)
    });
    fchdir(&outside).and_then(|()| chroot(".")).context("leaving it")?;
    let said = format!(
        "the ISO's own initrd ({}) is unpacked in {:.1} s",
        human_size(made?),
        begun.elapsed().as_secs_f64()
    );
    Report::new(Some(Path::new("/dev/kmsg")), None).info(&said);
    let to = Path::new(SECOND);
    if kept(live.family) {
        return mounts::folders(to);
    }
    let run = to.join(format!("{}/run", HANDED_DIR.trim_start_matches('/')));
    fs::create_dir_all(&run).with_context(|| format!("creating {}", run.display()))?;
    mounts::moved(Path::new(RUN_DIR), &run)
}

/// The addresses of cards, as boot scripts read them.
fn addresses() -> anyhow::Result<Vec<HookFile>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/run").context("reading /run")?.flatten() {
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b"net-") {
            let bytes =
                fs::read(entry.path()).with_context(|| format!("reading {}", entry.path().display()))?;
            found.push((Path::new(HANDED_DIR).join(name), 0o644, bytes));
        }
    }
    Ok(found)
}

/// A path, permissions, content.
type HookFile = (PathBuf, u32, Vec<u8>);

/// All files below a folder of our initrd, with the paths that they get.
fn files(folder: &Path, to: &Path) -> anyhow::Result<Vec<HookFile>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?.flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type().map(|t| t.is_dir()) {
            Ok(true) => all.extend(files(&from, &to)?),
            _ => {
                let mode = fs::metadata(&from).map_or(0o644, |m| m.permissions().mode());
                let bytes = fs::read(&from).with_context(|| format!("reading {}", from.display()))?;
                all.push((to, mode, bytes));
            }
        }
    }
    Ok(all)
}

fn write(path: &Path, mode: u32, bytes: &[u8]) -> anyhow::Result<()> {
    let folder = path.parent().ok_or_else(|| anyhow!("{} is not a file", path.display()))?;
    DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    // A link in its place may lead nowhere.
    let _ = fs::remove_file(path);
    fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o7777)).context("setting permissions")
}
