// SPDX-License-Identifier: GPL-3.0-or-later
//! `[menu]` of server.toml: what the boot menu is called, what is in it, and in which order. Names in it are those of
//! images and entries; one that is not there now is passed over, for it may come back.

use bootspec::{ImageName, text::printable};
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use std::collections::BTreeMap;

/// Submenus at most.
const MANY: usize = 32;

/// `[menu]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MenuSettings {
    /// The heading; empty: BootTorrent and the server's address.
    #[serde(deserialize_with = "title")]
    pub title: String,
    /// What comes first. The rest follows, images before entries.
    pub order: Vec<ImageName>,
    /// What menus leave out, unless it was assigned to the machine.
    pub hidden: Vec<ImageName>,
    /// What menus start only for who has a password, unless it was assigned to the machine.
    pub locked: Vec<ImageName>,
    /// Titles, by name.
    #[serde(deserialize_with = "titles")]
    pub titles: BTreeMap<ImageName, String>,
    /// Menus in the menu. Each stands where the first of what is in it would.
    #[serde(deserialize_with = "submenus")]
    pub submenus: Vec<Submenu>,
    /// Whether there is a way to the boot loader's command line.
    pub shell: bool,
    /// Whether there is an item that leaves the menu to what the firmware has next.
    pub leave: bool,
}

/// A menu in the menu.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Submenu {
    /// Its title.
    #[serde(deserialize_with = "title")]
    pub title: String,
    /// What is in it, in this order.
    pub items: Vec<ImageName>,
}

impl Default for MenuSettings {
    fn default() -> Self {
        Self {
            title: String::new(),
            order: Vec::new(),
            hidden: Vec::new(),
            locked: Vec::new(),
            titles: BTreeMap::new(),
            submenus: Vec::new(),
            shell: true,
            leave: true,
        }
    }
}

impl MenuSettings {
    /// Every name in it, and the key that it is under.
    pub fn names(&self) -> impl Iterator<Item = (&'static str, &ImageName)> {
        let lists = [("order", &self.order), ("hidden", &self.hidden), ("locked", &self.locked)];
        let lists = lists.into_iter().flat_map(|(key, names)| names.iter().map(move |name| (key, name)));
        let titles = self.titles.keys().map(|name| ("titles", name));
        lists.chain(titles).chain(self.submenus.iter().flat_map(|s| &s.items).map(|name| ("submenus", name)))
    }
}

/// Whether a boot loader can show it as a title, and nothing in it can become a command. Errors: one sentence.
pub fn check_title(title: &str) -> Result<(), String> {
    match title.len() <= 60 && !title.contains(|c: char| c.is_control() || "$|&#`'\"\\".contains(c)) {
        true => Ok(()),
        false => Err(format!(
            "'{}' is not a valid title: use at most 60 characters, and none of $ | & # ` ' \" \\",
            printable(title, 80)
        )),
    }
}

fn title<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    let text = String::deserialize(d)?;
    check_title(&text).map_err(D::Error::custom)?;
    Ok(text)
}

fn titles<'de, D: Deserializer<'de>>(d: D) -> Result<BTreeMap<ImageName, String>, D::Error> {
    let all = BTreeMap::<ImageName, String>::deserialize(d)?;
    all.values().try_for_each(|text| check_title(text)).map_err(D::Error::custom)?;
    Ok(all)
}

fn submenus<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<Submenu>, D::Error> {
    let all = Vec::<Submenu>::deserialize(d)?;
    if all.len() > MANY {
        return Err(D::Error::custom(format!("{} submenus are too many: use at most {MANY}", all.len())));
    }
    let mut seen = BTreeMap::new();
    for submenu in &all {
        if submenu.title.trim().is_empty() {
            return Err(D::Error::custom("a submenu needs a title"));
        }
        if let Some(twice) = submenu.items.iter().find(|name| seen.insert((*name).clone(), ()).is_some()) {
            return Err(D::Error::custom(format!("'{twice}' is in the submenus twice: leave one")));
        }
    }
    Ok(all)
}
