// SPDX-License-Identifier: GPL-3.0-or-later
//! What a machine is to boot, or which menu it shows: decided here, for all boot loaders alike. No I/O.

use crate::{
    attempts::Stage,
    catalogue::entries::{BootEntry, NamedEntry},
    menu_settings::{MenuSettings, Submenu},
    menu_users::MenuUsers,
};
use bootspec::{Architecture, ImageManifest, ImageName, units::human_size};
use std::net::SocketAddr;

/// What a boot loader asks for as if it were an image when somebody wants its command line: no image's name.
pub const SHELL: &str = ":shell";

/// What the script is rendered from.
pub struct Menu<'a> {
    /// `HOST` or `HOST:PORT`, as the machine reaches us.
    pub host: &'a str,
    /// Where a relay's machines go if it is gone: the first server, in the same way.
    pub first: Option<String>,
    /// A machine of its group that gives it kernel and initrd, if its boot loader can ask twice.
    pub node: Option<SocketAddr>,
    /// What the machine is: what is for others, it can only ask for by name, and is told so.
    pub machine: Architecture,
    /// The images, in the order of the menu.
    pub images: &'a [&'a ImageManifest],
    /// What else there is, behind the images.
    pub entries: &'a [NamedEntry],
    /// What the menu is called, and what is where in it.
    pub settings: &'a MenuSettings,
    /// Who may start what is locked.
    pub users: &'a MenuUsers,
    /// Whether who asks has proven a password.
    pub unlocked: bool,
    /// What the machine says when it starts an entry that it has for one time: a query.
    pub once: Option<&'a str>,
    /// The image or entry that the script asks for, whether it exists or not.
    pub wanted: Option<&'a str>,
    /// The image or entry that was assigned to the machine: the admin has unlocked it.
    pub assigned: Option<&'a ImageName>,
    /// The image or entry that starts by itself.
    pub default: Option<&'a ImageName>,
    /// How long the menu waits, in milliseconds.
    pub timeout: u128,
    /// Kernel parameters for every image.
    pub append: &'a str,
    /// Which of the initrds that there are for an image this machine is sent.
    pub stage: &'a dyn Fn(&ImageManifest) -> Stage,
    /// Bytes of kernel and initrd, with all that belongs to it.
    pub phase_one: &'a dyn Fn(&ImageManifest) -> u64,
}

impl Menu<'_> {
    /// Whether the boot loader's command line, and what is locked, want a password.
    pub fn is_guarded(&self) -> bool {
        guarded(self.settings, self.users)
    }

    /// Whether an item starts only for who has a password.
    fn is_locked(&self, name: &ImageName) -> bool {
        locked(self.settings, name.as_str(), self.assigned) && !self.unlocked
    }

    /// The heading.
    pub fn title(&self) -> String {
        match self.settings.title.as_str() {
            "" => format!("BootTorrent on {}", self.host),
            title => title.to_owned(),
        }
    }
}

/// Whether there is a password, or something that wants one.
pub fn guarded(settings: &MenuSettings, users: &MenuUsers) -> bool {
    !users.is_empty() || !settings.locked.is_empty()
}

/// Whether this image or entry is locked for a machine to which `assigned` was assigned.
pub fn locked(settings: &MenuSettings, name: &str, assigned: Option<&ImageName>) -> bool {
    settings.locked.iter().any(|n| n.as_str() == name) && assigned.is_none_or(|a| a.as_str() != name)
}

/// What can be booted.
#[derive(Clone, Copy)]
pub enum Item<'a> {
    /// An image.
    Image(&'a ImageManifest),
    /// Something else.
    Entry(&'a NamedEntry),
}

impl<'a> Item<'a> {
    /// Its name.
    pub fn name(self) -> &'a ImageName {
        match self {
            Item::Image(image) => &image.name,
            Item::Entry((name, _)) => name,
        }
    }

    /// Which machines can start it; none: all. Entries but the local disk are for x86.
    fn architecture(self) -> Option<Architecture> {
        match self {
            Item::Image(image) => Some(image.architecture),
            Item::Entry((_, BootEntry { local: true, .. })) => None,
            Item::Entry(_) => Some(Architecture::Amd64),
        }
    }

    fn is_hidden(self) -> bool {
        matches!(self, Item::Entry((_, BootEntry { hidden: true, .. })))
    }

    /// Its title where the settings have none.
    fn title(self) -> String {
        match self {
            Item::Image(image) => format!("{} ({})", image.name, human_size(image.size)),
            Item::Entry((name, entry)) if entry.title.is_empty() => name.to_string(),
            Item::Entry((_, entry)) => entry.title.clone(),
        }
    }
}

/// An item of a menu.
pub struct Offer<'a> {
    /// What it boots.
    pub item: Item<'a>,
    /// What is shown.
    pub title: String,
    /// Whether it wants a password.
    pub locked: bool,
}

/// A line of the menu.
pub enum Row<'a> {
    /// Something that boots.
    One(Offer<'a>),
    /// A menu in the menu: its title, and what is in it.
    Submenu(&'a str, Vec<Offer<'a>>),
}

impl<'a> Row<'a> {
    /// What boots.
    pub fn offers(&self) -> &[Offer<'a>] {
        match self {
            Row::One(offer) => std::slice::from_ref(offer),
            Row::Submenu(_, offers) => offers,
        }
    }
}

/// What a machine is to do.
pub enum Chosen<'a> {
    /// Boot this.
    One(Item<'a>),
    /// Ask who sits there.
    Menu {
        /// From the top.
        rows: Vec<Row<'a>>,
        /// What starts by itself: the line, and the place in it.
        default: Option<(usize, usize)>,
    },
    /// Give a command line.
    Shell,
    /// Say this sentence: there is nothing to boot.
    Told(String),
}

/// Choose what a machine is to do.
pub fn choose<'a>(menu: &Menu<'a>) -> Chosen<'a> {
    let images = menu.images.iter().map(|image| Item::Image(image));
    let items: Vec<Item> = images.chain(menu.entries.iter().map(Item::Entry)).collect();
    if let Some(name) = menu.wanted {
        return wanted(menu, &items, name);
    }
    let fits = |item: &Item| item.architecture().is_none_or(|a| a == menu.machine);
    // What is hidden is in the menus of machines to which it was assigned.
    let hidden = |item: &Item| item.is_hidden() || menu.settings.hidden.contains(item.name());
    let shown = |item: &Item| !hidden(item) || Some(item.name()) == menu.default;
    let items: Vec<Item> = items.into_iter().filter(|item| fits(item) && shown(item)).collect();
    match items.as_slice() {
        [] if !menu.machine.is_default() => Chosen::Told(format!(
            "BootTorrent: {} has no image for {} yet: run `boottorrent image add` there",
            menu.host,
            menu.machine.as_str()
        )),
        [] => Chosen::Told(format!(
            "BootTorrent: there is no image on {} yet: run `boottorrent image add` there",
            menu.host
        )),
        [one] if !menu.is_locked(one.name()) => Chosen::One(*one),
        _ => {
            let rows = arranged(menu, items);
            let default = default(menu, &rows);
            Chosen::Menu { rows, default }
        }
    }
}

/// What the script asks for by name.
fn wanted<'a>(menu: &Menu<'a>, items: &[Item<'a>], name: &str) -> Chosen<'a> {
    if name == SHELL && menu.settings.shell && (menu.unlocked || !menu.is_guarded()) {
        return Chosen::Shell;
    }
    match items.iter().find(|i| i.name().as_str() == name) {
        Some(item) if menu.is_locked(item.name()) => {
            return Chosen::Told(format!("BootTorrent: {} needs the password of the menu", item.name()));
        }
        Some(item) => {
            return match item.architecture().filter(|a| *a != menu.machine) {
                Some(other) => Chosen::Told(format!(
                    "BootTorrent: {name} is for {}, and this machine is {}",
                    other.as_str(),
                    menu.machine.as_str()
                )),
                None => Chosen::One(*item),
            };
        }
        None => {}
    }
    let names: Vec<&str> = items.iter().map(|i| i.name().as_str()).collect();
    let have = if names.is_empty() {
        "there are none".to_owned()
    } else {
        format!("there are: {}", names.join(" "))
    };
    // The name came with the request: nothing of it may become a command.
    let name: String =
        name.chars().filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c)).take(64).collect();
    Chosen::Told(format!("BootTorrent: no image {name} on {}, {have}", menu.host))
}

/// The lines of the menu.
fn arranged<'a>(menu: &Menu<'a>, mut items: Vec<Item<'a>>) -> Vec<Row<'a>> {
    let settings = menu.settings;
    let place = |item: &Item| settings.order.iter().position(|n| n == item.name()).unwrap_or(usize::MAX);
    items.sort_by_key(place);
    let offer = |item: Item<'a>| Offer {
        item,
        title: settings.titles.get(item.name()).cloned().unwrap_or_else(|| item.title()),
        locked: menu.is_locked(item.name()),
    };
    let mut made: Vec<&Submenu> = Vec::new();
    let row = |item: &Item<'a>| {
        let Some(submenu) = settings.submenus.iter().find(|s| s.items.contains(item.name())) else {
            return Some(Row::One(offer(*item)));
        };
        if made.iter().any(|m| std::ptr::eq(*m, submenu)) {
            return None;
        }
        made.push(submenu);
        let there = |name: &ImageName| items.iter().find(|i| i.name() == name);
        let offers = submenu.items.iter().filter_map(there).map(|item| offer(*item)).collect();
        Some(Row::Submenu(&submenu.title, offers))
    };
    items.iter().filter_map(row).collect()
}

/// What is meant, else the newest image, else what comes first; never what wants a password.
fn default(menu: &Menu, rows: &[Row]) -> Option<(usize, usize)> {
    let of = |(n, row): (usize, &Row<'_>)| (0..row.offers().len()).map(|at| (n, at)).collect::<Vec<_>>();
    let all: Vec<(usize, usize)> = rows.iter().enumerate().flat_map(of).collect();
    let offer = |(row, at): (usize, usize)| &rows[row].offers()[at];
    let open = || all.iter().copied().filter(|place| !offer(*place).locked);
    let wished = open().find(|place| Some(offer(*place).item.name()) == menu.default);
    let image = |place: (usize, usize)| match offer(place).item {
        Item::Image(image) => Some((place, image)),
        Item::Entry(_) => None,
    };
    let newest =
        || open().filter_map(image).max_by(|(_, a), (_, b)| a.added.cmp(&b.added).then(b.name.cmp(&a.name)));
    wished.or_else(|| newest().map(|(place, _)| place)).or_else(|| open().next())
}

#[cfg(test)]
#[path = "menu_tests.rs"]
mod tests;
