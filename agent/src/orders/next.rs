// SPDX-License-Identifier: GPL-3.0-or-later
//! The next root, in a child that sees the booted system: whether it can be reached without a reboot, mounted and made
//! ready, shown where systemd takes it from, and what is left of the one before.

use super::{host, warm::warm};
use crate::{
    identity::{self, Identity},
    mounts::{self, Asked, Mounted, Root, detach},
    net::Net,
    root,
    target::Writes,
};
use anyhow::{Context, bail};
use bootspec::{Exit, manifest::Kind, params::KindParam};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::Command,
};

/// From where systemd takes the next root (systemd-soft-reboot.service(8)).
pub const NEXT_ROOT: &str = "/run/nextroot";
/// In an image's folder: where its root waits until then. With one at [`NEXT_ROOT`], a reboot would become a soft-reboot.
const ROOT: &str = "root";
/// The first systemd that can.
const SYSTEMD: u32 = 254;

/// What is asked of the child.
#[derive(Serialize, Deserialize)]
pub enum Ask {
    /// Whether this image can be switched to; then it is mounted, made this machine's own, and read so far as the system
    /// starts with it. Answers its host name and, in a second line, what is mounted.
    Prepare(Place, Box<Own>),
    /// Show a prepared root, by its folder, where systemd takes it from.
    Show(PathBuf),
    /// Unmount what is left of a root that is not in use any more: its folder, and whether that goes as well.
    Forget(PathBuf, bool),
}

/// Where an image is.
#[derive(Serialize, Deserialize)]
pub struct Place {
    /// The folder for all of it.
    pub home: PathBuf,
    /// The verified payload.
    pub payload: PathBuf,
}

/// What makes it this machine's own.
#[derive(Serialize, Deserialize)]
pub struct Own {
    /// The network as it was when the machine booted.
    pub net: Net,
    /// The name that the command line gives the machine.
    pub hostname: Option<String>,
    /// The kernel command line.
    pub line: String,
    /// Bytes that the system may write.
    pub writes: u64,
}

/// Have a child do it that sees the booted system. What it answers.
pub async fn ask(what: Ask) -> anyhow::Result<String> {
    let json = serde_json::to_vec(&what).expect("it is JSON");
    host::blocking(move || host::again(&["next"], &json)).await
}

/// The child: reads what is asked, prints what it answers.
pub fn run() -> Exit {
    let mut json = Vec::new();
    let asked = std::io::stdin().take(64 * 1024).read_to_end(&mut json).map_err(anyhow::Error::new);
    let done =
        asked.and_then(|_| serde_json::from_slice(&json).context("reading what is asked")).and_then(answer);
    match done {
        Ok(text) => {
            print!("{text}");
            Exit::Ok
        }
        Err(e) => {
            eprintln!("{e:#}");
            Exit::Root
        }
    }
}

fn answer(ask: Ask) -> anyhow::Result<String> {
    host::enter()?;
    match ask {
        Ask::Prepare(place, own) => prepare(&place, &own),
        Ask::Show(home) => show(&home).map(|()| String::new()),
        Ask::Forget(home, all) => {
            forget(&home, all);
            Ok(String::new())
        }
    }
}

/// By what `systemctl --version` prints.
fn can_soft_reboot(version: &str) -> anyhow::Result<()> {
    let number = version
        .strip_prefix("systemd ")
        .and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u32>().ok());
    match number {
        Some(n) if n >= SYSTEMD => Ok(()),
        Some(n) => bail!("the running system has systemd {n}, and soft-reboot needs {SYSTEMD}"),
        None => bail!("the running system does not run systemd"),
    }
}

/// The kernel that runs.
fn release() -> anyhow::Result<String> {
    let text = fs::read_to_string("/proc/sys/kernel/osrelease").context("reading the kernel's release")?;
    Ok(text.trim().to_owned())
}

/// Whether the kernel that runs has its modules in a root, which must have systemd.
fn fits(root: &Path, release: &str) -> anyhow::Result<()> {
    let has = |path: &str| root.join("usr").join(path).exists() || root.join(path).exists();
    if !has("lib/systemd/systemd") {
        bail!("the image has no systemd");
    }
    match has(&format!("lib/modules/{release}")) {
        true => Ok(()),
        false => bail!("the image has no modules of the running kernel ({release})"),
    }
}

fn prepare(place: &Place, own: &Own) -> anyhow::Result<String> {
    let version = Command::new("systemctl").arg("--version").output();
    let version = version.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    can_soft_reboot(&version)?;
    let at = place.home.join(ROOT);
    fs::create_dir_all(&at).with_context(|| format!("creating {}", at.display()))?;
    let Mounted { what, also } = mount(place, own.writes, &at)?;
    fits(&at, &release()?)?;
    let hostname = own.hostname.as_ref().and_then(|name| name.parse().ok());
    let identity = Identity {
        root: &at,
        kept: None,
        run: Path::new("/run"),
        net: &own.net,
        mounted: &also,
        hostname: hostname.as_ref(),
        networkd: identity::asks_for_networkd(&own.line),
    };
    let written = identity::write(&identity)?;
    warm(&at);
    Ok(format!("{}\n{what}", written.hostname))
}

fn mount(place: &Place, writes: u64, at: &Path) -> anyhow::Result<Mounted> {
    let kind = root::kind(KindParam::Auto, &place.payload)?;
    if !matches!(kind, Kind::Filesystem | Kind::Disk) {
        bail!("the image is not a filesystem or disk image");
    }
    let (asked, writes) = (Asked::default(), Writes::Ram(writes));
    let how = Root {
        payload: &place.payload,
        run: &place.home,
        root: at,
        writes: &writes,
        kept: None,
        asked: &asked,
    };
    root::mount(kind, &how)
}

fn show(home: &Path) -> anyhow::Result<()> {
    let at = Path::new(NEXT_ROOT);
    fs::create_dir_all(at).with_context(|| format!("creating {NEXT_ROOT}"))?;
    mounts::bind(&home.join(ROOT), at)
}

fn forget(home: &Path, all: bool) {
    // With a root there that nobody takes, a reboot would become a soft-reboot.
    detach(Path::new(NEXT_ROOT));
    [ROOT, "lower", "overlay", "store"].iter().for_each(|name| detach(&home.join(name)));
    if all {
        let _ = fs::remove_dir_all(home);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_can_soft_reboot() {
        let why = |text: &str| can_soft_reboot(text).map_err(|e| e.to_string());
        assert_eq!(why("systemd 257 (257.8-1~deb13u2)\n+PAM"), Ok(()));
        assert_eq!(why("systemd 254~rc1"), Ok(()));
        let old = "the running system has systemd 252, and soft-reboot needs 254";
        assert_eq!(why("systemd 252 (252.39-1~deb12u1)"), Err(old.into()));
        assert_eq!(why(""), Err("the running system does not run systemd".into()));
    }

    #[test]
    fn an_image_must_have_the_modules_of_the_running_kernel() {
        let root = tempfile::tempdir().unwrap();
        let make = |path: &str| fs::create_dir_all(root.path().join(path)).unwrap();
        assert_eq!(fits(root.path(), "6.12.1").unwrap_err().to_string(), "the image has no systemd");
        make("usr/lib/systemd/systemd");
        let why = "the image has no modules of the running kernel (6.12.1)";
        assert_eq!(fits(root.path(), "6.12.1").unwrap_err().to_string(), why);
        make("usr/lib/modules/6.12.1");
        fits(root.path(), "6.12.1").unwrap();
    }
}
