// SPDX-License-Identifier: GPL-3.0-or-later
//! What an initrd that the server makes consists of: archives in one file of the image's folder, and their index.

use crate::files;
use anyhow::{Context, Result};
use bootspec::{
    ImageManifest, Overlay, Params, Target, cmdline::split, manifest::InitrdFrom, modalias, params::KeyPlace,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::Path};

/// The aliases of all drivers of network cards are a tenth of a megabyte.
const MAX_INDEX: usize = 16 << 20;

/// The archives, one after the other.
pub const ARCHIVES: &str = "own.archives";
/// Their index, JSON.
pub const CARDS: &str = "own.json";

/// The initrd that is made of them, as it is asked for.
pub const OWN: &str = "own";

/// What a command line needs besides, as a parameter of the question for the initrd: `with=NAME,…`.
pub fn wanted(cmdline: &str) -> String {
    let params = Params::parse(cmdline).0;
    let kept = params.target.iter().any(|t| !t.in_ram()) || matches!(params.overlay, Overlay::Kept(_));
    let disk = Some("disk").filter(|_| kept || params.mkfs.is_some());
    let vlan = Some("vlan").filter(|_| split(cmdline).iter().any(|(name, _)| name == "vlan"));
    let stream = Some("stream").filter(|_| params.target.contains(&Target::Stream));
    let efi = Some("efi").filter(|_| params.private && params.key == KeyPlace::Efi);
    let shell = Some("shell").filter(|_| split(cmdline).iter().any(|(name, _)| name == "break"));
    let zram = Some("zram").filter(|_| matches!(params.overlay, Overlay::Zram(_)));
    let mkfs = Some("mkfs").filter(|_| params.mkfs.is_some() || zram.is_some());
    let words: Vec<&str> = [disk, vlan, stream, efi, shell, zram, mkfs].into_iter().flatten().collect();
    format!("with={}", words.join(","))
}

/// Which archive is where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// What every machine needs.
    pub base: Slice,
    /// The drivers of wired cards that any machine may have.
    pub general: Slice,
    /// Those of the other wired cards. Empty in indexes that were made before these were kept apart.
    #[serde(default)]
    pub rare: Slice,
    /// What kernel parameters of a machine may ask for besides.
    pub extra: BTreeMap<String, Slice>,
    /// Drivers of cards on PCI.
    pub cards: Vec<Card>,
    /// Whether machines can boot with the image's own initrd too.
    #[serde(default)]
    pub fallback: bool,
    /// Whether its kernel unpacks what xz has packed.
    #[serde(default)]
    pub xz: bool,
}

/// What a boot loader asks for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// The machine's card, as iPXE reports it. Without one, or with a card that nobody knows: the usual drivers.
    pub card: Option<&'a str>,
    /// The drivers of all wired cards.
    pub all: bool,
    /// What kernel parameters need besides, with commas between.
    pub with: &'a str,
}

/// The question for all drivers, in a URL.
pub const ALL_DRIVERS: &str = "drivers=all";

/// A part of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slice {
    /// Its first byte.
    pub at: u64,
    /// Its bytes.
    pub size: u64,
}

/// The driver of some cards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// The module's name.
    pub driver: String,
    /// Its archive.
    pub archive: Slice,
    /// The devices that it is for, as modules.alias of the kernel has them.
    pub aliases: Vec<String>,
}

/// Bytes of the initrd that a machine is sent, without the agent where that comes beside it. `folder`: the image's.
pub fn initrd_size(folder: &Path, image: &ImageManifest) -> u64 {
    match image.initrd_from {
        InitrdFrom::Image => image.initrd.size,
        InitrdFrom::Own => Index::read(folder).map_or(0, |index| index.sizes().0),
    }
}

impl Index {
    /// Read it from an image's folder.
    pub fn read(folder: &Path) -> Result<Index> {
        let text = files::read(&folder.join(CARDS), MAX_INDEX, "index of drivers")?;
        serde_json::from_slice(&text).with_context(|| format!("reading {CARDS}"))
    }

    /// Bytes for one card: the median of all, and for the cards that any machine may have.
    pub fn sizes(&self) -> (u64, u64) {
        let mut cards: Vec<u64> = self.cards.iter().map(|c| c.archive.size).collect();
        cards.sort_unstable();
        let median = cards.get(cards.len() / 2).copied().unwrap_or(self.general.size);
        (self.base.size + median, self.base.size + self.general.size)
    }

    /// The archives for a machine.
    pub fn archives(&self, asked: &Asked) -> Vec<Slice> {
        let device = asked.card.and_then(modalias::of_busid);
        let fits = |card: &&Card| {
            device.as_ref().is_some_and(|d| card.aliases.iter().any(|alias| modalias::matches(alias, d)))
        };
        let mut drivers: Vec<Slice> = self.cards.iter().filter(fits).map(|c| c.archive).collect();
        if drivers.is_empty() || asked.all {
            drivers = vec![self.general];
        }
        let rare = Some(self.rare).filter(|rare| asked.all && rare.size > 0);
        let extra = asked.with.split(',').filter_map(|name| self.extra.get(name).copied());
        [self.base].into_iter().chain(drivers).chain(rare).chain(extra).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_gets_the_driver_of_its_card() {
        let slice = |at| Slice { at, size: 4 };
        let card = |driver: &str, at, alias: &str| Card {
            driver: driver.into(),
            archive: slice(at),
            aliases: vec![alias.into()],
        };
        let index = Index {
            base: slice(0),
            general: slice(4),
            rare: slice(20),
            extra: BTreeMap::from([("disk".to_owned(), slice(16))]),
            fallback: false,
            xz: false,
            cards: vec![
                card("e1000", 8, "pci:v00008086d0000100Esv*sd*bc*sc*i*"),
                card("tg3", 12, "pci:v000014E4d00001600sv*"),
            ],
        };
        let of = |card, with| index.archives(&Asked { card, all: false, with });
        assert_eq!(of(Some("01:8086:100e"), ""), [slice(0), slice(8)]);
        assert_eq!(of(Some("01:14e4:1600"), "disk,nonsense"), [slice(0), slice(12), slice(16)]);
        for unknown in [None, Some("01:1234:5678"), Some("02:0411:00e8"), Some("'; reboot")] {
            assert_eq!(of(unknown, ""), [slice(0), slice(4)], "{unknown:?}");
        }
        let all = |card| index.archives(&Asked { card, all: true, with: "" });
        assert_eq!(all(None), [slice(0), slice(4), slice(20)]);
        assert_eq!(all(Some("01:8086:100e")), all(None), "a card that lies");
        let older = Index { rare: Slice::default(), ..index.clone() };
        assert_eq!(older.archives(&Asked { all: true, ..Asked::default() }), [slice(0), slice(4)]);
    }
}
