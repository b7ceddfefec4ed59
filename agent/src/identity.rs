// SPDX-License-Identifier: GPL-3.0-or-later
//! What must differ from machine to machine, or must not be believed, in an
//! image that many boot at once. The same files that live-boot treats.

use crate::net::Net;
use anyhow::{Context, bail};
use std::{
    fs,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Component, Path, PathBuf},
};

/// Write them into the mounted root (its overlay). `known`: an earlier boot left the overlay, with an identity.
pub fn write(root: &Path, net: &Net, known: bool) -> anyhow::Result<String> {
    // The image's own lines name disks that are not here: systemd would wait 90 s for each.
    put(
        root,
        "etc/fstab",
        "# Written by boottorrent-agent: the root is an overlay.\noverlay / overlay rw 0 0\n",
    )?;
    // Empty: systemd makes one for this boot (machine-id(5)). Copies would share DHCP leases and journals.
    if !known {
        put(root, "etc/machine-id", "")?;
    }
    let name = hostname(net);
    put(root, "etc/hostname", &format!("{name}\n"))?;
    let hosts = plain_file(&resolve(root, "etc/hosts")?).unwrap_or_else(|| "127.0.0.1\tlocalhost\n".into());
    put(root, "etc/hosts", &hosts_with(&hosts, &name))?;
    // The name servers that DHCP named: what is in the image is its builder's. A link belongs to a resolver of its own.
    if !net.dns.is_empty() && !resolve(root, "etc/resolv.conf")?.is_symlink() {
        let domain = net.domain.as_ref().map(|d| format!("search {d}\n")).unwrap_or_default();
        let servers: String = net.dns.iter().map(|d| format!("nameserver {d}\n")).collect();
        put(root, "etc/resolv.conf", &format!("{domain}{servers}"))?;
    }
    // The swarm needs the interface as it is: ifupdown (and NetworkManager with it) keeps off.
    if !net.interface.is_empty() && resolve(root, "etc/network/interfaces")?.exists() {
        put(root, "etc/network/interfaces", &interfaces(&net.interface))?;
    }
    Ok(name)
}

/// What DHCP says, else `boot-` and the last three bytes of the MAC address.
fn hostname(net: &Net) -> String {
    let from_mac = || {
        let digits: String = net.mac.chars().filter(char::is_ascii_hexdigit).collect();
        format!("boot-{}", digits.get(6..).filter(|d| !d.is_empty()).unwrap_or("torrent"))
    };
    net.hostname.as_deref().and_then(|h| h.split('.').next()).map_or_else(from_mac, str::to_owned)
}

/// What a file of the image says; not a link, which would be followed outside of it, nor a device.
fn plain_file(path: &Path) -> Option<String> {
    let is_file = path.symlink_metadata().is_ok_and(|m| m.is_file());
    is_file.then(|| fs::read(path).ok())?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn hosts_with(hosts: &str, name: &str) -> String {
    let mut lines: Vec<&str> =
        hosts.lines().filter(|l| l.split_whitespace().next() != Some("127.0.1.1")).collect();
    let own = format!("127.0.1.1\t{name}");
    lines.push(&own);
    lines.join("\n") + "\n"
}

fn interfaces(name: &str) -> String {
    format!(
        "# Written by boottorrent-agent: {name} was configured by the initramfs, and\n\
         # this machine sends its image to others over it.\n\
         source /etc/network/interfaces.d/*\n\nauto lo\niface lo inet loopback\n\niface {name} inet manual\n"
    )
}

/// A path inside the root. A link in the image must not lead out of it, for we are not in a chroot.
fn resolve(root: &Path, file: &str) -> anyhow::Result<PathBuf> {
    let mut at = root.to_owned();
    for part in Path::new(file).components() {
        let Component::Normal(part) = part else { bail!("{file} is no plain path") };
        at.push(part);
        if at.is_symlink() && at != root.join(file) {
            bail!("{} is a link, which boottorrent does not follow", at.display());
        }
    }
    Ok(at)
}

/// Replace a file, or a link of that name.
fn put(root: &Path, file: &str, text: &str) -> anyhow::Result<()> {
    let path = resolve(root, file)?;
    let write = || -> std::io::Result<()> {
        fs::create_dir_all(path.parent().unwrap_or(root))?;
        if path.is_symlink() {
            fs::remove_file(&path)?;
        }
        let mut f = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&path)?;
        f.set_permissions(fs::Permissions::from_mode(0o644))?;
        std::io::Write::write_all(&mut f, text.as_bytes())
    };
    write().with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(hostname(&net(Some("pc-7.school.lan"))), "pc-7");
        assert_eq!(hostname(&net(None)), "boot-abcdef");
        assert_eq!(hostname(&Net::default()), "boot-torrent");
    }

    #[test]
    fn writes_what_differs_and_keeps_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let etc = dir.path().join("etc");
        fs::create_dir_all(etc.join("network")).unwrap();
        fs::write(etc.join("fstab"), "UUID=1 / ext4 defaults 0 1").unwrap();
        fs::write(etc.join("machine-id"), "abc\n").unwrap();
        fs::write(
            etc.join("hosts"),
            "127.0.0.1 localhost\n127.0.1.1 old\n127.0.1.10 other\n10.0.0.9 files\n",
        )
        .unwrap();
        fs::write(etc.join("network/interfaces"), "iface eth0 inet dhcp\n").unwrap();
        fs::write(etc.join("resolv.conf"), "nameserver 192.0.2.1\n").unwrap();
        assert_eq!(write(dir.path(), &net(Some("pc-7")), false).unwrap(), "pc-7");
        let read = |f: &str| fs::read_to_string(etc.join(f)).unwrap();
        assert!(!read("fstab").contains("UUID"));
        assert_eq!(read("machine-id"), "");
        assert_eq!(read("hostname"), "pc-7\n");
        assert_eq!(read("hosts"), "127.0.0.1 localhost\n127.0.1.10 other\n10.0.0.9 files\n127.0.1.1\tpc-7\n");
        assert_eq!(read("resolv.conf"), "search school.lan\nnameserver 10.0.0.1\n");
        assert!(read("network/interfaces").contains("iface eth0 inet manual"));
    }

    #[test]
    fn links_never_lead_out_of_the_root() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let victim = outside.path().join("fstab");
        fs::write(&victim, "mine").unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        std::os::unix::fs::symlink(&victim, dir.path().join("etc/fstab")).unwrap();
        write(dir.path(), &net(None), false).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "mine");
        fs::remove_dir_all(dir.path().join("etc")).unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("etc")).unwrap();
        assert!(write(dir.path(), &net(None), false).is_err());
    }
}
