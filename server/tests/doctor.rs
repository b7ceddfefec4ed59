// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent doctor`, by the real program: on a disk, and in a network with another DHCP server and a firewall.

mod common;

use common::{Said, Server, World, initrd};
use serde_json::Value;
use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt};

/// The findings of a run, and its exit code.
fn findings(said: Said) -> (Vec<Value>, Option<i32>) {
    let found: Value =
        serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}: {}{}", said.out, said.err));
    (found.as_array().unwrap().clone(), said.code)
}

/// What one check says: `STATE WHAT`.
fn says(found: &[Value], check: &str) -> Vec<String> {
    let of = found.iter().filter(|f| f["check"] == check);
    of.map(|f| format!("{} {}", f["state"].as_str().unwrap(), f["what"].as_str().unwrap())).collect()
}

#[test]
fn images_machines_and_ports() {
    let w = World::new();
    fs::create_dir_all(w.path("cat")).unwrap();
    // No network of this machine is asked for DHCP servers: it takes seconds.
    w.write("dnsmasq.d/boottorrent.conf", "interface=none0\n");
    let doctor =
        || findings(w.run(&["doctor", "--json", "--dnsmasq-dir", "dnsmasq.d", "--ipxe-dir", "none"]));
    let (found, code) = doctor();
    assert_eq!(code, Some(1));
    assert_eq!(says(&found, "images"), [format!("bad there is none in {}", w.shown("cat"))]);
    let server = says(&found, "server");
    // A server of the machine itself would answer on the usual port.
    assert!(server[0] == "bad nothing answers on port 6980" || server[0].starts_with("good"), "{server:?}");
    assert_eq!(says(&found, "firmware").len(), 2);
    assert_eq!(says(&found, "setup"), ["warning `boottorrent setup --write` has written nothing here"]);
    for f in found.iter().filter(|f| f["state"] == "bad" || f["state"] == "warning") {
        assert!(f["means"].is_string() && f["cure"].is_string(), "{f}");
    }
    // Somebody has the port.
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let text = fs::read_to_string(w.path("server.toml")).unwrap();
    fs::write(w.path("server.toml"), format!("{text}[serve]\nlisten = \"127.0.0.1:{port}\"\n")).unwrap();
    let (found, _) = doctor();
    assert_eq!(says(&found, "server"), [format!("bad nothing answers on port {port}")]);
    assert_eq!(says(&found, "ports"), [format!("bad another program listens on TCP port {port}")]);
    drop(holder);
    fs::write(w.path("server.toml"), text).unwrap();

    // A good image, a server: nothing of it is bad.
    w.squashfs("lab");
    w.run(&["image", "add", "lab.squashfs"]).good();
    w.run(&["host", "set", "default", "--image", "lab"]).good();
    let running = Server::start(&w, &["--no-seed"]);
    let (found, _) = doctor();
    assert_eq!(says(&found, "images"), ["good 1 can be served"]);
    assert_eq!(says(&found, "machines"), ["good 1 entry in hosts.toml"]);
    assert!(says(&found, "server")[0].starts_with("good it runs ("), "{found:?}");
    assert!(says(&found, "clock")[0].starts_with("good "), "{found:?}");
    drop(running);

    // Everything wrong at once.
    fs::write(w.path("cat/images/lab/initrd"), initrd(&["init"])).unwrap();
    fs::set_permissions(w.path("cat/images/lab/payload"), fs::Permissions::from_mode(0o600)).unwrap();
    let manifest = w.path("cat/images/lab/manifest.toml");
    let text = fs::read_to_string(&manifest).unwrap().replace("added = \"2", "added = \"3");
    fs::write(&manifest, text).unwrap();
    w.write("etc/sources.d/bad.toml", "x\n");
    let hosts = w.path("cat/hosts.toml");
    fs::write(&hosts, "[default]\nimage = \"gone\"\n").unwrap();
    let (found, code) = doctor();
    assert_eq!(code, Some(1));
    assert!(says(&found, "initrd")[0].starts_with("bad image 'lab': "), "{found:?}");
    assert_eq!(says(&found, "machines"), ["bad default should boot 'gone', which is not there"]);
    assert!(says(&found, "clock")[0].contains(", and an image was added at 3"), "{found:?}");
    assert!(says(&found, "sources")[0].contains("/bad.toml: line 1: "), "{found:?}");
    if !nix::unistd::geteuid().is_root() {
        assert_eq!(says(&found, "dhcp"), ["skipped only root may ask who else answers DHCP: run it as root"]);
        return;
    }
    // Root's own files are the daemon's, where the catalogue is root's: then they can be read.
    std::os::unix::fs::chown(w.path("cat/images/lab/payload"), Some(1), None).unwrap();
    let (found, _) = doctor();
    let payload = w.shown("cat/images/lab/payload");
    let closed = says(&found, "permissions");
    let above = closed[0].starts_with(&format!("bad {payload}"));
    assert!(above || closed[0].contains(" cannot be read by the daemon"), "{closed:?}");
    let text = w.run(&["doctor", "--dnsmasq-dir", "dnsmasq.d", "--ipxe-dir", "none"]);
    assert!(
        text.out.contains("\n         how to fix: ") && text.out.contains("; warnings: "),
        "{}",
        text.out
    );
    assert!(text.err.ends_with(" things would stop a boot\n"), "{}", text.err);
}

/// Two network namespaces and a cable: there dnsmasq, here us, and a firewall that drops.
const NETWORK: &str = r#"
set -e
ip link set lo up
ip link add name lan0 type veth peer name lan1
unshare --net sleep 60 & there=$!
sleep 0.3
ip link set lan1 netns $there
nsenter -t $there -n sh -c 'ip address add 10.9.0.1/24 dev lan1; ip link set lan1 up; ip link set lo up'
nsenter -t $there -n dnsmasq --no-daemon --port=0 --conf-file=/dev/null --interface=lan1 --bind-interfaces \
    --dhcp-range=10.9.0.50,10.9.0.60 --dhcp-leasefile=/dev/null --user=root --no-ping & dnsmasq=$!
trap 'kill $dnsmasq $there' EXIT
ip address add 10.9.0.2/24 dev lan0
ip link set lan0 up
nft 'add table inet f; add chain inet f in { type filter hook input priority 0; policy drop; }'
nft 'add rule inet f in udp dport 68 accept'
sleep 1
"$@" || code=$?
nft 'add rule inet f in tcp dport { 6980, 6981 } accept; add rule inet f in udp dport { 67, 69, 4011 } accept'
"$@" || code=$?
exit $code
"#;

#[test]
fn another_dhcp_server_and_a_firewall() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let w = World::new();
    w.write("dnsmasq.d/boottorrent.conf", "interface=lan0\ndhcp-authoritative\n");
    let said = w.run_in_network(NETWORK, &[], &["doctor", "--json", "--dnsmasq-dir", "dnsmasq.d"]);
    let mut runs = serde_json::Deserializer::from_str(&said.out).into_iter::<Vec<Value>>();
    let mut next = || runs.next().unwrap_or_else(|| panic!("{}{}", said.out, said.err)).unwrap();
    let (first, second) = (next(), next());
    assert_eq!(
        says(&first, "dhcp"),
        ["bad on lan0 10.9.0.1 answers DHCP too, and this server is set up as the only one"],
        "{}",
        said.err
    );
    assert_eq!(says(&first, "firewall"), ["bad it seems to drop tcp 6980, 6981 and udp 67, 69, 4011"]);
    let cure = first.iter().find(|f| f["check"] == "firewall").unwrap()["cure"].as_str().unwrap();
    assert_eq!(
        cure,
        "nft insert rule inet f in tcp dport '{ 6980, 6981 }' accept && nft insert rule inet f in udp dport '{ 67, 69, 4011 }' accept; \
         and in /etc/nftables.conf, to keep it"
    );
    assert_eq!(says(&second, "firewall"), ["good it lets machines in"]);
    assert!(says(&second, "network")[0].contains("10.9.0.2 on lan0"), "{second:?}");
    assert_eq!(said.code, Some(1));
}
