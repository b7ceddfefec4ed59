// SPDX-License-Identifier: GPL-3.0-or-later
//! The iPXE script, rendered from manifests. No I/O.

use crate::{
    attempts::Stage,
    catalogue::{
        entries::{BootEntry, EFI, ISO, KERNEL, MEMDISK},
        own::{self, ALL_DRIVERS, OWN},
        torito::FirmwareKind,
    },
    command_line::{cmdline, too_long},
    family::spec,
    menu::{Chosen, Item, Menu, Offer, Row, SHELL, choose},
    menu_settings::MenuSettings,
};
use bootspec::{ImageManifest, ImageName, cmdline::harmless, manifest::InitrdFrom, units::human_size};
use std::net::SocketAddr;

/// The parameter that asks for one version of a file: what was begun with a version goes on with it.
pub const VERSION: &str = "infohash";

/// What a machine tells of itself when it asks for its script. A serial number may have any character in it.
pub const ASKED: &str = "mac=${mac}&platform=${platform}&arch=${buildarch}&uuid=${uuid}&serial=${serial:uristring}&ip=${ip}&\
                         hostname=${hostname:uristring}&card=${netX/busid}";

/// How long a machine waits for a relay.
const WAIT: &str = "--timeout 2000";
/// What a machine says to the first server that is sent to no relay.
const NO_RELAY: &str = "relay=none";

/// The script of a machine that is sent to relays: to the next when one does not answer, at last to `host`, the first
/// server, itself.
pub fn to_relays(host: &str, relays: &[(String, SocketAddr)]) -> String {
    let mut s = String::from("#!ipxe\n");
    for (name, address) in relays {
        line(&mut s, &format!("echo BootTorrent: relay {name} at {address}"));
        line(&mut s, &format!("chain --autofree --replace {WAIT} http://{address}/boot.ipxe?{ASKED} ||"));
        line(&mut s, &format!("echo BootTorrent: relay {name} does not answer"));
    }
    line(&mut s, &format!("chain --autofree --replace http://{host}/boot.ipxe?{ASKED}&{NO_RELAY} ||"));
    again(&mut s, host, host);
    s
}

/// The script of a machine that should boot `what`, which the first server has and the relay `host` has not.
pub fn to_first(host: &str, first: &str, what: &str) -> String {
    let mut s = String::from("#!ipxe\n");
    line(&mut s, &format!("echo BootTorrent: {what} is at {first}, and not on the relay {host}"));
    line(&mut s, &format!("chain --autofree --replace http://{first}/boot.ipxe?{ASKED}&{NO_RELAY} ||"));
    again(&mut s, host, first);
    s
}

fn again(s: &mut String, host: &str, silent: &str) {
    line(s, &format!("echo BootTorrent: {silent} does not answer"));
    line(s, ":again");
    line(s, "prompt --timeout 10000 Trying again in 10 seconds ||");
    line(s, &format!("chain --autofree --replace http://{host}/boot.ipxe?{ASKED} ||"));
    line(s, "goto again");
}

/// The whole script.
pub fn script(menu: &Menu) -> String {
    let mut s = String::from("#!ipxe\n");
    if menu.unlocked {
        forget_password(&mut s);
    }
    let chosen = choose(menu);
    let back = if matches!(chosen, Chosen::Menu { .. }) { "menu" } else { "failed" };
    match chosen {
        Chosen::One(item) => boot(&mut s, menu, item),
        Chosen::Told(sentence) => line(&mut s, &format!("echo {sentence}")),
        Chosen::Shell => shell(&mut s),
        Chosen::Menu { rows, default } => ask(&mut s, menu, &rows, default),
    }
    failed(&mut s, menu);
    if menu.is_guarded() {
        login(&mut s, menu.host, back);
    }
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
    if let Some(firmware) = entry.iso {
        return boot_iso(s, name, firmware, &file);
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

/// A BIOS has all of the ISO in memory: what it starts may read of it at any time. iPXE gives UEFI a CD, and fetches what is
/// read of it.
fn boot_iso(s: &mut String, name: &ImageName, firmware: FirmwareKind, file: &dyn Fn(&str) -> String) {
    let other = |s: &mut String, what: &str| {
        line(s, &format!("echo BootTorrent: {name} starts on machines with {what} only"));
        line(s, "goto failed");
    };
    line(s, &format!("iseq ${{platform}} efi && goto efi-{name} ||"));
    match firmware.bios() {
        true => {
            line(s, &format!("kernel {} iso raw || goto failed", file(MEMDISK)));
            line(s, &format!("initrd --name iso {} || goto failed", file(ISO)));
            line(s, "boot || goto failed");
        }
        false => other(s, "UEFI"),
    }
    line(s, &format!(":efi-{name}"));
    match firmware.uefi() {
        true => line(s, &format!("sanboot --no-describe {} || goto failed", file(ISO))),
        false => other(s, "a BIOS"),
    }
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
    load(
        s,
        menu,
        "kernel",
        &format!("images/{name}/vmlinuz?{VERSION}={hash}"),
        &format!("{words} {cmdline}"),
    );
    for archive in archives {
        // The drivers of the card that iPXE itself has loaded this over.
        let more = match *archive {
            OWN if stage == Stage::Card => format!("&{}&card=${{netX/busid}}", own::wanted(&cmdline)),
            OWN => format!("&{}&{ALL_DRIVERS}", own::wanted(&cmdline)),
            _ => String::new(),
        };
        let target = format!("images/{name}/{archive}?{VERSION}={hash}{more}");
        load(s, menu, &format!("initrd --name {archive}.img"), &target, "");
    }
    line(s, "boot || goto failed");
}

/// Load a file from a machine of its group, and when that does not give it, from here.
fn load(s: &mut String, menu: &Menu, command: &str, target: &str, words: &str) {
    let from = |at: &str| format!("http://{at}/{target} {words}").trim_end().to_owned();
    let near =
        menu.node.map(|at| format!("{command} {WAIT} {} || ", from(&at.to_string()))).unwrap_or_default();
    line(s, &format!("{near}{command} {} || goto failed", from(menu.host)));
}

/// The menu, those in it, and behind them what their items do.
fn ask(s: &mut String, menu: &Menu, rows: &[Row], default: Option<(usize, usize)>) {
    let name = |offer: &Offer| offer.item.name().to_string();
    line(s, ":menu");
    line(s, &format!("menu {}", menu.title()));
    for (n, row) in rows.iter().enumerate() {
        match row {
            Row::One(offer) => line(s, &format!("item {} {}", name(offer), offer.title)),
            // No image's name begins with a colon.
            Row::Submenu(title, _) => line(s, &format!("item :menu-{n} {title}")),
        }
    }
    let MenuSettings { shell, leave, .. } = menu.settings;
    if *shell || *leave {
        line(s, "item --gap --");
    }
    if *shell {
        line(s, &format!("item {SHELL} iPXE shell"));
    }
    if *leave {
        line(s, "item :exit Leave, and boot what the firmware has next");
    }
    let waits = |default: String| format!("--default {default} --timeout {} ", menu.timeout);
    let first = default.map(|(row, _)| match &rows[row] {
        Row::One(offer) => waits(name(offer)),
        Row::Submenu(..) => waits(format!(":menu-{row}")),
    });
    line(s, &format!("choose {}choice || goto failed", first.unwrap_or_default()));
    if *shell {
        line(s, &format!("iseq ${{choice}} {SHELL} && goto shell ||"));
    }
    if *leave {
        line(s, "iseq ${choice} :exit && exit ||");
    }
    let submenus = || rows.iter().enumerate().filter(|(_, row)| matches!(row, Row::Submenu(..)));
    for (n, _) in submenus() {
        line(s, &format!("iseq ${{choice}} :menu-{n} && goto menu-{n} ||"));
    }
    line(s, "goto image-${choice}");
    for (n, row) in submenus() {
        let Row::Submenu(title, offers) = row else { continue };
        line(s, &format!(":menu-{n}"));
        line(s, &format!("menu {title}"));
        offers.iter().for_each(|offer| line(s, &format!("item {} {}", name(offer), offer.title)));
        line(s, "item --gap --");
        line(s, "item :menu Back");
        let own = default.filter(|(row, _)| *row == n).map(|(_, at)| waits(name(&offers[at])));
        line(s, &format!("choose {}choice || goto menu", own.unwrap_or_default()));
        line(s, "iseq ${choice} :menu && goto menu ||");
        line(s, "goto image-${choice}");
    }
    for offer in rows.iter().flat_map(Row::offers) {
        line(s, &format!(":image-{}", name(offer)));
        match offer.locked {
            false => boot(s, menu, offer.item),
            true => unlock(s, &name(offer)),
        }
    }
}

/// Where every failure ends: told, and tried again, since servers come back.
fn failed(s: &mut String, menu: &Menu) {
    let host = menu.host;
    line(s, ":failed");
    line(s, &format!("echo BootTorrent: nothing was booted from {host}"));
    match menu.settings.shell {
        true => line(
            s,
            "prompt --key s --timeout 10000 Press s for a shell; trying again in 10 seconds && goto shell ||",
        ),
        false => line(s, "prompt --timeout 10000 Trying again in 10 seconds ||"),
    }
    match &menu.first {
        None => line(s, &format!("chain --autofree --replace http://{host}/boot.ipxe?{ASKED} ||")),
        Some(first) => {
            line(s, &format!("chain --autofree --replace {WAIT} http://{host}/boot.ipxe?{ASKED} ||"));
            line(s, &format!("chain --autofree --replace http://{first}/boot.ipxe?{ASKED}&{NO_RELAY} ||"));
        }
    }
    line(s, "goto failed");
    if menu.settings.shell {
        line(s, ":shell");
        match menu.is_guarded() && !menu.unlocked {
            true => unlock(s, SHELL),
            false => shell(s),
        }
    }
}

fn shell(s: &mut String) {
    line(s, "echo Type exit to continue booting");
    line(s, "shell");
    line(s, "goto failed");
}

/// Ask for a password, and for the script that it opens.
fn unlock(s: &mut String, name: &str) {
    line(s, &format!("set locked {name}"));
    line(s, "goto login");
}

/// The password crosses no network: the server asks for a digest of it. `back`: where it goes on without one.
fn login(s: &mut String, host: &str, back: &str) {
    line(s, ":login");
    forget_password(s);
    line(s, &format!("login || goto {back}"));
    let server = format!("${{username:uristring}}:${{password:uristring}}@{host}");
    line(s, &format!("chain --autofree --replace http://{server}/boot.ipxe?{ASKED}&image=${{locked}} ||"));
    forget_password(s);
    line(s, "echo BootTorrent: wrong user name or password, or no answer from the server");
    line(s, &format!("prompt --timeout 5000 Press a key to go back || goto {back}"));
    line(s, &format!("goto {back}"));
}

/// What was typed stands in no form that opens later.
fn forget_password(s: &mut String) {
    line(s, "clear username ||");
    line(s, "clear password ||");
}

#[cfg(test)]
#[path = "ipxe_tests.rs"]
pub(crate) mod tests;
