// SPDX-License-Identifier: GPL-3.0-or-later
//! The iPXE script, rendered from manifests. No I/O.

use crate::{
    attempts::Stage,
    catalogue::{
        entries::{BootEntry, EFI, KERNEL, NamedEntry},
        own::{self, ALL_DRIVERS, OWN},
    },
    command_line::{cmdline, too_long},
    family::spec,
};
use bootspec::{ImageManifest, ImageName, cmdline::harmless, manifest::InitrdFrom, units::human_size};

/// The parameter that asks for one version of a file: what was begun with a version goes on with it.
pub const VERSION: &str = "infohash";

/// What a machine tells of itself when it asks for its script. A serial number may have any character in it.
pub const ASKED: &str = "mac=${mac}&platform=${platform}&uuid=${uuid}&serial=${serial:uristring}&ip=${ip}&\
                         hostname=${hostname:uristring}&card=${netX/busid}";

/// What the script is rendered from.
pub struct Menu<'a> {
    /// `HOST` or `HOST:PORT`, as the machine reaches us.
    pub host: &'a str,
    /// The images, in the order of the menu.
    pub images: &'a [&'a ImageManifest],
    /// What else there is, behind the images.
    pub entries: &'a [NamedEntry],
    /// What the machine says when it starts an entry that it has for one time: a query.
    pub once: Option<&'a str>,
    /// The image or entry that the script asks for, whether it exists or not.
    pub wanted: Option<&'a str>,
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

    /// Whether menus leave it out.
    fn is_hidden(self) -> bool {
        matches!(self, Item::Entry((_, BootEntry { hidden: true, .. })))
    }

    /// What the menu shows.
    pub fn title(self) -> String {
        match self {
            Item::Image(image) => format!("{} ({})", image.name, human_size(image.size)),
            Item::Entry((name, entry)) if entry.title.is_empty() => name.to_string(),
            Item::Entry((_, entry)) => entry.title.clone(),
        }
    }
}

/// What a machine is to do.
pub enum Chosen<'a> {
    /// Boot this.
    One(Item<'a>),
    /// Ask who sits there.
    Menu {
        /// In the order of the menu.
        items: Vec<Item<'a>>,
        /// The place in it of what starts by itself.
        default: Option<usize>,
    },
    /// Say this sentence: there is nothing to boot.
    Told(String),
}

/// Choose what a machine is to do.
pub fn choose<'a>(menu: &Menu<'a>) -> Chosen<'a> {
    let images = menu.images.iter().map(|image| Item::Image(image));
    let items: Vec<Item> = images.chain(menu.entries.iter().map(Item::Entry)).collect();
    if let Some(name) = menu.wanted {
        if let Some(item) = items.iter().find(|i| i.name().as_str() == name) {
            return Chosen::One(*item);
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
        return Chosen::Told(format!("BootTorrent: no image {name} on {}, {have}", menu.host));
    }
    // What is hidden is in the menus of machines to which it was assigned.
    let shown = |item: &Item| !item.is_hidden() || Some(item.name()) == menu.default;
    let items: Vec<Item> = items.into_iter().filter(shown).collect();
    match items.as_slice() {
        [] => Chosen::Told(format!(
            "BootTorrent: there is no image on {} yet: run `boottorrent image add` there",
            menu.host
        )),
        [one] => Chosen::One(*one),
        _ => {
            let newest = |(_, a): &(usize, &&ImageManifest), (_, b): &(usize, &&ImageManifest)| {
                a.added.cmp(&b.added).then(b.name.cmp(&a.name))
            };
            let wished = items.iter().position(|i| Some(i.name()) == menu.default);
            let newest = menu.images.iter().enumerate().max_by(newest).map(|(n, _)| n);
            Chosen::Menu { items, default: wished.or(newest) }
        }
    }
}

/// The whole script.
pub fn script(menu: &Menu) -> String {
    let mut s = String::from("#!ipxe\n");
    match choose(menu) {
        Chosen::One(item) => boot(&mut s, menu, item),
        Chosen::Told(sentence) => line(&mut s, &format!("echo {sentence}")),
        Chosen::Menu { items, default } => ask(&mut s, menu, &items, default),
    }
    failed(&mut s, menu.host);
    s
}

fn line(s: &mut String, text: &str) {
    s.push_str(text);
    s.push('\n');
}

fn boot(s: &mut String, menu: &Menu, item: Item) {
    match item {
        Item::Image(image) => boot_image(s, menu, image),
        Item::Entry((name, entry)) => boot_entry(s, menu, name, entry),
    }
}

/// What loads and starts an entry that is not an image.
fn boot_entry(s: &mut String, menu: &Menu, name: &ImageName, entry: &BootEntry) {
    let host = menu.host;
    let file = |file: &str| format!("http://{host}/entries/{name}/{file}");
    line(s, &format!("echo BootTorrent: {name} from {host}"));
    line(s, "imgfree");
    // It has no agent that could speak: what is for one time is over when it starts.
    if let Some(once) = menu.once {
        line(s, &format!("imgfetch --name begun {}?{once} && imgfree begun ||", file("begun")));
    }
    if let Some(url) = &entry.chain {
        return line(s, &format!("chain --autofree {url} || goto failed"));
    }
    if entry.local {
        // Firmware goes on with its own order; a BIOS is told the disk.
        line(s, "iseq ${platform} efi && exit ||");
        return line(s, "sanboot --no-describe --drive 0x80 || goto failed");
    }
    let append = harmless(&entry.append);
    if entry.efi {
        line(s, &format!("iseq ${{platform}} efi || goto bios-{name}"));
        let program = [file(EFI), append.clone()].join(" ");
        line(s, &format!("chain --autofree {} || goto failed", program.trim()));
        line(s, &format!(":bios-{name}"));
    }
    if !entry.kernel {
        line(s, &format!("echo BootTorrent: {name} starts on machines with UEFI only"));
        return line(s, "goto failed");
    }
    let initrds: Vec<String> = (0..entry.initrds).map(BootEntry::initrd).collect();
    let words: Vec<String> = initrds.iter().map(|i| format!("initrd={i}.img")).collect();
    let words = [words.join(" "), append].join(" ");
    line(s, &format!("kernel {} {} || goto failed", file(KERNEL), words.trim()));
    for initrd in initrds {
        line(s, &format!("initrd --name {initrd}.img {} || goto failed", file(&initrd)));
    }
    line(s, "boot || goto failed");
}

/// The image as a machine boots it that is sent its own initrd, or still the server's.
pub fn sent(image: &ImageManifest, stage: Stage) -> ImageManifest {
    let initrd_from = if stage == Stage::Image { InitrdFrom::Image } else { image.initrd_from };
    ImageManifest { initrd_from, ..image.clone() }
}

/// What loads and starts one image.
fn boot_image(s: &mut String, menu: &Menu, image: &ImageManifest) {
    let stage = (menu.stage)(image);
    let image = &sent(image, stage);
    let (host, name, hash) = (menu.host, &image.name, image.infohash);
    let phase_one = human_size((menu.phase_one)(image));
    line(s, &format!("echo BootTorrent: {name} from {host}, kernel and initrd of {phase_one}"));
    line(s, "imgfree");
    let archives: &[&str] = match (image.initrd_from, image.family) {
        (InitrdFrom::Own, _) => &[OWN],
        (_, None) => &["initrd"],
        (_, Some(family)) if spec(family).behind => &["initrd", "addon"],
        (_, Some(_)) => &["addon", "initrd"],
    };
    // UEFI finds the archives by the names on the command line; BIOS ignores the words.
    let words: Vec<String> = archives.iter().map(|a| format!("initrd={a}.img")).collect();
    let (words, cmdline) = (words.join(" "), cmdline(image, host, Some("${mac:hexhyp}"), menu.append));
    if let Some(why) = too_long(&format!("{words} {cmdline}")) {
        line(s, &format!("echo BootTorrent: {name} cannot be booted: {why}"));
        return line(s, "goto failed");
    }
    line(
        s,
        &format!(
            "kernel http://{host}/images/{name}/vmlinuz?{VERSION}={hash} {words} {cmdline} || goto failed"
        ),
    );
    for archive in archives {
        // The drivers of the card that iPXE itself has loaded this over.
        let more = match *archive {
            OWN if stage == Stage::Card => format!("&{}&card=${{netX/busid}}", own::wanted(&cmdline)),
            OWN => format!("&{}&{ALL_DRIVERS}", own::wanted(&cmdline)),
            _ => String::new(),
        };
        line(
            s,
            &format!(
                "initrd --name {archive}.img http://{host}/images/{name}/{archive}?{VERSION}={hash}{more} || goto failed"
            ),
        );
    }
    line(s, "boot || goto failed");
}

fn ask(s: &mut String, menu: &Menu, items: &[Item], default: Option<usize>) {
    let default = default.map(|n| items[n].name());
    line(s, ":menu");
    line(s, &format!("menu BootTorrent on {}", menu.host));
    for item in items {
        line(s, &format!("item {} {}", item.name(), item.title()));
    }
    line(s, "item --gap --");
    line(s, "item :shell iPXE shell");
    line(s, "item :exit Leave, and boot what the firmware has next");
    let timeout = menu.timeout;
    let default = default.map(|d| format!("--default {d} ")).unwrap_or_default();
    line(s, &format!("choose {default}--timeout {timeout} choice || goto failed"));
    // No image's name begins with a colon.
    line(s, "iseq ${choice} :shell && goto shell ||");
    line(s, "iseq ${choice} :exit && exit ||");
    line(s, "goto image-${choice}");
    for item in items {
        line(s, &format!(":image-{}", item.name()));
        boot(s, menu, *item);
    }
}

/// Where every failure ends: told, and tried again, since servers come back.
fn failed(s: &mut String, host: &str) {
    line(s, ":failed");
    line(s, &format!("echo BootTorrent: nothing was booted from {host}"));
    line(
        s,
        "prompt --key s --timeout 10000 Press s for a shell; trying again in 10 seconds && goto shell ||",
    );
    line(s, &format!("chain --autofree --replace http://{host}/boot.ipxe?{ASKED} ||"));
    line(s, "goto failed");
    line(s, ":shell");
    line(s, "echo Type exit to continue booting");
    line(s, "shell");
    line(s, "goto failed");
}

#[cfg(test)]
#[path = "ipxe_tests.rs"]
pub(crate) mod tests;
