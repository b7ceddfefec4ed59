// SPDX-License-Identifier: GPL-3.0-or-later
//! What the agent finds in the initramfs and on disks.

use bootspec::InfoHash;
use boottorrent_agent::{
    net,
    store::state::{Kept, State, victims},
};

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
