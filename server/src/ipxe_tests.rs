// SPDX-License-Identifier: GPL-3.0-or-later
use super::*;
use crate::catalogue::{
    entries::{BootEntry, NamedEntry},
    torito::FirmwareKind,
};
use bootspec::{
    InfoHash, Params,
    manifest::{BootFile, Family, Format, Kind},
};

pub fn image(name: &str, added: &str, append: &str) -> ImageManifest {
    ImageManifest {
        name: name.parse().unwrap(),
        version: 1,
        kind: Kind::Filesystem,
        format: Some(Format::Squashfs),
        family: None,
        partition: None,
        sector: None,
        infohash: InfoHash([0xab; 20]),
        size: 300 << 20,
        sha256: None,
        piece_length: 1 << 18,
        private: false,
        kernel: BootFile { size: 8 << 20, from: "/boot/vmlinuz-6".into() },
        initrd: BootFile { size: 30 << 20, from: "/boot/initrd.img-6".into() },
        architecture: Default::default(),
        initrd_from: Default::default(),
        append: append.into(),
        extra: String::new(),
        unified: false,
        priority: Default::default(),
        added: added.into(),
        source: "/srv/x".into(),
    }
}

fn render(images: &[&ImageManifest], wanted: Option<&str>) -> String {
    let default = "old".parse().unwrap();
    script(&Menu {
        host: "10.0.0.1:6980",
        machine: Default::default(),
        first: None,
        node: None,
        images,
        entries: &[],
        settings: &Default::default(),
        users: &Default::default(),
        unlocked: false,
        once: None,
        wanted,
        assigned: None,
        default: Some(&default),
        timeout: 10_000,
        append: "console=ttyS0",
        stage: &|_| Default::default(),
        phase_one: &|m| m.kernel.size + m.initrd.size + m.family.map_or(0, |_| 2 << 20),
    })
}

/// One entry of each kind.
pub fn entries() -> Vec<NamedEntry> {
    let entry = |name: &str, entry| (name.parse().unwrap(), entry);
    let none = BootEntry::default();
    vec![
        entry("disk", BootEntry { title: "This machine".into(), local: true, ..none.clone() }),
        entry("installer", BootEntry { kernel: true, initrds: 2, append: "quiet".into(), ..none.clone() }),
        entry(
            "memtest",
            BootEntry { kernel: true, efi: true, append: "console=ttyS0".into(), ..none.clone() },
        ),
        entry("iso", BootEntry { iso: Some(FirmwareKind::Both), ..none.clone() }),
        entry("iso-bios", BootEntry { iso: Some(FirmwareKind::Bios), ..none.clone() }),
        entry("iso-uefi", BootEntry { iso: Some(FirmwareKind::Uefi), ..none.clone() }),
        entry("other", BootEntry { chain: Some("http://10.0.0.2/boot.ipxe?a=1&b=2".into()), ..none.clone() }),
        entry("shell", BootEntry { efi: true, ..none }),
    ]
}

fn with_entries(wanted: Option<&str>, once: Option<&str>) -> String {
    let image = image("new", "2026-11-22T18:00:00Z", "quiet");
    script(&Menu {
        host: "10.0.0.1:6980",
        machine: Default::default(),
        first: None,
        node: None,
        images: &[&image],
        entries: &entries(),
        settings: &Default::default(),
        users: &Default::default(),
        unlocked: false,
        once,
        wanted,
        assigned: None,
        default: Some(&"memtest".parse().unwrap()),
        timeout: 10_000,
        append: "",
        stage: &|_| Default::default(),
        phase_one: &|m| m.kernel.size,
    })
}

#[test]
fn an_entry_for_one_time_says_that_it_begins() {
    let script = with_entries(Some("disk"), Some("mac=52:54:00:00:00:01&secret=ab"));
    let begun =
        "imgfetch --name begun http://10.0.0.1:6980/entries/disk/begun?mac=52:54:00:00:00:01&secret=ab &&";
    let at = |text: &str| script.find(text).unwrap_or_else(|| panic!("no {text}: {script}"));
    assert!(at(begun) < at("sanboot"), "{script}");
}

/// Set UPDATE_GOLDEN=1 to write what is rendered now.
pub fn golden(name: &str, text: &str) {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(
        text,
        std::fs::read_to_string(&path).unwrap(),
        "{name}: run with UPDATE_GOLDEN=1 and read the diff"
    );
}

#[test]
fn scripts() {
    let (new, old) =
        (image("new", "2026-11-22T18:00:00Z", "quiet"), image("old", "2025-01-01T00:00:00Z", ""));
    golden("ipxe-none.ipxe", &render(&[], None));
    golden("ipxe-one.ipxe", &render(&[&new], None));
    golden("ipxe-menu.ipxe", &render(&[&new, &old], None));
    golden("ipxe-unknown.ipxe", &render(&[&new, &old], Some("x\nshell\n#${y}")));
    golden("ipxe-entries.ipxe", &with_entries(Some("memtest"), None));
    golden("ipxe-entries-menu.ipxe", &with_entries(None, None));
    assert!(
        render(&[&new, &old], Some("old"))
            .contains("kernel http://10.0.0.1:6980/images/old/vmlinuz?infohash=")
    );
}

#[test]
fn live_isos_bring_the_addon() {
    for (family, append) in [
        (Family::LiveBoot, "boot=live components quiet"),
        (Family::Casper, "boot=casper quiet splash"),
        (Family::Dracut, "root=live:CDLABEL=X rd.live.image"),
        (Family::Archiso, "archisobasedir=arch archisolabel=X"),
        (Family::InitramfsTools, "root=LABEL=x"),
    ] {
        let kind = if family == Family::InitramfsTools { Kind::Disk } else { Kind::Iso };
        let iso = ImageManifest {
            kind,
            format: None,
            family: Some(family),
            ..image("iso", "2026-11-22T18:00:00Z", append)
        };
        golden(&format!("ipxe-{}.ipxe", family.as_str()), &render(&[&iso], None));
    }
}

#[test]
fn the_menu_starts_the_newest_when_nothing_else_is_said() {
    let (new, mid) = (image("new", "2026-11-22T18:00:00Z", ""), image("mid", "2026-01-01T00:00:00Z", ""));
    assert!(render(&[&mid, &new], None).contains("choose --default new --timeout 10000 choice"));
}

#[test]
fn the_agent_reads_back_what_is_rendered() {
    let line = cmdline(
        &image("lab", "", "boottorrent.seed=30m"),
        "10.0.0.1:8080",
        Some("52-54-00-00-00-01"),
        "quiet",
    );
    let (params, remarks) = Params::parse(&line);
    assert_eq!(remarks, []);
    assert_eq!(params.server.as_deref(), Some("10.0.0.1:8080"));
    assert_eq!((params.image.unwrap().as_str(), params.infohash), ("lab", Some(InfoHash([0xab; 20]))));
    assert!(
        cmdline(&image("lab", "", ""), "10.0.0.1:6980", Some("x"), "")
            .contains("boottorrent.server=10.0.0.1 ")
    );
    assert!(
        cmdline(&image("lab", "", ""), "[fd00::1]:6980", Some("x"), "")
            .contains("boottorrent.server=[fd00::1] ")
    );
}
