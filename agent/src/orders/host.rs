// SPDX-License-Identifier: GPL-3.0-or-later
//! The booted system, seen from the agent, whose own root is the initramfs that is gone: its working directory is its
//! folder below /run, which moves from root to root, and above it is the root of the booted system. A child goes there
//! and runs one of its programs.

use crate::mounts::{self, HOME_SIZE};
use anyhow::{Context, bail};
use nix::{fcntl::AtFlags, sys::stat::fstatat};
use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::{Command, Stdio},
};

/// The agent's program, in its working directory.
const PROGRAM: &str = "./boottorrent-agent";
/// In /proc: the root of the booted system.
const ROOT: &str = "1/root";
/// From a working directory of any depth to the root above all: further up is there as well.
const UP: &str = "../../../../../../../../../..";
/// Where programs are in a booted system.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Bytes of a program's output that are read.
const MOST: u64 = 64 * 1024;

/// A way to whatever is the root now: /proc, which was opened when it could be found. In a soft-reboot, systemd takes only
/// /run itself to the next root, and nothing that is mounted in it; the agent's folder is then nowhere.
pub struct Roots(File);

impl Roots {
    /// From the working directory.
    pub fn open() -> io::Result<Roots> {
        File::open(format!("{UP}/proc")).map(Roots)
    }

    /// The device that is the root now.
    pub fn device(&self) -> nix::Result<u64> {
        fstatat(&self.0, ROOT, AtFlags::empty()).map(|s| s.st_dev)
    }

    /// Settle in the root that is there now: the working directory is the agent's folder in it.
    pub fn settle(&self, run_dir: &Path) -> anyhow::Result<()> {
        nix::unistd::fchdir(&self.0).context("going to /proc")?;
        nix::unistd::chdir(ROOT).context("going to the new root")?;
        let home = run_dir.strip_prefix("/").unwrap_or(run_dir);
        let program = home.join(PROGRAM);
        if !program.exists() {
            mounts::tmpfs(home, HOME_SIZE, 0o755)?;
            fs::copy("proc/self/exe", &program).context("copying the agent to the new root")?;
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).context("setting its mode")?;
        }
        std::env::set_current_dir(home).with_context(|| format!("going to {}", home.display()))
    }
}

/// In the child: the root is that of the booted system from now on.
pub fn enter() -> anyhow::Result<()> {
    nix::unistd::chroot(UP).context("going to the booted system's root")?;
    nix::unistd::chdir("/").context("going to /")
}

/// In the child: become a program of the booted system. Returns why that did not work.
pub fn become_program(words: &[OsString]) -> anyhow::Error {
    let Some((program, words)) = words.split_first() else { return anyhow::anyhow!("no program is named") };
    match enter() {
        Ok(()) => anyhow::Error::new(Command::new(program).args(words).env("PATH", PATH).exec())
            .context(format!("starting {}", program.display())),
        Err(e) => e,
    }
}

/// Run this program again, in another role, and give it something to read. What it printed.
pub fn again(words: &[&str], input: &[u8]) -> anyhow::Result<String> {
    let mut child = Command::new(PROGRAM)
        .arg0("boottorrent-agent")
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {PROGRAM}"))?;
    // It may be gone without having read it: then its exit code says so.
    let _ = child.stdin.take().map(|mut pipe| pipe.write_all(input));
    let mut out = Vec::new();
    if let Some(pipe) = child.stdout.take() {
        pipe.take(MOST).read_to_end(&mut out).context("reading what it printed")?;
    }
    let ended = child.wait_with_output().context("waiting for it")?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr);
        let last = said.lines().rfind(|l| !l.trim().is_empty()).unwrap_or_default();
        bail!("{} failed ({}): {}", words.join(" "), ended.status, bootspec::text::printable(last, 200));
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// Run a program of the booted system. What it printed.
pub fn run(words: &[&str]) -> anyhow::Result<String> {
    again(&[&["host", "--"], words].concat(), b"")
}

/// The people who are logged in, by loginctl: their names, each once.
pub fn users() -> anyhow::Result<Vec<String>> {
    let sessions = run(&["loginctl", "list-sessions", "--no-legend"])?;
    let mut names = Vec::new();
    for id in sessions.lines().filter_map(|l| l.split_whitespace().next()).take(1000) {
        let show =
            ["loginctl", "show-session", id, "--property=Class", "--property=State", "--property=Name"];
        // It may have ended meanwhile.
        let Ok(text) = run(&show) else { continue };
        let value = |key: &str| {
            text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default().to_owned()
        };
        if value("Class").starts_with("user") && value("State") != "closing" {
            names.push(value("Name"));
        }
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// Tell everybody who is logged in.
pub fn warn(text: &str) -> anyhow::Result<()> {
    run(&["wall", text]).map(drop)
}

/// Wait for something like that, on a thread of its own.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work).await.context("waiting for a thread")?
}
