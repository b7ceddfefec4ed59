// SPDX-License-Identifier: GPL-3.0-or-later
use super::*;
use std::{fs, os::unix::fs::symlink};

/// An image with these files and links, the boot card ens3, and what was written for it.
fn written(files: &[(&str, &str)], links: &[(&str, &str)]) -> (tempfile::TempDir, Manager) {
    let dir = tempfile::tempdir().unwrap();
    let at = |file: &str| {
        let path = dir.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    };
    fs::create_dir(dir.path().join("etc")).unwrap();
    files.iter().for_each(|(file, text)| fs::write(at(file), text).unwrap());
    links.iter().for_each(|(file, to)| symlink(to, at(file)).unwrap());
    let net = Net {
        interface: "ens3".into(),
        mac: "52:54:00:ab:cd:ef".into(),
        dns: vec![std::net::Ipv4Addr::new(10, 0, 0, 1), std::net::Ipv4Addr::new(10, 0, 0, 2)],
        ntp: vec![std::net::Ipv4Addr::new(10, 0, 0, 5)],
        domain: Some("school.lan".into()),
        searched: vec!["school.lan".into(), "lab.school.lan".into()],
        index: Some(2),
        ..Net::default()
    };
    let manager = write(&Tree::new(dir.path()), &net, &dir.path().join("run"), false).unwrap();
    (dir, manager)
}

fn read(dir: &tempfile::TempDir, file: &str) -> String {
    fs::read_to_string(dir.path().join(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
}

const NM: (&str, &str) = (
    "etc/systemd/system/multi-user.target.wants/NetworkManager.service",
    "/lib/systemd/system/NetworkManager.service",
);
const NETWORKD: (&str, &str) = (
    "etc/systemd/system/multi-user.target.wants/systemd-networkd.service",
    "/lib/systemd/system/systemd-networkd.service",
);
const STUB: (&str, &str) = ("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf");
/// As d-i writes it.
const IFUPDOWN: (&str, &str) = (
    "etc/network/interfaces",
    "source /etc/network/interfaces.d/*\n\nauto lo\niface lo inet loopback\n\nallow-hotplug ens3\niface ens3 inet dhcp\n",
);
const LOOPBACK: (&str, &str) = ("etc/network/interfaces", "auto lo\niface lo inet loopback\n");
const IFUP: (&str, &str) = ("usr/sbin/ifup", "");

#[test]
fn who_looks_after_the_card() {
    let network = ("etc/systemd/network/20-wired.network", "[Match]\nName=en*\n[Network]\nDHCP=yes\n");
    let other = ("etc/systemd/network/20-wired.network", "[Match]\nName=eth0\n[Network]\nDHCP=yes\n");
    for (files, links, manager) in [
        (&[][..], &[][..], Manager::Nobody),
        (&[IFUP, IFUPDOWN], &[], Manager::Ifupdown),
        (&[IFUP, IFUPDOWN], &[NM], Manager::Ifupdown),
        (&[IFUPDOWN], &[NM], Manager::NetworkManager),
        (&[IFUP, LOOPBACK], &[NM], Manager::NetworkManager),
        (&[IFUP, LOOPBACK], &[], Manager::Nobody),
        (&[network], &[NETWORKD], Manager::Networkd),
        (&[network], &[], Manager::Nobody),
        (&[other], &[NETWORKD], Manager::Nobody),
    ] {
        assert_eq!(written(files, links).1, manager, "{files:?} {links:?}");
    }
    let split = [IFUP, LOOPBACK, ("etc/network/interfaces.d/lan", "auto ens3\niface ens3 inet dhcp\n")];
    assert_eq!(written(&split, &[]).1, Manager::Ifupdown);
}

#[test]
fn name_servers_where_they_are_asked_for() {
    let (dir, _) = written(&[("etc/resolv.conf", "nameserver 192.0.2.1\n")], &[]);
    let plain = "search school.lan lab.school.lan\nnameserver 10.0.0.1\nnameserver 10.0.0.2\n";
    assert_eq!(read(&dir, "etc/resolv.conf"), plain);
    let (dir, _) = written(&[], &[STUB]);
    let resolved = "[Resolve]\nDNS=10.0.0.1 10.0.0.2\nDomains=school.lan lab.school.lan\n";
    assert!(read(&dir, "etc/systemd/resolved.conf.d/boottorrent.conf").ends_with(resolved));
    assert!(dir.path().join("etc/resolv.conf").is_symlink());
    let (dir, _) = written(&[], &[("etc/resolv.conf", "/run/NetworkManager/resolv.conf")]);
    assert!(dir.path().join("etc/resolv.conf").is_symlink() && !dir.path().join("etc/systemd").exists());
}

#[test]
fn each_is_told_the_same_identity() {
    let (dir, _) = written(&[], &[NM]);
    let profile = read(&dir, "etc/NetworkManager/system-connections/boottorrent.nmconnection");
    let uuid = profile.lines().find_map(|l| l.strip_prefix("uuid=")).unwrap();
    assert!(profile.contains("mac-address=52:54:00:AB:CD:EF\n") && profile.contains("dhcp-client-id=mac\n"));
    assert!(read(&dir, "run/NetworkManager/devices/2").contains(&format!("connection-uuid={uuid}\n")));
    let (dir, _) = written(
        &[(
            "usr/lib/systemd/network/80-ether.network",
            "[Match]\nType=ether\nKind=!*\n[Network]\nDHCP=yes\n",
        )],
        &[NETWORKD],
    );
    let dropin = read(&dir, "etc/systemd/network/80-ether.network.d/50-boottorrent.conf");
    assert!(dropin.ends_with("[DHCPv4]\nClientIdentifier=mac\n"), "{dropin}");
    let dhcpcd = ("etc/dhcpcd.conf", "# comment\nduid\npersistent\n");
    let dhclient = (
        "etc/dhcp/dhclient.conf",
        "#send dhcp-client-identifier 1:0:a0:24:ab:fb:9c;\nrequest subnet-mask;\n",
    );
    let (dir, _) = written(&[IFUP, IFUPDOWN, dhcpcd, dhclient], &[]);
    assert!(read(&dir, "etc/dhcpcd.conf").ends_with("\nclientid\n"));
    assert!(read(&dir, "etc/dhcp/dhclient.conf").ends_with("\nsend dhcp-client-identifier = hardware;\n"));
}

#[test]
fn files_of_networkd() {
    let net = Net { interface: "enp1s0".into(), mac: "52:54:00:ab:cd:ef".into(), ..Net::default() };
    for (text, is) in [
        ("[Match]\nName=en* eth*\n[Network]\nDHCP=ipv4", true),
        ("[Match]\nName=!lo\n[Network]\nDHCP=true", true),
        ("[Match]\nMACAddress=52-54-00-AB-CD-EF\n[Network]\nDHCP=yes", true),
        ("[Match]\nName=en*\nDriver=ixgbe\n[Network]\nDHCP=yes", false),
        ("[Match]\nName=en?1s1\n[Network]\nDHCP=yes", false),
        ("[Match]\nName=en*\n[Network]\nAddress=10.0.0.1/24", false),
        ("[Match]\nKind=bridge\nName=*\n[Network]\nDHCP=yes", false),
        ("[Network]\nDHCP=yes", false),
    ] {
        assert_eq!(matches_card(text, &net), is, "{text:?}");
    }
}

#[test]
fn time_servers_are_those_of_dhcp() {
    let timesyncd = ("usr/lib/systemd/systemd-timesyncd", "");
    let (dir, _) = written(&[timesyncd], &[]);
    assert!(read(&dir, "etc/systemd/timesyncd.conf.d/boottorrent.conf").ends_with("[Time]\nNTP=10.0.0.5\n"));
    let (dir, _) = written(&[("usr/sbin/chronyd", "")], &[]);
    assert!(read(&dir, "run/chrony-dhcp/boottorrent.sources").ends_with("server 10.0.0.5 iburst\n"));
    let (dir, _) = written(&[], &[]);
    assert!(!dir.path().join("etc/systemd/timesyncd.conf.d").exists(), "nobody sets the clock there");
}
