// SPDX-License-Identifier: GPL-3.0-or-later
//! The iPXE script, rendered from manifests. No I/O.

use crate::{
    attempts::Stage,
    catalogue::own::{self, OWN},
    command_line::{cmdline, too_long},
    family::spec,
};
use bootspec::{ImageManifest, ImageName, manifest::InitrdFrom, units::human_size};

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
    /// The image that the script asks for, whether it exists or not.
    pub wanted: Option<&'a str>,
    /// The image that starts by itself.
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

/// What a machine is to do.
pub enum Chosen<'a> {
    /// Boot this image.
    One(&'a ImageManifest),
    /// Ask who sits there; the number of the image that starts by itself.
    Menu {
        /// In the order of the menu.
        images: &'a [&'a ImageManifest],
        /// The place in it.
        default: Option<usize>,
    },
    /// Say this sentence: there is nothing to boot.
    Told(String),
}

/// Choose what a machine is to do.
pub fn choose<'a>(menu: &Menu<'a>) -> Chosen<'a> {
    let images = menu.images;
    if let Some(name) = menu.wanted {
        if let Some(image) = images.iter().find(|i| i.name.as_str() == name) {
            return Chosen::One(image);
        }
        let names: Vec<&str> = images.iter().map(|i| i.name.as_str()).collect();
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
    match images {
        [] => Chosen::Told(format!(
            "BootTorrent: there is no image on {} yet: run `boottorrent image add` there",
            menu.host
        )),
        [one] => Chosen::One(one),
        _ => {
            let newest = |(_, a): &(usize, &&ImageManifest), (_, b): &(usize, &&ImageManifest)| {
                a.added.cmp(&b.added).then(b.name.cmp(&a.name))
            };
            let wished = images.iter().position(|i| Some(&i.name) == menu.default);
            let newest = images.iter().enumerate().max_by(newest).map(|(n, _)| n);
            Chosen::Menu { images, default: wished.or(newest) }
        }
    }
}

/// The whole script.
pub fn script(menu: &Menu) -> String {
    let mut s = String::from("#!ipxe\n");
    match choose(menu) {
        Chosen::One(image) => boot(&mut s, menu, image),
        Chosen::Told(sentence) => line(&mut s, &format!("echo {sentence}")),
        Chosen::Menu { images, default } => ask(&mut s, menu, images, default),
    }
    failed(&mut s, menu.host);
    s
}

fn line(s: &mut String, text: &str) {
    s.push_str(text);
    s.push('\n');
}

/// What loads and starts one image.
fn boot(s: &mut String, menu: &Menu, image: &ImageManifest) {
    let (host, name, hash) = (menu.host, &image.name, image.infohash);
    let phase_one = human_size((menu.phase_one)(image));
    line(s, &format!("echo BootTorrent: {name} from {host}, kernel and initrd of {phase_one}"));
    line(s, "imgfree");
    let stage = (menu.stage)(image);
    let archives: &[&str] = match (image.initrd_from, image.family) {
        (InitrdFrom::Own, _) if stage != Stage::Image => &[OWN],
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
            OWN => format!("&{}", own::wanted(&cmdline)),
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

fn ask(s: &mut String, menu: &Menu, images: &[&ImageManifest], default: Option<usize>) {
    let default = default.map(|n| &images[n].name);
    line(s, ":menu");
    line(s, &format!("menu BootTorrent on {}", menu.host));
    for image in images {
        line(s, &format!("item {0} {0} ({1})", image.name, human_size(image.size)));
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
    for image in images {
        line(s, &format!(":image-{}", image.name));
        boot(s, menu, image);
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
    line(s, "echo Type exit to go on with the boot");
    line(s, "shell");
    line(s, "goto failed");
}

#[cfg(test)]
#[path = "ipxe_tests.rs"]
pub(crate) mod tests;
