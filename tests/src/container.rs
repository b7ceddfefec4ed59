// SPDX-License-Identifier: GPL-3.0-or-later
//! A Debian machine without a machine: a root whose systemd runs in a container (systemd-nspawn), on a
//! host's place in a lab. Services are started and hardened in it as on a real one.

use crate::{Background, Cmd, Host};
use anyhow::{Context, Result, bail};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

/// systemd wants control groups of version 2, which a machine need not have mounted.
const START: &str =
    "umount -l /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup && exec systemd-nspawn \"$@\"";

/// A running container; it is killed when dropped.
pub struct Container {
    root: PathBuf,
    dir: PathBuf,
    env: Vec<(String, String)>,
    _nspawn: Background,
    leader: String,
}

impl Container {
    /// Boot the system in `root`, a folder of the caller's, in the place of `host`. `env` is what its shells have.
    pub fn start(host: &Host, root: &Path, env: &[(&str, &str)]) -> Result<Self> {
        let cmd = Cmd::new("unshare")
            // In a process namespace of its own: when this is killed, all that runs in the container is gone too.
            .args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .args([
                "sh",
                "-c",
                START,
                "nspawn",
                "--capability=CAP_NET_ADMIN",
                "--quiet",
                "--register=no",
                "--keep-unit",
                "--boot",
                "--console=read-only",
            ])
            .args(["--resolv-conf=off", "--timezone=off", "--link-journal=no"])
            // The host's, in which it is started.
            .arg("--network-namespace-path=/proc/self/ns/net")
            .arg(format!("--machine={}", host.name()))
            .arg("--directory")
            .arg(root);
        let mut nspawn = host.spawn("container", &cmd)?;
        let began = Instant::now();
        let leader = loop {
            nspawn.check()?;
            let init = descendants(nspawn.id().to_string()).into_iter().find(|c| {
                // Its name says when it has become the container's init.
                fs::read_to_string(format!("/proc/{c}/comm")).is_ok_and(|name| name.trim() == "systemd")
            });
            if let Some(pid) = init {
                break pid.to_owned();
            }
            if began.elapsed() > Duration::from_secs(60) {
                bail!(
                    "the container has no init after a minute\n{}",
                    String::from_utf8_lossy(&nspawn.output())
                );
            }
            std::thread::sleep(Duration::from_millis(100));
        };
        let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let machine = Self { root: root.into(), dir: host.dir().into(), env, _nspawn: nspawn, leader };
        // "degraded" is an answer too: what does not matter here may fail in a container.
        machine.sh("for i in $(seq 600); do systemctl is-system-running | grep -q 'running\\|degraded' && exit; sleep .1; done; exit 1")
            .context("waiting for the container's systemd")?;
        Ok(machine)
    }

    /// Its root.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Run a script in root's home and give what it printed; anything but exit code 0 is an error.
    pub fn sh(&self, script: &str) -> Result<String> {
        self.shell(script).run()
    }

    /// The same with a log, `NAME.log` in the lab's folder, for what takes long.
    pub fn sh_logged(&self, name: &str, script: &str) -> Result<()> {
        self.shell(script).run_logged(Stdio::null(), &self.dir.join(format!("{name}.log")))
    }

    fn shell(&self, script: &str) -> Cmd {
        let env = self.env.iter().map(|(k, v)| format!("{k}={v}"));
        Cmd::new("nsenter")
            .args(["--target", &self.leader, "--all", "--"])
            .args([
                "env",
                "-i",
                "-C",
                "/root",
                "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                "HOME=/root",
                "LC_ALL=C.UTF-8",
            ])
            .args(env)
            .args(["sh", "-ec", script])
    }
}

fn descendants(of: String) -> Vec<String> {
    let mut all = vec![of];
    let mut n = 0;
    while let Some(id) = all.get(n) {
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        all.extend(children.split_whitespace().map(str::to_owned));
        n += 1;
    }
    all
}
