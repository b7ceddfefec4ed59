// SPDX-License-Identifier: GPL-3.0-or-later
//! What the agent finds in the initramfs and on disks.

use bootspec::InfoHash;
use boottorrent_agent::{
    init::dhcp,
    net,
    relay::request,
    store::state::{Kept, State, victims},
};
use url::Url;

/// A file of ipconfig's, or a lease of systemd-networkd's. What is in it goes into files of the booted system.
pub fn lease(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for net in [net::parse(&text), net::lease(&text)].into_iter().flatten() {
        for name in net.hostname.iter().chain(&net.domain) {
            assert!(
                name.len() <= 253 && name.chars().all(|c| c.is_ascii_alphanumeric() || ".-".contains(c)),
                "{name:?}"
            );
        }
    }
    let _ = net::bootif(&text);
}

/// What boot loaders, and others, ask a machine for that gives kernels: the server is asked for nothing else than these.
pub fn relay(data: &[u8]) {
    let Ok(request) = request::parse(data) else { return };
    let server: Url = "http://10.0.0.1:6980/".parse().expect("a URL");
    let url = server.join(&request.target).expect("a URL");
    let path: Vec<&str> = url.path().split('/').collect();
    assert!(url.origin() == server.origin() && path.len() == 4 && path[1] == "images", "{url}");
    assert!(["vmlinuz", "initrd", "own", "addon"].contains(&path[3]), "{url}");
}

/// Frames on the network while the agent, as init, waits for an address. What a server says goes into files that a shell reads.
pub fn dhcp(data: &[u8]) {
    let mac = [0x52, 0x54, 0, 0, 0, 1];
    let Some(lease) = dhcp::lease_in(data, 7, mac) else { return };
    let conf = lease.conf("eth0");
    assert!(conf.lines().count() == 14, "{conf}");
    for line in conf.lines() {
        let (_, value) = line.split_once("='").expect("KEY='value'");
        let value = value.strip_suffix('\'').expect("a quote at its end");
        assert!(value.chars().all(|c| c.is_ascii_alphanumeric() || ".- ".contains(c)), "{line:?}");
    }
    assert!(lease.prefix <= 32 && lease.dns.len() <= 8 && lease.search.len() <= 8);
    assert!(
        net::parse(&conf)
            .is_some_and(|n| n.address == Some(lease.address.into()) || lease.address.is_unspecified())
    );
}

/// `state.json` of a disk that keeps images, and what is deleted by it.
pub fn state(data: &[u8]) {
    let mut state = State::parse(&String::from_utf8_lossy(data));
    let (wanted, before) = (InfoHash([1; 20]), state.turn);
    state.touch(wanted, "lab");
    assert!(state.turn == before.saturating_add(1) && state.get(wanted).used == state.turn);
    let kept: Vec<Kept> = state
        .images
        .iter()
        .filter_map(|(hash, entry)| {
            let infohash = hash.parse().ok()?;
            Some(Kept { infohash, entry: entry.clone(), takes: entry.fetched >> 16, complete: true })
        })
        .collect();
    for (need, free) in [(0, 0), (1 << 30, 1 << 20), (u64::MAX, 5)] {
        if let Ok(gone) = victims(&kept, wanted, "lab", need, free) {
            assert!(!gone.contains(&wanted));
        }
    }
}
