// SPDX-License-Identifier: GPL-3.0-or-later
//! A machine of a classroom without a VM: the real agent boots a real image in namespaces of its own (network, mounts,
//! processes, time), on this host's kernel. A stub of systemctl is the only stand-in: what it is asked for lies in a file.

use crate::{Background, Cmd, Host, Lab, Server, agent_binary};
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

const LIMIT: Duration = Duration::from_secs(120);

/// Process 1 of it. When it is asked for a soft-reboot and /run/obey is there, it goes to the next root as systemd does:
/// with /run, and without what is mounted in it.
const MACHINE: &str = r#"
set -eu
mount -t tmpfs -o size=100% none /run
mkdir /run/root
# With the card of this network.
mount -t sysfs none /sys
printf '%s\n' "$LINE" >/run/line
cat >/run/systemctl <<'END'
#!/bin/sh
[ "$1" != --version ] || exec echo "systemd $(cat /run/version 2>/dev/null || echo 257) (a stub)"
echo "$1" >>/run/asked
END
chmod +x /run/systemctl
mount --bind /run/systemctl /usr/bin/systemctl
"$AGENT" boot --root-mnt /run/root --cmdline-file /run/line --kmsg /dev/null --keys-dir "$KEYS"
touch /run/booted
until [ -e /run/obey ] && grep -qs soft-reboot /run/asked; do sleep 0.1; done
mount --bind /run /run/nextroot/run
exec chroot /run/nextroot /bin/sleep 1000000
"#;

/// Where the agent's files are.
const RUN: &str = "run/boottorrent";

/// A machine that is switched on. Dropped, it loses its power.
pub struct Seat {
    host: Host,
    mac: String,
    running: Background,
}

impl Seat {
    /// The address of a host's card.
    pub fn mac_of(host: &Host) -> Result<String> {
        let shown = host.run(&Cmd::new("ip").args(["-br", "link", "show", "eth0"]))?;
        Ok(shown.split_whitespace().nth(2).context("eth0 has no address")?.to_owned())
    }

    /// Switch it on: it boots what the server's boot script says. `keys`: the public keys in its initrd.
    pub fn boot(host: Host, server: &Server, keys: Option<&Path>) -> Result<Seat> {
        let mac = Seat::mac_of(&host)?;
        let script = server.get(&format!("/boot.ipxe?mac={mac}"))?;
        Seat::told(host, &String::from_utf8_lossy(&script), keys)
    }

    /// The same, by a boot script that it has got from somebody.
    pub fn told(host: Host, script: &str, keys: Option<&Path>) -> Result<Seat> {
        let mac = Seat::mac_of(&host)?;
        let kernel =
            script.lines().find(|l| l.starts_with("kernel ")).context("no kernel in its boot script")?;
        let words = kernel.split(' ').filter(|w| w.starts_with("boottorrent."));
        let line = words.collect::<Vec<_>>().join(" ");
        // Its kernel has just started.
        let uptime = fs::read_to_string("/proc/uptime")?;
        let uptime = uptime.split('.').next().unwrap_or("0").to_owned();
        let cmd = Cmd::new("unshare")
            .args(["--mount", "--pid", "--uts", "--time", "--boottime", &format!("-{uptime}")])
            .args(["--fork", "--kill-child", "--mount-proc", "sh", "-c", MACHINE])
            .env("AGENT", agent_binary()?)
            .env("LINE", line)
            .env("KEYS", keys.unwrap_or(Path::new("/none")));
        let running = host.spawn(host.name(), &cmd)?;
        Ok(Seat { host, mac, running })
    }

    /// The address that it boots with.
    pub fn mac(&self) -> &str {
        &self.mac
    }

    /// Its network.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// A file or folder in it, as process 1 sees it.
    pub fn file(&self, path: &str) -> Result<PathBuf> {
        let id = self.running.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
        let first = children.split_whitespace().next().context("the machine is off")?;
        Ok(Path::new("/proc").join(first).join("root").join(path))
    }

    /// A file of the agent's.
    pub fn agents(&self, path: &str) -> Result<PathBuf> {
        self.file(&format!("{RUN}/{path}"))
    }

    /// What the agent has logged.
    pub fn log(&self) -> String {
        self.agents("agent.log").and_then(|f| Ok(fs::read_to_string(f)?)).unwrap_or_default()
    }

    /// Wait until it has booted.
    pub fn booted(&mut self) -> Result<()> {
        self.until("it has booted", |seat| Ok(seat.file("run/booted")?.exists()))
    }

    /// Wait until the agent has said something.
    pub fn says(&mut self, what: &str) -> Result<()> {
        self.until(what, |seat| Ok(seat.log().contains(what)))
    }

    /// Wait until systemctl was asked for this.
    pub fn asked(&mut self, verb: &str) -> Result<()> {
        self.until(verb, |seat| {
            let asked = fs::read_to_string(seat.file("run/asked")?).unwrap_or_default();
            Ok(asked.lines().any(|l| l == verb))
        })
    }

    /// Whether systemctl was asked for anything.
    pub fn was_asked(&self) -> Result<bool> {
        Ok(self.file("run/asked")?.exists())
    }

    /// From now on it does soft-reboots.
    pub fn obeys_soft_reboots(&self) -> Result<()> {
        fs::write(self.file("run/obey")?, "").context("writing to the machine")
    }

    /// Its systemd is of this version.
    pub fn has_systemd(&self, version: u32) -> Result<()> {
        fs::write(self.file("run/version")?, version.to_string()).context("writing to the machine")
    }

    /// Wait for something.
    pub fn until(&mut self, what: &str, is: impl Fn(&Seat) -> Result<bool>) -> Result<()> {
        let begun = Instant::now();
        while !is(self).unwrap_or(false) {
            let said = String::from_utf8_lossy(&self.running.output()).into_owned();
            self.running.check().with_context(|| format!("before '{what}': {said}"))?;
            let log = || format!("{} has no '{what}' after {LIMIT:?}:\n{said}{}", self.mac, self.log());
            ensure!(begun.elapsed() < LIMIT, "{}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// A power cut. Its host stays plugged in.
    pub fn cut(self) -> Host {
        drop(self.running);
        self.host
    }
}

/// Plug in machines that the server calls m1, m2, …, in the group `lab`, with these parameters.
pub fn seats(lab: &Lab, server: &Server, count: usize, params: &[&str]) -> Result<Vec<Host>> {
    let mut set = vec!["host", "set", "group:lab", "--image", "lesson"];
    params.iter().for_each(|p| set.extend(["--param", p]));
    server.boottorrent(&set)?;
    let hosts = (1..=count).map(|n| lab.host(&format!("m{n}"))).collect::<Result<Vec<_>>>()?;
    for host in &hosts {
        let mac = Seat::mac_of(host)?;
        server.boottorrent(&["host", "set", &mac, "--name", host.name(), "--group", "lab"])?;
    }
    Ok(hosts)
}
