// SPDX-License-Identifier: GPL-3.0-or-later
//! An LTSP server in a lab: Debian's own ltsp, dnsmasq as `ltsp dnsmasq` configures it, and BootTorrent as
//! packages would install it.

use crate::{
    Background, Cmd, Lab, agent_binary,
    assets::{LTSP_SERVER, LtspRoot, NFS, shell},
    server_binary, workspace,
};
use anyhow::{Context, Result, bail};
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
        let server = Self { lab, root };
        server.write("/usr/local/bin/systemctl", SYSTEMCTL, 0o755)?;
        Ok(server)
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
        let said = self.lab.server().run(&shell(&self.root, script))?;
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

    /// An NFS server that exports a copy of /srv/ltsp, in the place of the kernel's, which a namespace has not.
    pub fn nfs(&self) -> Result<[Background; 2]> {
        self.sh(&format!(
            "cp -r /srv/ltsp/images {NFS}/; mkdir -p /run/rpcbind /run/ganesha /var/lib/nfs/ganesha"
        ))?;
        // trixie's ends where it may not do what a namespace forbids, if it is not told to go on.
        let flusher = "Allow_Set_Io_Flusher_Fail";
        let knows = self.sh(&format!("grep -lo {flusher} /usr/lib/ganesha/libganesha_nfsd.so* || :"))?;
        let more = if knows.trim().is_empty() { String::new() } else { format!("{flusher} = true;") };
        let text = GANESHA.replacen("NFS_CORE_PARAM {", &format!("NFS_CORE_PARAM {{ {more}"), 1);
        self.write("/etc/ganesha/ganesha.conf", &text, 0o644)?;
        // It drops its rights, and the kernel would forget to kill it with us: the shell does not.
        let rpcbind = self.spawn("rpcbind", &["sh", "-c", "rpcbind -w -f; :"])?;
        let log = "/var/log/ganesha/lab.log";
        let words = ["ganesha.nfsd", "-F", "-L", log, "-f", "/etc/ganesha/ganesha.conf"];
        let nfs = self.spawn("ganesha", &words)?;
        for _ in 0..100 {
            let said = self.read(log).unwrap_or_default();
            if String::from_utf8_lossy(&said).contains("NFS SERVER INITIALIZED") {
                return Ok([rpcbind, nfs]);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        bail!("the NFS server does not start: {}", self.sh(&format!("cat {log}"))?)
    }

    /// What `apt install ltsp-server-boottorrent` would put into it.
    pub fn install(&self) -> Result<()> {
        let make = Cmd::new("make")
            .args(["--no-print-directory", "-C"])
            .arg(workspace())
            .args([
                "install-agent",
                "install-initramfs-tools",
                "install-server",
                "install-units",
                "install-ltsp",
            ])
            .arg(format!("DESTDIR={}", self.root.display()))
            .arg(format!("AGENT={}", agent_binary()?.display()))
            .arg(format!("SERVER={}", server_binary()?.display()));
        self.lab.server().run(&make).map(drop)
    }
}

/// There is no systemd in this root: units are enabled, and what is to run, the test starts.
const SYSTEMCTL: &str = "#!/bin/sh\nfor word; do shift; [ \"$word\" = --now ] || set -- \"$@\" \"$word\"; done\nexec /usr/bin/systemctl \"$@\"\n";

/// As `ltsp nfs` has the kernel's server do it.
const GANESHA: &str = "\
NFS_CORE_PARAM {
    Protocols = 3; mount_path_pseudo = true; MNT_Port = 20048; Enable_NLM = false; Enable_RQUOTA = false;
}
EXPORT {
    Export_Id = 1; Path = /srv/nfs; Pseudo = /srv/ltsp; Protocols = 3; Transports = TCP, UDP; SecType = sys;
    Access_Type = RO; Squash = No_Root_Squash; FSAL { Name = VFS; }
}
";
