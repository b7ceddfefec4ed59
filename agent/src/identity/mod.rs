// SPDX-License-Identifier: GPL-3.0-or-later
//! What must differ from machine to machine, or must not be believed, in an
//! image that many boot at once. The same files that live-boot treats.

mod machine_id;
mod network;
mod record;
mod tree;

use crate::net::Net;
use bootspec::{HostName, cmdline, fstab};
pub use network::Manager;
use record::Record;
use std::path::Path;
pub use tree::Tree;

/// How a root is to be made this machine's own.
pub struct Identity<'a> {
    /// The mounted root: its overlay.
    pub root: &'a Path,
    /// Where what it writes is kept, if it is: what an admin has changed there since stays.
    pub kept: Option<&'a Path>,
    /// What is /run in the booted system.
    pub run: &'a Path,
    /// The network.
    pub net: &'a Net,
    /// Mount points that hold a filesystem of the image already.
    pub mounted: &'a [String],
    /// The name that the command line gives the machine.
    pub hostname: Option<&'a HostName>,
    /// The command line asks for systemd-networkd (`systemd.wants=`).
    pub networkd: bool,
}

/// What came of it.
pub struct Written {
    /// The machine's name.
    pub hostname: String,
    /// Who looks after its network.
    pub manager: Manager,
    /// Mount points of the image's fstab that the machine goes without.
    pub dropped: Vec<String>,
}

/// Write it.
pub fn write(how: &Identity) -> anyhow::Result<Written> {
    let record = Record::open(how.kept);
    let tree = Tree::new(how.root);
    let changed = record.changed(&tree);
    let tree = tree.without(changed);
    let kept = fstab::kept(&tree.read("etc/fstab").unwrap_or_default(), how.mounted);
    tree.put("etc/fstab", &kept.text)?;
    identify(&tree, how.net)?;
    let hostname = hostname(how.hostname, how.net);
    tree.put("etc/hostname", &format!("{hostname}\n"))?;
    let hosts = tree.read("etc/hosts").unwrap_or_else(|| "127.0.0.1\tlocalhost\n".into());
    tree.put("etc/hosts", &hosts_with(&hosts, &hostname))?;
    let manager = network::write(&tree, how.net, how.run, how.networkd)?;
    is_up_to_date(&tree)?;
    record.keep(&tree)?;
    // In what was kept, the lines of this boot are long gone.
    let dropped = if record.is_new() { kept.dropped } else { Vec::new() };
    Ok(Written { hostname, manager, dropped })
}

/// Write what keeps a machine's DHCP lease into the mounted root of a live system, whose own scripts care for its name and
/// fstab. `run`: what is /run in the booted system. Returns who looks after its network.
pub fn write_live(root: &Path, net: &Net, run: &Path, networkd: bool) -> anyhow::Result<Manager> {
    let tree = Tree::new(root);
    identify(&tree, net)?;
    network::write(&tree, net, run, networkd)
}

/// Whether the command line switches systemd-networkd on (systemd(1), `systemd.wants=`).
pub fn asks_for_networkd(line: &str) -> bool {
    cmdline::split(line)
        .iter()
        .any(|(name, value)| name == "systemd.wants" && value.as_deref() == Some("systemd-networkd.service"))
}

/// With no time of its last update in it, systemd takes /etc for older than /usr, and at each boot runs what a first boot needs:
/// ldconfig, the journal's catalogue, sysusers (`ConditionNeedsUpdate=`, systemd.unit(5)). In a root of dpkg's, its triggers
/// have done that. If /usr is newer after all, by its time, systemd does it.
fn is_up_to_date(tree: &Tree) -> anyhow::Result<()> {
    if !["var/lib/dpkg/status", "etc/ld.so.cache"].iter().all(|f| tree.exists(f)) {
        return Ok(());
    }
    let mut missing = ["etc/.updated", "var/.updated"].into_iter().filter(|f| !tree.exists(f));
    missing.try_for_each(|file| tree.put(file, "Written by boottorrent: see systemd-update-done(8).\n"))
}

/// The same machine-id at each boot. Copies of one would share DHCP leases and journals.
fn identify(tree: &Tree, net: &Net) -> anyhow::Result<()> {
    // Empty: systemd makes one for this boot.
    let id = machine_id::derive(Path::new("/sys"), &net.mac).map(|id| id + "\n").unwrap_or_default();
    tree.put("etc/machine-id", &id)?;
    // The one of D-Bus, unless it is a link to the other.
    match tree.read("var/lib/dbus/machine-id") {
        Some(_) => tree.put("var/lib/dbus/machine-id", &id),
        None => Ok(()),
    }
}

/// What the command line says, else what DHCP says, else `boot-` and the last three bytes of the MAC address.
fn hostname(given: Option<&HostName>, net: &Net) -> String {
    let from_mac = || {
        let digits: String = net.mac.chars().filter(char::is_ascii_hexdigit).collect();
        format!("boot-{}", digits.get(6..).filter(|d| !d.is_empty()).unwrap_or("torrent"))
    };
    let name = given.map(HostName::as_str).or(net.hostname.as_deref());
    name.and_then(|h| h.split('.').next()).map_or_else(from_mac, str::to_owned)
}

fn hosts_with(hosts: &str, name: &str) -> String {
    let mut lines: Vec<&str> =
        hosts.lines().filter(|l| l.split_whitespace().next() != Some("127.0.1.1")).collect();
    let own = format!("127.0.1.1\t{name}");
    lines.push(&own);
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn net(hostname: Option<&str>) -> Net {
        Net {
            interface: "eth0".into(),
            mac: "52:54:00:ab:cd:ef".into(),
            hostname: hostname.map(Into::into),
            dns: vec![std::net::Ipv4Addr::new(10, 0, 0, 1)],
            domain: Some("school.lan".into()),
            ..Net::default()
        }
    }

    #[test]
    fn names() {
        assert_eq!(hostname(None, &net(Some("pc-7.school.lan"))), "pc-7");
        assert_eq!(hostname(None, &net(None)), "boot-abcdef");
        assert_eq!(hostname(None, &Net::default()), "boot-torrent");
        let given = "desk-1".parse().unwrap();
        assert_eq!(hostname(Some(&given), &net(Some("pc-7.school.lan"))), "desk-1");
    }

    fn write_to(root: &Path, kept: Option<&Path>, net: &Net) -> anyhow::Result<Written> {
        let run = root.join("run");
        super::write(&Identity { root, kept, run: &run, net, mounted: &[], hostname: None, networkd: false })
    }

    #[test]
    fn writes_what_differs_and_keeps_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let etc = dir.path().join("etc");
        fs::create_dir_all(etc.join("network")).unwrap();
        fs::write(etc.join("fstab"), "UUID=1 / ext4 defaults 0 1\nUUID=2 /home ext4 defaults 0 2\n").unwrap();
        fs::write(etc.join("machine-id"), "abc\n").unwrap();
        fs::write(
            etc.join("hosts"),
            "127.0.0.1 localhost\n127.0.1.1 old\n127.0.1.10 other\n10.0.0.9 files\n",
        )
        .unwrap();
        fs::write(etc.join("network/interfaces"), "iface eth0 inet dhcp\n").unwrap();
        fs::write(etc.join("resolv.conf"), "nameserver 192.0.2.1\n").unwrap();
        let written = write_to(dir.path(), None, &net(Some("pc-7"))).unwrap();
        assert_eq!((written.hostname.as_str(), written.dropped), ("pc-7", vec!["/home".to_owned()]));
        let read = |f: &str| fs::read_to_string(etc.join(f)).unwrap();
        assert!(!read("fstab").contains("UUID"));
        assert!(read("machine-id").len() == 33 && read("machine-id") != "abc\n");
        assert_eq!(read("hostname"), "pc-7\n");
        assert_eq!(read("hosts"), "127.0.0.1 localhost\n127.0.1.10 other\n10.0.0.9 files\n127.0.1.1\tpc-7\n");
        assert_eq!(read("resolv.conf"), "search school.lan\nnameserver 10.0.0.1\n");
        assert_eq!(read("network/interfaces"), "iface eth0 inet dhcp\n", "it is the image's own");
    }

    /// Its own scripts give a live system its name and mounts.
    #[test]
    fn a_live_system_keeps_all_but_who_it_is_to_dhcp() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("etc/dhcp")).unwrap();
        fs::create_dir_all(dir.path().join("etc/network")).unwrap();
        fs::create_dir_all(dir.path().join("usr/sbin")).unwrap();
        let at = |file: &str| dir.path().join(file);
        let fstab = "UUID=1 /home ext4 defaults 0 2\n";
        for (file, text) in [
            ("etc/fstab", fstab),
            ("etc/hostname", "debian\n"),
            ("etc/machine-id", ""),
            ("etc/dhcp/dhclient.conf", "request routers;\n"),
            ("etc/network/interfaces", "auto eth0\niface eth0 inet dhcp\n"),
            ("usr/sbin/ifup", ""),
        ] {
            fs::write(at(file), text).unwrap();
        }
        let manager = write_live(dir.path(), &net(Some("pc-7")), &at("run"), false).unwrap();
        assert_eq!(manager, Manager::Ifupdown);
        let read = |file: &str| fs::read_to_string(at(file)).unwrap();
        assert_eq!((read("etc/hostname").as_str(), read("etc/fstab").as_str()), ("debian\n", fstab));
        assert_eq!(read("etc/machine-id").len(), 33);
        assert!(read("etc/dhcp/dhclient.conf").ends_with("send dhcp-client-identifier = hardware;\n"));
    }

    #[test]
    fn a_root_of_dpkgs_is_not_updated_at_each_boot() {
        let dir = tempfile::tempdir().unwrap();
        let at = |file: &str| dir.path().join(file);
        fs::create_dir_all(at("etc")).unwrap();
        fs::create_dir_all(at("var/lib/dpkg")).unwrap();
        fs::write(at("etc/ld.so.cache"), "").unwrap();
        write_to(dir.path(), None, &net(None)).unwrap();
        assert!(!at("etc/.updated").exists(), "systemd fills the /etc of such an image");
        fs::write(at("var/lib/dpkg/status"), "").unwrap();
        fs::write(at("etc/.updated"), "the image's\n").unwrap();
        write_to(dir.path(), None, &net(None)).unwrap();
        assert_eq!(fs::read_to_string(at("etc/.updated")).unwrap(), "the image's\n");
        assert!(at("var/.updated").exists());
    }

    /// cases/boot.md 11: what an admin changes in a kept overlay outlives the next boot.
    #[test]
    fn what_was_changed_in_a_kept_overlay_stays() {
        let (dir, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir_all(dir.path().join("etc")).unwrap();
        let at = |file: &str| dir.path().join("etc").join(file);
        write_to(dir.path(), Some(kept.path()), &net(Some("first"))).unwrap();
        let id = fs::read_to_string(at("machine-id")).unwrap();
        fs::write(at("fstab"), "nas:/home /home nfs4 defaults 0 0\n").unwrap();
        let second = Net { mac: "52:54:00:00:00:01".into(), ..net(Some("second")) };
        write_to(dir.path(), Some(kept.path()), &second).unwrap();
        assert_eq!(fs::read_to_string(at("fstab")).unwrap(), "nas:/home /home nfs4 defaults 0 0\n");
        assert_eq!(fs::read_to_string(at("hostname")).unwrap(), "second\n", "nobody has changed it");
        assert_eq!(fs::read_to_string(at("machine-id")).unwrap(), id, "who has one keeps it");
        fs::write(at("hostname"), "mine\n").unwrap();
        for _ in 0..2 {
            write_to(dir.path(), Some(kept.path()), &second).unwrap();
            assert_eq!(fs::read_to_string(at("hostname")).unwrap(), "mine\n");
        }
    }

    #[test]
    fn links_never_lead_out_of_the_root() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let victim = outside.path().join("fstab");
        fs::write(&victim, "mine").unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        std::os::unix::fs::symlink(&victim, dir.path().join("etc/fstab")).unwrap();
        write_to(dir.path(), None, &net(None)).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "mine");
        fs::remove_dir_all(dir.path().join("etc")).unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("etc")).unwrap();
        assert!(write_to(dir.path(), None, &net(None)).is_err());
    }
}
