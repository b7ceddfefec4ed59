// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent setup` and `doctor` with the real dnsmasq, in network namespaces: beside a dnsmasq that is narrowed, and
//! with two networks (server.md F2, F3, F13). What counts is the answer that a PXE client gets.

mod common;

use common::World;
use serde_json::Value;

/// Two networks, each with a cable to nowhere; dnsmasq as Debian's unit starts it; then doctor.
/// $1: what is done before dnsmasq starts; $2: before doctor; the rest: doctor.
const NETWORKS: &str = r#"
set -e
ip link set lo up
for n in 20 30; do
    ip link add name lan$n type veth peer name far$n
    ip address add 10.9.$n.1/24 dev lan$n
    ip link set lan$n up
    ip link set far$n up
done
mkdir -p etc/dnsmasq.d
eval "$1"
/usr/sbin/dnsmasq --no-daemon --conf-file=etc/dnsmasq.conf --conf-dir=$PWD/etc/dnsmasq.d --user=root --group=root \
    --pid-file= --dhcp-leasefile=/dev/null --no-ping >dnsmasq.log 2>&1 & dnsmasq=$!
trap 'kill $dnsmasq' EXIT
sleep 1
eval "$2"
shift 2
"$@"
"#;

/// What doctor finds, after `before` has set it up with dnsmasq.conf as it says.
fn doctor(w: &World, conf: &str, before: &str, after: &str) -> Vec<Value> {
    w.write("etc/dnsmasq.conf", conf);
    let program = w.command(&[]);
    let setup = |words: &str| {
        let args: Vec<_> = program.get_args().map(|a| format!("'{}'", a.display())).collect();
        let program = program.get_program().display().to_string();
        words.replace(
            "SETUP",
            &format!("{program} {} setup --dnsmasq-dir etc/dnsmasq.d --tftp-root $PWD/tftp", args.join(" ")),
        )
    };
    let said = w.run_in_network(
        NETWORKS,
        &[&setup(before), &setup(after)],
        &["doctor", "--json", "--dnsmasq-dir", "etc/dnsmasq.d"],
    );
    let json = said.out.lines().skip_while(|l| *l != "[").collect::<Vec<_>>().join("\n");
    let log = std::fs::read_to_string(w.path("dnsmasq.log")).unwrap_or_default();
    serde_json::from_str(&json).unwrap_or_else(|e| panic!("{e}: {}{}{log}", said.out, said.err))
}

fn says(found: &[Value], check: &str) -> Vec<String> {
    let of = found.iter().filter(|f| f["check"] == check);
    of.map(|f| format!("{} {}", f["state"].as_str().unwrap(), f["what"].as_str().unwrap())).collect()
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

// Tried: dnsmasq with listen-address, interface and dhcp-ignore; PXE clients for BIOS and UEFI |
// dnsmasq 2.90
#[test]
fn a_pxe_client_is_answered_beside_a_narrow_dnsmasq() {
    if !is_root() {
        return;
    }
    for conf in ["", "listen-address=127.0.0.1\n", "interface=lo\n", "domain=lan\n"] {
        let w = World::new();
        let found = doctor(&w, conf, "SETUP --interface lan20 --write", "true");
        assert_eq!(
            says(&found, "pxe"),
            ["good on lan20 this server tells BIOS and UEFI what to boot"],
            "{conf}"
        );
    }
    // What setup cannot widen: doctor hears that nobody answers, whatever the files say.
    let w = World::new();
    let found = doctor(&w, "dhcp-ignore=tag:!known\n", "SETUP --interface lan20 --write", "true");
    let silent = says(&found, "pxe");
    assert_eq!(silent.len(), 2, "{silent:?}");
    assert!(
        silent[0].starts_with("bad on lan20 this server does not answer a machine with BIOS"),
        "{silent:?}"
    );
}

// Tried: two networks on two cards | dnsmasq 2.90
#[test]
fn two_networks_at_once() {
    if !is_root() {
        return;
    }
    let both = [
        "good on lan20 this server tells BIOS and UEFI what to boot",
        "good on lan30 this server tells BIOS and UEFI what to boot",
    ];
    let w = World::new();
    let mut found = says(&doctor(&w, "", "SETUP --interface lan20 --interface lan30 --write", "true"), "pxe");
    found.sort();
    assert_eq!(found, both);
    let w = World::new();
    let ranges = "--mode authoritative --range 10.9.20.50,10.9.20.60 --range 10.9.30.50,10.9.30.60";
    let before = format!("SETUP --interface lan20 --interface lan30 {ranges} --write");
    let mut found = says(&doctor(&w, "", &before, "true"), "pxe");
    found.sort();
    assert_eq!(found, both);

    // By hand, after docs/network.md of old: answered with an empty menu, and doctor says so.
    let w = World::new();
    let by_hand = "SETUP --interface lan30 --write; \
        printf 'interface=lan20\\ndhcp-range=10.9.20.0,proxy,255.255.255.0\\n' >etc/dnsmasq.d/own.conf; \
        sed -i 's/^interface=lan30/&\\ninterface=lan20/; s/^dhcp-range=.*/&\\ndhcp-range=10.9.20.0,proxy,255.255.255.0/' \
        etc/dnsmasq.d/boottorrent.conf; rm etc/dnsmasq.d/own.conf";
    let found = says(&doctor(&w, "", by_hand, "true"), "pxe");
    let empty = "bad on lan20 this server answers a machine with BIOS, but names nothing to boot";
    assert!(found.iter().any(|f| f == empty), "{found:?}");
}

/// server.md F3, F13: what is replaced is said; an address that is gone is found.
#[test]
fn what_is_replaced_and_what_is_gone() {
    if !is_root() {
        return;
    }
    let w = World::new();
    let before = "SETUP --interface lan20 --mode authoritative --range 10.9.20.50,10.9.20.60 --write >/dev/null; \
        SETUP --interface lan30 >note.txt";
    let after = "ip address del 10.9.20.1/24 dev lan20; ip address add 10.9.20.77/24 dev lan20";
    let found = doctor(&w, "", before, after);
    let note = std::fs::read_to_string(w.path("note.txt")).unwrap();
    assert!(
        note.contains(
            "note: this replaces what an earlier setup serves (dhcp-range=set:bt-range,10.9.20.50,"
        ),
        "{note}"
    );
    let gone = "bad it was written for 10.9.20.1, which this machine does not have any more";
    assert!(says(&found, "setup").iter().any(|f| f == gone), "{:?}", says(&found, "setup"));
}
