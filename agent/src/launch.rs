// SPDX-License-Identifier: GPL-3.0-or-later
//! The process that the boot script waits for, and the one that stays.
//!
//! The stayer runs from a copy in our own tmpfs under /run, for run-init
//! deletes the initramfs, and `boottorrent-agent status` must be there in the
//! booted system. Its name begins with `@`, so that a systemd initrd does not
//! kill it at switch-root (systemd.io/ROOT_STORAGE_DAEMONS). One byte on its
//! standard output tells the launcher how the boot ended.

use crate::{args::BootArgs, modules, mounts};
use anyhow::Context;
use bootspec::{Exit, MODULES_DIR, Params, params::OnFail};
use nix::{sys::reboot::RebootMode, unistd};
use std::{
    ffi::OsString,
    fs::{self, File},
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

/// Start the process that stays; return when the root is mounted or the boot has failed. `words`: `args` as they were given.
pub fn boot(args: &BootArgs, words: &[OsString]) -> Exit {
    let exit = match start(args, words) {
        Ok(exit) => exit,
        Err(e) => {
            eprintln!("boottorrent: {e:#}");
            Exit::Storage
        }
    };
    if exit != Exit::Ok {
        on_fail(args);
    }
    exit
}

fn start(args: &BootArgs, words: &[OsString]) -> anyhow::Result<Exit> {
    modules::load(Path::new(MODULES_DIR));
    // From the rescue shell the boot can be tried again: what the last try kept is given back first.
    mounts::detach(&args.run_dir);
    mounts::tmpfs(&args.run_dir, mounts::HOME_SIZE, 0o755)?;
    let program = move_in(args)?;
    let mut child = Command::new(&program)
        .arg0("@boottorrent-agent")
        .args(words)
        .arg("--child")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {}", program.display()))?;
    let mut verdict = [0];
    let mut pipe = child.stdout.take().context("no pipe to the agent")?;
    match pipe.read_exact(&mut verdict) {
        Ok(()) => {
            Ok(Exit::ALL.iter().map(|(e, _)| *e).find(|e| e.code() == verdict[0]).unwrap_or(Exit::Storage))
        }
        Err(_) => {
            let status = child.wait().context("waiting for the agent")?;
            anyhow::bail!("the agent died ({status}): see {}", args.run_dir.join("agent.log").display())
        }
    }
}

/// Copy this program to where it can stay.
fn move_in(args: &BootArgs) -> anyhow::Result<PathBuf> {
    let to = args.run_dir.join("boottorrent-agent");
    fs::copy("/proc/self/exe", &to).with_context(|| format!("copying the agent to {}", to.display()))?;
    fs::set_permissions(&to, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("setting the mode of {}", to.display()))?;
    Ok(to)
}

/// In the child: tell the launcher the verdict, and let go of the console.
pub fn hand_over(exit: Exit) {
    let _ = unistd::setsid();
    let mut out = std::io::stdout();
    let _ = out.write_all(&[exit.code()]);
    let _ = out.flush();
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        let _ = unistd::dup2_stdout(&null);
        let _ = unistd::dup2_stderr(&null);
    }
}

/// `boottorrent.onfail=reboot|poweroff`. With panic, the boot script goes on to initramfs-tools' panic().
fn on_fail(args: &BootArgs) {
    let line = fs::read_to_string(&args.cmdline_file).unwrap_or_default();
    let (mode, what) = match Params::parse(&line).0.onfail {
        OnFail::Panic => return,
        OnFail::Reboot => (RebootMode::RB_AUTOBOOT, "rebooting"),
        OnFail::Poweroff => (RebootMode::RB_POWER_OFF, "powering off"),
    };
    eprintln!("boottorrent: {what} in 10 s (boottorrent.onfail)");
    std::thread::sleep(Duration::from_secs(10));
    unistd::sync();
    let Err(e) = nix::sys::reboot::reboot(mode);
    eprintln!("boottorrent: {what} failed: {e}");
}
