// SPDX-License-Identifier: GPL-3.0-or-later
//! An LTSP server in a lab: Debian's own ltsp, dnsmasq as `ltsp dnsmasq` configures it, and BootTorrent as
//! packages would install it.

use crate::{
    Background, Cmd, Lab, agent_binary,
    assets::{LTSP_SERVER, LtspRoot, chroot},
    server_binary, workspace,
};
use anyhow::{Context, Result};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// The server. What runs in it runs on the lab's server host, in the server's own root.
pub struct LtspServer<'a> {
    lab: &'a Lab,
    root: PathBuf,
}

impl<'a> LtspServer<'a> {
    /// Mount its root; the host gets LTSP's address besides its own.
    pub fn new(lab: &'a Lab, made: LtspRoot) -> Result<Self> {
        let host = lab.server();
        host.netns().ip(&format!("address add {LTSP_SERVER}/24 brd + dev eth0"))?;
        let dir = lab.dir().join("ltsp");
        // Of the host's thread: what it starts later sees the same mounts.
        let root = host.netns().run(move || made.mount(&dir))?;
        Ok(Self { lab, root })
    }

    /// A path in its root. Only closures and commands that run on the lab's server host see what is there.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Read a file of it.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        let path = self.path(path);
        let read = move || fs::read(&path).with_context(|| format!("reading {}", path.display()));
        self.lab.server().netns().run(read)
    }

    /// Write a file of it.
    pub fn write(&self, path: &str, text: &str, mode: u32) -> Result<()> {
        let (path, text) = (self.path(path), text.to_owned());
        self.lab.server().netns().run(move || {
            fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
            fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
            Ok(fs::set_permissions(&path, fs::Permissions::from_mode(mode))?)
        })
    }

    /// Run a script in it, and give what it printed.
    pub fn sh(&self, script: &str) -> Result<String> {
        // There is no systemd in this root: services are "started" by the tests.
        let cmd = chroot(&self.root, &["sh", "-e", "-c", script]).env("SYSTEMD_OFFLINE", "1");
        let said = self.lab.server().run(&cmd)?;
        println!("# {}\n{said}", script.trim_end().replace('\n', "\n# "));
        Ok(said)
    }

    /// Start a program in it.
    pub fn spawn(&self, name: &str, words: &[&str]) -> Result<Background> {
        let cmd = Cmd::new("unshare").args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        let cmd = cmd.arg(format!("--root={}", self.root.display())).args(words);
        let mut started = self.lab.server().spawn(name, &cmd)?;
        std::thread::sleep(Duration::from_millis(500));
        started.check()?;
        Ok(started)
    }

    /// dnsmasq, with no other configuration than LTSP's.
    pub fn dnsmasq(&self) -> Result<Background> {
        let words = ["dnsmasq", "--keep-in-foreground", "--user=root", "--group=root", "--log-facility=-"];
        let files =
            ["--log-dhcp", "--conf-dir=/etc/dnsmasq.d,*.conf", "--conf-file=/dev/null", "--pid-file="];
        self.spawn("dnsmasq", &[&words[..], &files[..]].concat())
    }

    /// What `apt install ltsp-server-boottorrent` would put into it.
    pub fn install(&self) -> Result<()> {
        let make = Cmd::new("make")
            .args(["--no-print-directory", "-C"])
            .arg(workspace())
            .args(["install-agent", "install-server", "install-ltsp"])
            .arg(format!("DESTDIR={}", self.root.display()))
            .arg(format!("AGENT={}", agent_binary()?.display()))
            .arg(format!("SERVER={}", server_binary()?.display()));
        self.lab.server().run(&make).map(drop)
    }
}
