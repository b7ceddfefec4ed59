// SPDX-License-Identifier: GPL-3.0-or-later
//! This machine's own key ([`bootspec::machine_key`]): found where it is kept, or made.

use crate::{report::Report, store::Caches};
use anyhow::{Context, bail};
use bootspec::{Sha256Sum, machine_key::BYTES, params::KeyPlace};
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use swarm::Summing;
use sys_mount::{FilesystemType, Mount, MountFlags};

/// The variable of the firmware: a name, and our GUID, which was made at random (UEFI 2.10, 8.2).
const VARIABLE: &str = "BoottorrentKey-9f6c1b1e-6a0c-4c53-9a55-2f3f5d2c7e41";
/// Kept when the power is off, and there for firmware and system.
const ATTRIBUTES: u32 = 1 | 2 | 4;

/// See the module's text.
pub struct MachineKey {
    /// The key in hexadecimal.
    pub digits: String,
    /// Its SHA-256, by which people know it.
    pub fingerprint: Sha256Sum,
    /// Where it is kept, for people: `on LABEL=images`.
    pub place: String,
}

impl MachineKey {
    /// Find it, or make it. Errors: the firmware has no variables, or takes none.
    pub fn obtain(
        place: KeyPlace,
        caches: &Caches<'_>,
        run: &Path,
        report: &Report,
    ) -> anyhow::Result<MachineKey> {
        if place == KeyPlace::Efi {
            let variables = Variables::mount(run)?;
            return Ok(of(variables.key()?, "in the firmware (boottorrent.key=efi)".into()));
        }
        let Some((name, kept)) = caches.machine_key() else {
            report.info("this machine's key is for this boot only: no disk keeps images, and boottorrent.key=efi is not set");
            return Ok(of(random(), "in RAM, for this boot only".into()));
        };
        let key = match kept.and_then(|text| parse(text.trim().as_bytes())) {
            Some(key) => key,
            None => {
                let key = random();
                caches.keep_machine_key(&hex(&key))?;
                key
            }
        };
        Ok(of(key, format!("on {name}")))
    }
}

fn of(key: [u8; BYTES], place: String) -> MachineKey {
    let mut sum = Summing::new(&key[..]);
    io::copy(&mut sum, &mut io::sink()).expect("a slice can be read");
    MachineKey { digits: hex(&key), fingerprint: sum.finish(), place }
}

/// From the kernel's generator, once that is ready (getrandom(2)).
fn random() -> [u8; BYTES] {
    rand::random()
}

fn hex(key: &[u8]) -> String {
    key.iter().map(|b| format!("{b:02x}")).collect()
}

fn parse(digits: &[u8]) -> Option<[u8; BYTES]> {
    let sum: Sha256Sum = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(sum.0)
}

/// The firmware's variables, mounted. They stay so: there is one filesystem for all mounts of them (efivarfs has one
/// superblock), and with the last mount it forgets who may read the key.
struct Variables(PathBuf);

impl Variables {
    fn mount(run: &Path) -> anyhow::Result<Variables> {
        let at = run.join("efivars");
        fs::create_dir_all(&at).with_context(|| format!("creating {}", at.display()))?;
        Mount::builder()
            .fstype(FilesystemType::Manual("efivarfs"))
            .flags(MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC)
            .mount("efivarfs", &at)
            .context(
                "boottorrent.key=efi: this machine did not start by UEFI, or its kernel has no efivarfs: leave it out",
            )?;
        Ok(Variables(at))
    }

    fn key(&self) -> anyhow::Result<[u8; BYTES]> {
        let path = self.0.join(VARIABLE);
        match fs::read(&path) {
            Ok(bytes) => match bytes.get(4..).and_then(|value| value.try_into().ok()) {
                Some(key) => {
                    hide(&path)?;
                    Ok(key)
                }
                None => bail!(
                    "boottorrent.key=efi: the variable {VARIABLE} has {} bytes and not {}: delete it in the firmware's setup",
                    bytes.len(),
                    4 + BYTES
                ),
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let key = random();
                // In one write, as the firmware takes it.
                let value = [&ATTRIBUTES.to_le_bytes()[..], &key].concat();
                File::create(&path)
                    .and_then(|mut file| file.write_all(&value))
                    .context("boottorrent.key=efi: the firmware did not take the variable")?;
                hide(&path)?;
                Ok(key)
            }
            Err(e) => Err(e).context("boottorrent.key=efi: reading the firmware's variable"),
        }
    }
}

/// Let only root read it, in the booted system too. Everybody may read the files of efivarfs, which are immutable.
fn hide(path: &Path) -> anyhow::Result<()> {
    let file = File::open(path)?;
    let flags = ioctl_getflags(&file)?;
    ioctl_setflags(&file, flags - IFlags::IMMUTABLE)
        .map_err(io::Error::from)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o600)))
        .and_then(|()| Ok(ioctl_setflags(&file, flags)?))
        .context("boottorrent.key=efi: everybody on this machine could read the key")
}
