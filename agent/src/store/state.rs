// SPDX-License-Identifier: GPL-3.0-or-later
//! What is remembered of images beside their bytes, and which of them must go. No I/O.
//! It is only a hint: what an image is, its .torrent says, and what is there, hashing.

use bootspec::InfoHash;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `state.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Counts boots: clocks of machines are not to be believed.
    pub turn: u64,
    /// By infohash.
    pub images: BTreeMap<String, Entry>,
}

/// One image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// The turn in which it was last wanted.
    pub used: u64,
    /// When it was complete, in seconds since 1970 of this machine's clock.
    pub fetched: u64,
}

impl State {
    /// Read; what cannot be read is nothing.
    pub fn parse(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }

    /// An image is wanted now.
    pub fn touch(&mut self, infohash: InfoHash, name: &str) {
        // The file may say anything.
        self.turn = self.turn.saturating_add(1);
        let entry = self.images.entry(infohash.to_string()).or_default();
        (entry.name, entry.used) = (name.into(), self.turn);
    }

    /// What is known of an image.
    pub fn get(&self, infohash: InfoHash) -> Entry {
        self.images.get(&infohash.to_string()).cloned().unwrap_or_default()
    }
}

/// An image that is on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Which.
    pub infohash: InfoHash,
    /// What is remembered of it.
    pub entry: Entry,
    /// Bytes that it takes on the disk.
    pub takes: u64,
    /// Whether it was complete and verified once.
    pub complete: bool,
}

/// Versions of one image that are kept when there is room.
const VERSIONS: usize = 2;

/// What to delete before `need` more bytes are written, where `free` are free: older versions than the last
/// [`VERSIONS`] always; else the longest unused first, and no more than needed. Never `wanted`. `Err`: how many
/// bytes there would be, with all the others gone.
pub fn victims(
    images: &[Kept],
    wanted: InfoHash,
    name: &str,
    need: u64,
    free: u64,
) -> Result<Vec<InfoHash>, u64> {
    let mut others: Vec<&Kept> = images.iter().filter(|k| k.infohash != wanted).collect();
    others.sort_by_key(|k| k.entry.used);
    let (mut gone, mut room) = (Vec::new(), free);
    let all = free + others.iter().map(|k| k.takes).sum::<u64>();
    if all < need {
        return Err(all);
    }
    let versions = others.iter().filter(|k| k.entry.name == name).count();
    let mut surplus = (versions + 1).saturating_sub(VERSIONS);
    for kept in others {
        let old_version = kept.entry.name == name && surplus > 0;
        if old_version {
            surplus -= 1;
        }
        if old_version || room < need {
            gone.push(kept.infohash);
            room += kept.takes;
        }
    }
    Ok(gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(id: u8, name: &str, used: u64, takes: u64) -> Kept {
        let entry = Entry { name: name.into(), used, fetched: 0 };
        Kept { infohash: InfoHash([id; 20]), entry, takes, complete: true }
    }

    #[test]
    fn the_longest_unused_goes_first_and_no_more_than_needed() {
        let all = [kept(1, "a", 5, 10), kept(2, "b", 2, 10), kept(3, "c", 9, 10), kept(4, "d", 3, 10)];
        let gone = |wanted: u8, need, free| {
            victims(&all, InfoHash([wanted; 20]), "x", need, free)
                .map(|v| v.iter().map(|h| h.0[0]).collect::<Vec<_>>())
        };
        assert_eq!(gone(9, 10, 10), Ok(vec![]));
        assert_eq!(gone(9, 11, 10), Ok(vec![2]));
        assert_eq!(gone(9, 21, 10), Ok(vec![2, 4]));
        assert_eq!(gone(2, 21, 10), Ok(vec![4, 1]), "never the one that is wanted");
        assert_eq!(gone(9, 50, 10), Ok(vec![2, 4, 1, 3]));
        assert_eq!(gone(9, 51, 10), Err(50), "and then nothing is deleted");
        assert_eq!(gone(2, 51, 10), Err(40));
    }

    #[test]
    fn of_one_image_the_last_two_versions_are_kept() {
        let all = [kept(1, "a", 1, 10), kept(2, "a", 2, 10), kept(3, "b", 0, 10), kept(4, "a", 4, 10)];
        let gone = victims(&all, InfoHash([9; 20]), "a", 0, 100).unwrap();
        assert_eq!(gone, [InfoHash([1; 20]), InfoHash([2; 20])]);
        let same = victims(&all[1..], InfoHash([4; 20]), "a", 0, 100).unwrap();
        assert_eq!(same, [], "the wanted one is one of the two");
    }

    #[test]
    fn a_state_that_cannot_be_read_is_nothing() {
        for bad in ["", "{", "[]", "{\"turn\":-1}"] {
            assert_eq!(State::parse(bad), State::default(), "{bad}");
        }
        let mut state = State::default();
        state.touch(InfoHash([1; 20]), "lab");
        state.touch(InfoHash([1; 20]), "lab");
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(State::parse(&text), state);
        assert_eq!(state.get(InfoHash([1; 20])).used, 2);
        assert_eq!(state.get(InfoHash([2; 20])), Entry::default());
        State::parse(&format!("{{\"turn\":{}}}", u64::MAX)).touch(InfoHash([1; 20]), "lab");
    }
}
