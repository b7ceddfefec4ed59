// SPDX-License-Identifier: GPL-3.0-or-later
//! What the admin wants of each image of LTSP: `ltsp.toml` in the catalogue's folder.

use crate::files::{self, replace_text};
use anyhow::{Context, Result};
use bootspec::ImageName;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, io::ErrorKind, path::Path};

const FILE: &str = "ltsp.toml";
/// A line for each image.
const MAX_FILE: usize = 1 << 20;

/// What is wanted of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wish {
    /// Every machine that boots it boots it over the swarm.
    On,
    /// Those do whose section of ltsp.conf says boot=boottorrent.
    Pilot,
    /// Nothing.
    Off,
}

/// For all images.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wishes {
    /// Images that are not named are left alone. At first they are published, and in no menu.
    pub off: bool,
    /// By name.
    pub images: BTreeMap<ImageName, Wish>,
}

impl Wishes {
    /// Read them; nothing was said where there is no file.
    pub fn read(state: &Path) -> Result<Wishes> {
        let path = state.join(FILE);
        match files::find_text(&path, MAX_FILE, "list of wishes")? {
            None => Ok(Wishes::default()),
            Some(text) => toml::from_str(&text).with_context(|| format!("reading {}", path.display())),
        }
    }

    /// Write them down.
    pub fn write(&self, state: &Path) -> Result<()> {
        replace_text(&state.join(FILE), &toml::to_string(self).context("writing the wishes as TOML")?)
    }

    /// As if nothing had ever been said.
    pub fn forget(state: &Path) -> Result<()> {
        let path = state.join(FILE);
        match files::remove(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            gone => gone.with_context(|| format!("deleting {}", path.display())),
        }
    }

    /// Whether an image is to be published.
    pub fn publishes(&self, name: &ImageName) -> bool {
        self.images.get(name).map_or(!self.off, |w| *w != Wish::Off)
    }

    /// Whether LTSP's menu has anything to do with us.
    pub fn in_menu(&self) -> bool {
        self.images.values().any(|w| *w != Wish::Off)
    }

    /// Whether the agent belongs into ltsp.img: a machine may be told to use it.
    pub fn agent(&self) -> bool {
        !self.off || self.in_menu()
    }

    /// Of these images, or of all. Asked for by name, an image counts even where all others are off.
    pub fn set(&mut self, names: &[ImageName], wish: Wish) {
        self.images.extend(names.iter().map(|n| (n.clone(), wish)));
        if wish != Wish::Off {
            self.off = false;
        }
    }

    /// Of no image any more.
    pub fn all_off(&mut self) {
        *self = Wishes { off: true, images: BTreeMap::new() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: &str) -> ImageName {
        n.parse().unwrap()
    }

    #[test]
    fn from_the_first_day_to_the_last() {
        let dir = tempfile::tempdir().unwrap();
        let mut w = Wishes::read(dir.path()).unwrap();
        let is = |w: &Wishes, n: &str| (w.publishes(&name(n)), w.in_menu(), w.agent());
        assert_eq!(is(&w, "lab"), (true, false, true), "installed: published, in no menu");
        w.set(&[name("lab")], Wish::On);
        w.set(&[name("exam")], Wish::Off);
        w.write(dir.path()).unwrap();
        let mut w = Wishes::read(dir.path()).unwrap();
        assert_eq!((is(&w, "lab"), w.publishes(&name("exam"))), ((true, true, true), false));
        w.all_off();
        w.write(dir.path()).unwrap();
        let mut w = Wishes::read(dir.path()).unwrap();
        assert_eq!(is(&w, "lab"), (false, false, false));
        Wishes::forget(dir.path()).unwrap();
        Wishes::forget(dir.path()).unwrap();
        assert_eq!(Wishes::read(dir.path()).unwrap(), Wishes::default());
        w.set(&[name("lab")], Wish::Pilot);
        assert_eq!(is(&w, "lab"), (true, true, true));
    }
}
