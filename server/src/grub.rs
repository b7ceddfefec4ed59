// SPDX-License-Identifier: GPL-3.0-or-later
//! grub.cfg, for machines that start Debian's signed GRUB because their Secure Boot lets no iPXE in:
//! the same images, menu and kernel command line as in the iPXE script. No I/O.
//!
//! The GRUB of Debian trixie has HTTP and gets the file for itself alone, as iPXE does. That of
//! bookworm has only TFTP, where one file must do for all machines: it tells them apart by variables.

use crate::{
    attempts::Stage,
    catalogue::{
        entries::{BootEntry, EFI, KERNEL},
        own::{self, ALL_DRIVERS, OWN},
    },
    command_line::{cmdline, too_long},
    family::spec,
    hosts::Mac,
    ipxe,
    menu::{self, Chosen, Item, Menu, Offer, Row},
};
use bootspec::{
    Architecture, ImageManifest, ImageName,
    cmdline::{harmless, split},
    manifest::{Family, InitrdFrom},
    units::human_size,
};
use std::net::SocketAddr;

/// The folder below the TFTP root that holds what [`Way::Tftp`] names.
pub const FOLDER: &str = "/boottorrent";

/// The folder in the catalogue in which they are kept.
pub const IN_CATALOGUE: &str = "grub";

/// How GRUB gets files from us.
#[derive(Clone, Copy, Debug)]
pub enum Way<'a> {
    /// Over HTTP from [`Menu::host`], this very machine: its MAC address, if it is one.
    Http(Option<&'a str>),
    /// By TFTP from wherever GRUB itself came from; [`Menu::host`] is not looked at.
    Tftp {
        /// Our port for HTTP, which the agent needs.
        port: u16,
    },
}

/// Stands for GRUB's variable with the server's address while the words are made.
const SERVER: char = '\u{e000}';
/// Stands for the MAC address as BOOTIF has it.
const MAC: char = '\u{e001}';

/// The whole file.
pub fn config(menu: &Menu, way: Way) -> String {
    let mut s = Script { text: String::new(), menu, way };
    s.line(0, "set pager=0");
    if matches!(way, Way::Tftp { .. }) {
        // BOOTIF wants dashes. Without the module, the machine takes any of its network cards.
        s.line(0, "set bootif=");
        s.line(
            0,
            &format!("if regexp {} '^(..):(..):(..):(..):(..):(..)$' \"$net_default_mac\"; then", sets()),
        );
        s.line(1, "set bootif=BOOTIF=01-$m1-$m2-$m3-$m4-$m5-$m6");
        s.line(0, "fi");
    }
    s.guard();
    match menu::choose(menu) {
        Chosen::One(item) => s.boot(0, item),
        Chosen::Told(sentence) => s.line(0, &format!("echo {}", quoted(&sentence))),
        // Its command line is a key in its menu.
        Chosen::Shell => s.line(0, "echo 'BootTorrent: press c in the menu'"),
        Chosen::Menu { rows, default } => s.choose(&rows, default),
    }
    s.text
}

/// What a machine is, as it says itself.
type From = (Option<Mac>, Architecture);

/// The file of a machine that is sent to relays: to the next when one does not answer, at last to `host`, the first
/// server, itself.
pub fn to_relays(host: &str, relays: &[(String, SocketAddr)], from: From) -> String {
    let mut text = String::from("set pager=0\n");
    for (name, address) in relays {
        text += &format!("configfile {}\n", at(&address.to_string(), from, ""));
        text += &format!("echo {}\n", quoted(&format!("BootTorrent: relay {name} does not answer")));
    }
    text + &format!("configfile {}\n", at(host, from, "&relay=none"))
}

/// The file of a machine that should boot `what`, which the first server has and the relay `host` has not.
pub fn to_first(host: &str, first: &str, what: &str, from: From) -> String {
    let why = quoted(&format!("BootTorrent: {what} is at {first}, and not on the relay {host}"));
    format!("set pager=0\necho {why}\nconfigfile {}\n", at(first, from, "&relay=none"))
}

fn at(host: &str, (mac, architecture): From, more: &str) -> String {
    let mac = mac.map(|mac| mac.to_string()).unwrap_or_default();
    // In quotation marks GRUB's own variable would be text.
    let arch = if architecture.is_default() { "x86_64" } else { architecture.as_str() };
    quoted(&format!("(http,{host})/grub.cfg?mac={mac}&arch={arch}{more}"))
}

fn sets() -> String {
    (1..=6).map(|n| format!("--set={n}:m{n}")).collect::<Vec<_>>().join(" ")
}

/// A MAC address as BOOTIF has it, from what a machine says its own is.
pub fn bootif(mac: &str) -> Option<String> {
    let parts: Vec<&str> = mac.split([':', '-']).collect();
    let hex = |p: &&str| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit());
    (parts.len() == 6 && parts.iter().all(hex)).then(|| parts.join("-").to_ascii_lowercase())
}

/// One word of GRUB's language that means just this text. A line cannot be ended in it.
pub fn quoted(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("'{}'", plain.replace('\'', r"'\''"))
}

struct Script<'a> {
    text: String,
    menu: &'a Menu<'a>,
    way: Way<'a>,
}

impl<'a> Script<'a> {
    fn line(&mut self, depth: usize, text: &str) {
        self.text.push_str(&"\t".repeat(depth));
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn boot(&mut self, depth: usize, item: Item) {
        match item {
            Item::Image(image) => self.boot_image(depth, image),
            Item::Entry((name, entry)) => self.boot_entry(depth, name, entry),
        }
    }

    /// What loads and starts an entry that is not an image. Only for a GRUB with HTTP, and under UEFI: no other asks us.
    fn boot_entry(&mut self, depth: usize, name: &ImageName, entry: &BootEntry) {
        let file = |file: &str| quoted(&format!("(http,{})/entries/{name}/{file}", self.menu.host));
        let told = format!("BootTorrent: {name} from {}", self.menu.host);
        self.line(depth, &format!("echo {}", quoted(&told)));
        if let Some(once) = self.menu.once {
            // What it says is nothing, which is a file of GRUB's language, too.
            self.line(depth, &format!("source {}", file(&format!("begun?{once}"))));
        }
        let append = harmless(&entry.append);
        let words: Vec<String> = append.split_whitespace().map(quoted).collect();
        let words = words.join(" ");
        let initrds: Vec<String> = (0..entry.initrds).map(|n| file(&BootEntry::initrd(n))).collect();
        match entry {
            BootEntry { local: true, .. } => self.line(depth, "exit"),
            BootEntry { chain: Some(_), .. } => {
                let why = format!("BootTorrent: {name} is a script for iPXE, which GRUB does not read");
                self.line(depth, &format!("echo {}", quoted(&why)));
            }
            BootEntry { iso: Some(_), .. } => {
                let why = format!("BootTorrent: {name} is an ISO, which GRUB does not start");
                self.line(depth, &format!("echo {}", quoted(&why)));
            }
            BootEntry { efi: true, .. } => {
                self.line(depth, &format!("if chainloader {} {words}; then boot; fi", file(EFI)));
            }
            _ => {
                self.line(depth, &format!("if linux {} {words}; then", file(KERNEL)));
                let boot = match initrds.is_empty() {
                    true => "boot".to_owned(),
                    false => format!("if initrd {}; then boot; fi", initrds.join(" ")),
                };
                self.line(depth + 1, &boot);
                self.line(depth, "fi");
            }
        }
    }

    /// What loads and starts one image.
    fn boot_image(&mut self, depth: usize, image: &ImageManifest) {
        let stage = (self.menu.stage)(image);
        let image = &ipxe::sent(image, stage);
        let phase_one = human_size((self.menu.phase_one)(image));
        let told = format!("BootTorrent: {} from {SERVER}, kernel and initrd of {phase_one}", image.name);
        self.line(depth, &format!("echo {}", self.filled(&told)));
        let kernel = self.file(image, "vmlinuz");
        let archives = match self.sends_own(image) {
            // GRUB cannot tell its card: at first the usual drivers. By TFTP it gets files only.
            true => {
                let rare = if stage == Stage::General { format!("&{ALL_DRIVERS}") } else { String::new() };
                let more = format!("&{}{rare}", own::wanted(&self.words(image)));
                format!("{}{}", self.file(image, OWN), quoted(&more))
            }
            false => self.initrds(image),
        };
        let words = self.words(image);
        if let Some(why) = too_long(&words) {
            let said = format!("BootTorrent: {} cannot be booted: {why}", image.name);
            return self.line(depth, &format!("echo {}", quoted(&said)));
        }
        self.line(depth, &format!("if linux {kernel} {words}; then"));
        self.line(depth + 1, &format!("if initrd {archives}; then boot; fi"));
        self.line(depth, "fi");
        self.line(
            depth,
            &format!("echo {}", self.filled(&format!("BootTorrent: nothing was booted from {SERVER}"))),
        );
    }

    /// Whether machines get an initrd that the server makes when they ask for it.
    fn sends_own(&self, image: &ImageManifest) -> bool {
        image.initrd_from == InitrdFrom::Own && matches!(self.way, Way::Http(_))
    }

    /// The image's own initrd, with the add-on where it needs that.
    fn initrds(&self, image: &ImageManifest) -> String {
        let initrd = self.file(image, "initrd");
        match image.family {
            None => initrd,
            Some(family) if spec(family).behind => format!("{initrd} {}", self.addon(image, family)),
            Some(family) => format!("{} {initrd}", self.addon(image, family)),
        }
    }

    /// Who may do more than start what the menu offers everybody. GRUB asks for the password itself, for its command line
    /// and for changes of an item too; it is told of it in every menu below.
    fn guard(&mut self) {
        if self.menu.is_guarded() {
            let names: Vec<&str> = self.menu.users.names().collect();
            self.line(0, &format!("set superusers={}", quoted(&names.join(" "))));
            self.line(0, "export superusers");
            for (name, user) in self.menu.users.iter() {
                self.line(0, &format!("password_pbkdf2 {} {}", quoted(name), quoted(&user.grub)));
            }
        }
    }

    fn choose(&mut self, rows: &[Row], default: Option<(usize, usize)>) {
        let default = default.map(|(row, at)| match rows[row] {
            Row::One(_) => row.to_string(),
            Row::Submenu(..) => quoted(&format!("{row}>{at}")),
        });
        self.line(0, &format!("set default={}", default.as_deref().unwrap_or("0")));
        let timeout = default.map_or("-1".into(), |_| self.menu.timeout.div_ceil(1000).to_string());
        self.line(0, &format!("set timeout={timeout}"));
        for row in rows {
            match row {
                Row::One(offer) => self.offer(0, offer),
                Row::Submenu(title, offers) => {
                    self.line(0, &format!("submenu {}{} {{", quoted(title), self.for_all(false)));
                    offers.iter().for_each(|offer| self.offer(1, offer));
                    self.line(0, "}");
                }
            }
        }
        if self.menu.settings.leave {
            let everybody = self.for_all(false);
            self.line(0, &format!("menuentry 'Leave, and boot what the firmware has next'{everybody} {{"));
            self.line(1, "exit");
            self.line(0, "}");
        }
    }

    fn offer(&mut self, depth: usize, offer: &Offer) {
        let head = format!("menuentry {}{} {{", quoted(&offer.title), self.for_all(offer.locked));
        self.line(depth, &head);
        self.boot(depth + 1, offer.item);
        self.line(depth, "}");
    }

    /// Where there are passwords, GRUB asks for one at every item that does not say this.
    fn for_all(&self, locked: bool) -> &'static str {
        if self.menu.is_guarded() && !locked { " --unrestricted" } else { "" }
    }

    /// The kernel's parameters, each one word of GRUB's. GRUB puts quotes around a word with white
    /// space in it, and before a quote a backslash, which the kernel does not know.
    fn words(&self, image: &ImageManifest) -> String {
        let clean = |text: &str| text.replace([SERVER, MAC], "").replace(char::is_control, " ");
        let image = ImageManifest { append: clean(&image.append), ..image.clone() };
        let (host, mac) = match self.way {
            Way::Http(mac) => (self.menu.host.to_owned(), mac.map(str::to_owned)),
            Way::Tftp { port } => (format!("{SERVER}:{port}"), Some(MAC.to_string())),
        };
        let line = cmdline(&image, &host, mac.as_deref(), &clean(self.menu.append));
        let word = |(name, value): (String, Option<String>)| {
            let text = value.map_or(name.clone(), |value| format!("{name}={value}")).replace('"', "");
            self.filled(&text)
        };
        split(&line).into_iter().map(word).collect::<Vec<_>>().join(" ")
    }

    /// [`quoted`], with variables in their places.
    fn filled(&self, text: &str) -> String {
        if let Way::Http(_) = self.way {
            return quoted(&text.replace(SERVER, self.menu.host));
        }
        if text.contains(MAC) {
            // The whole word: it is none when there is no address.
            return "$bootif".into();
        }
        quoted(text).replace(SERVER, "'\"$net_default_server\"'")
    }

    fn file(&self, image: &ImageManifest, name: &str) -> String {
        match self.way {
            Way::Http(_) => quoted(&format!(
                "(http,{})/images/{}/{name}?{}={}",
                self.menu.host,
                image.name,
                ipxe::VERSION,
                image.infohash
            )),
            Way::Tftp { .. } => quoted(&format!("{FOLDER}/images/{}/{name}", image.name)),
        }
    }

    fn addon(&self, image: &ImageManifest, family: Family) -> String {
        match self.way {
            Way::Http(_) => self.file(image, "addon"),
            Way::Tftp { .. } => quoted(&format!("{FOLDER}/grub/addon-{}", family.as_str())),
        }
    }
}

#[cfg(test)]
#[path = "grub_tests.rs"]
pub(crate) mod tests;
