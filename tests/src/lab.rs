// SPDX-License-Identifier: GPL-3.0-or-later
//! A network: one switch, the server's host at 10.77.0.1, and whatever hosts
//! and machines are plugged in. Two labs never meet, so names need not differ.

use crate::{Background, Cmd, Netns, lab_dir};
use anyhow::{Context, Result};
use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU8, Ordering},
};

/// The switch.
pub(crate) const BRIDGE: &str = "br0";

/// A network of namespaces. See the module's text.
pub struct Lab {
    dir: PathBuf,
    ports: AtomicU8,
    server: Host,
    switch: Netns,
}

/// A host on the lab's network: commands run in it see only that network.
pub struct Host {
    ns: Netns,
    name: String,
    address: String,
    dir: PathBuf,
}

impl Lab {
    /// The server's address.
    pub const SERVER: &str = "10.77.0.1";

    /// A new network. Its logs are in [`Lab::dir`] until the next lab of this
    /// name is made, so that a failure can be looked at.
    pub fn new(name: &str) -> Result<Self> {
        let runs = lab_dir().join("runs");
        sweep(&runs, name)?;
        let dir = runs.join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
        let switch = Netns::new()?;
        switch.ip(&format!("link add {BRIDGE} type bridge forward_delay 0 mcast_snooping 0"))?;
        switch.ip(&format!("link set {BRIDGE} up"))?;
        let ports = AtomicU8::new(2);
        let server = Host::plug(&switch, BRIDGE, ("server", Self::SERVER), &dir)?;
        Ok(Self { dir, ports, server, switch })
    }

    /// Where this lab's logs are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The host that `boottorrent serve` and dnsmasq run on.
    pub fn server(&self) -> &Host {
        &self.server
    }

    /// Where the switch is: a bridge `br0`, and for each host a port of the host's name.
    pub fn switch(&self) -> &Netns {
        &self.switch
    }

    /// One more host.
    pub fn host(&self, name: &str) -> Result<Host> {
        Host::plug(&self.switch, BRIDGE, (name, &format!("10.77.0.{}", self.port())), &self.dir)
    }

    /// Give a host's link a rate, in each direction.
    pub fn limit(&self, host: &Host, mbit: u32) -> Result<()> {
        for (ns, interface) in [(&host.ns, "eth0"), (&self.switch, host.name.as_str())] {
            let shape = format!("qdisc add dev {interface} root tbf rate {mbit}mbit burst 256k latency 50ms");
            let cmd = Cmd::new("tc").args(shape.split(' '));
            ns.run(move || cmd.run())?;
        }
        Ok(())
    }

    /// Take the rate away again.
    pub fn unlimit(&self, host: &Host) -> Result<()> {
        for (ns, interface) in [(&host.ns, "eth0"), (&self.switch, host.name.as_str())] {
            let cmd = Cmd::new("tc").args(["qdisc", "del", "dev", interface, "root"]);
            ns.run(move || cmd.run())?;
        }
        Ok(())
    }

    /// From now on nothing passes between this host and others that are isolated too.
    pub fn isolate(&self, host: &Host) -> Result<()> {
        let cmd = Cmd::new("bridge").args(["link", "set", "dev", &host.name, "isolated", "on"]);
        self.switch.run(move || cmd.run()).map(drop)
    }

    /// A tap on a switch for a machine: its interface name and a MAC address for the other end.
    pub(crate) fn tap(&self, bridge: &str) -> Result<(String, String)> {
        let n = self.port();
        let tap = format!("tap{n}");
        self.switch.ip(&format!("tuntap add dev {tap} mode tap"))?;
        self.switch.ip(&format!("link set dev {tap} master {bridge} up"))?;
        Ok((tap, format!("52:54:00:77:00:{n:02x}")))
    }

    /// Start a program beside the switch, where the taps are.
    pub(crate) fn spawn_at_switch(&self, cmd: &Cmd, log: &Path) -> Result<Background> {
        let (cmd, log) = (cmd.clone(), log.to_owned());
        self.switch.run(move || cmd.spawn(&log))
    }

    fn port(&self) -> u8 {
        self.ports.fetch_add(1, Ordering::Relaxed)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the logs of this lab are in {}", self.dir.display());
        }
        // Logs stay, images would fill the disk. A failure to tidy up is not a failure of the test.
        let _ = Cmd::new("find").arg(&self.dir).args(["-type", "f", "-size", "+8M", "-delete"]).run();
    }
}

impl Host {
    pub(crate) fn plug(
        switch: &Netns,
        bridge: &str,
        (name, address): (&str, &str),
        dir: &Path,
    ) -> Result<Self> {
        let ns = Netns::new()?;
        ns.ip(&format!("link add eth0 type veth peer name {name} netns {}", switch.path()))?;
        ns.ip(&format!("address add {address}/24 brd + dev eth0"))?;
        ns.ip("link set eth0 up")?;
        switch.ip(&format!("link set dev {name} master {bridge} up"))?;
        Ok(Self { ns, name: name.into(), address: address.into(), dir: dir.into() })
    }

    /// Its name in the lab.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The lab's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its IPv4 address.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its namespace.
    pub fn netns(&self) -> &Netns {
        &self.ns
    }

    /// Run a command to the end and give what it printed; anything but exit code 0 is an error.
    pub fn run(&self, cmd: &Cmd) -> Result<String> {
        let cmd = cmd.clone();
        self.ns.run(move || cmd.run())
    }

    /// Start a program; its output goes to `NAME.log` in the lab's folder.
    pub fn spawn(&self, name: &str, cmd: &Cmd) -> Result<Background> {
        let (cmd, log) = (cmd.clone(), self.dir.join(format!("{name}.log")));
        self.ns.run(move || cmd.spawn(&log))
    }

    /// Filter what comes in by one rule of nftables, until [`Host::let_all_in`].
    pub fn filter(&self, rule: &str) -> Result<()> {
        let chain = "type filter hook input priority 0";
        let table = format!("table inet fault {{ chain input {{ {chain}; {rule}; }}; }}");
        self.run(&Cmd::new("nft").arg(table)).map(drop)
    }

    /// Filter no more.
    pub fn let_all_in(&self) -> Result<()> {
        self.run(&Cmd::new("nft").args(["delete", "table", "inet", "fault"])).map(drop)
    }

    /// Take the cable out, or put it back.
    pub fn cable(&self, plugged: bool) -> Result<()> {
        self.ns.ip(if plugged { "link set eth0 up" } else { "link set eth0 down" })
    }
}

/// Remove what earlier labs of this name left, unless their process still runs.
fn sweep(runs: &Path, name: &str) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(runs) else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        let file_name = entry.file_name();
        let Some(pid) = file_name.to_str().and_then(|n| n.strip_prefix(name)?.strip_prefix('-')) else {
            continue;
        };
        if pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists() {
            std::fs::remove_dir_all(entry.path())
                .with_context(|| format!("removing {}", entry.path().display()))?;
        }
    }
    Ok(())
}
