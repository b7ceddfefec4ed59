// SPDX-License-Identifier: GPL-3.0-or-later
use super::*;
use crate::{
    config,
    grub::{self, Way, tests::understood},
    ipxe::{
        self,
        tests::{entries, golden, image},
    },
};

const SETTINGS: &str = r#"
    [menu]
    title = "Room 2"
    order = ["memtest", "new"]
    hidden = ["secret"]
    locked = ["installer", "old"]
    titles = { new = "Lessons" }
    submenus = [{ title = "Tools", items = ["installer", "memtest", "gone"] }]
"#;

/// The rows as text: what is locked has a `!`, what starts by itself a `*`.
fn rows(toml: &str, default: Option<&str>, assigned: Option<&str>) -> String {
    let settings = config::parse(toml).unwrap().menu;
    let (default, assigned): (Option<ImageName>, Option<ImageName>) =
        (default.map(|n| n.parse().unwrap()), assigned.map(|n| n.parse().unwrap()));
    with(&settings, &MenuUsers::default(), |menu| {
        let menu = Menu { default: default.as_ref(), assigned: assigned.as_ref(), ..menu };
        match choose(&menu) {
            Chosen::Menu { rows, default } => {
                let offer = |n: usize, at: usize, offer: &Offer| {
                    let lock = if offer.locked { "!" } else { "" };
                    format!("{}{lock}{}", offer.title, if default == Some((n, at)) { "*" } else { "" })
                };
                let row = |(n, row): (usize, &Row)| {
                    let offers: Vec<String> =
                        row.offers().iter().enumerate().map(|(at, o)| offer(n, at, o)).collect();
                    match row {
                        Row::One(_) => offers.concat(),
                        Row::Submenu(title, _) => format!("{title}({})", offers.join(", ")),
                    }
                };
                rows.iter().enumerate().map(row).collect::<Vec<_>>().join(" | ")
            }
            Chosen::One(item) => format!("only {}", item.name()),
            Chosen::Told(sentence) => sentence,
            Chosen::Shell => "shell".into(),
        }
    })
}

fn with<T>(settings: &MenuSettings, users: &MenuUsers, test: impl FnOnce(Menu) -> T) -> T {
    let images = [image("new", "2026-11-22", ""), image("old", "2025", ""), image("secret", "2027", "")];
    let images: Vec<&ImageManifest> = images.iter().collect();
    test(Menu {
        host: "10.0.0.1:6980",
        machine: Default::default(),
        first: None,
        node: None,
        images: &images,
        entries: &entries(),
        settings,
        users,
        unlocked: false,
        once: None,
        wanted: None,
        assigned: None,
        default: None,
        timeout: 10_000,
        append: "",
        stage: &|_| Default::default(),
        phase_one: &|_| 0,
    })
}

#[test]
fn order_submenus_hidden_and_locked() {
    assert_eq!(
        rows("", None, None),
        "new (300 MiB) | old (300 MiB) | secret (300 MiB)* | This machine | installer | memtest | iso | iso-bios | iso-uefi | other | shell"
    );
    let menu = "Tools(installer!, memtest) | Lessons* | old (300 MiB)! | This machine | iso | iso-bios | iso-uefi | other | shell";
    assert_eq!(rows(SETTINGS, None, None), menu, "not the newest, which is hidden");
    let tools = menu.replace('*', "").replace("memtest", "memtest*");
    assert_eq!(rows(SETTINGS, Some("memtest"), None), tools);
    // What wants a password starts by itself only where it was assigned.
    assert_eq!(rows(SETTINGS, Some("old"), None), menu);
    assert_eq!(rows(SETTINGS, Some("old"), Some("old")), menu.replace('*', "").replace("MiB)!", "MiB)*"));
    assert_eq!(
        rows(SETTINGS, Some("secret"), None),
        menu.replace("* |", " |").replace("! | This", "! | secret (300 MiB)* | This")
    );
    let hidden = "[menu]\nhidden = [\"new\", \"old\", \"disk\", \"installer\", \"memtest\", \"iso\", \"iso-bios\", \"iso-uefi\", \"other\", \"shell\"]";
    assert_eq!(rows(hidden, None, None), "only secret");
    let locked = format!("{hidden}\nlocked = [\"secret\"]");
    assert_eq!(rows(&locked, None, None), "secret (300 MiB)!", "a menu, although there is one thing in it");
    assert_eq!(rows(&locked, None, Some("secret")), "only secret");
}

#[test]
fn what_is_asked_for_by_name() {
    let settings = config::parse(SETTINGS).unwrap().menu;
    let asked = |name: &str, unlocked: bool, settings: &MenuSettings| {
        with(settings, &MenuUsers::default(), |menu| {
            match choose(&Menu { wanted: Some(name), unlocked, ..menu }) {
                Chosen::One(item) => item.name().to_string(),
                Chosen::Shell => "a shell".into(),
                Chosen::Told(sentence) => sentence,
                Chosen::Menu { .. } => "menu".into(),
            }
        })
    };
    assert_eq!(asked("installer", false, &settings), "BootTorrent: installer needs the password of the menu");
    assert_eq!(asked("installer", true, &settings), "installer");
    assert!(asked(SHELL, false, &settings).contains("no image shell on"));
    assert_eq!(asked(SHELL, true, &settings), "a shell");
    let none = MenuSettings { shell: false, ..settings };
    assert!(asked(SHELL, true, &none).contains("no image shell on"));
}

/// Of images and entries, what is for other machines.
#[test]
fn a_machine_is_offered_what_it_can_start() {
    let arm = ImageManifest { architecture: Architecture::Arm64, ..image("arm", "2026", "") };
    let settings = MenuSettings::default();
    with(&settings, &MenuUsers::default(), |menu| {
        let said = |machine, wanted, images: &[&ImageManifest]| match choose(&Menu {
            machine,
            wanted,
            images,
            first: None,
            node: None,
            ..menu
        }) {
            Chosen::Menu { rows, .. } => rows
                .iter()
                .flat_map(Row::offers)
                .map(|o| o.item.name().as_str())
                .collect::<Vec<_>>()
                .join(" "),
            Chosen::One(item) => format!("only {}", item.name()),
            Chosen::Told(sentence) => sentence,
            Chosen::Shell => "shell".into(),
        };
        let new = menu.images[0];
        assert_eq!(said(Architecture::Arm64, None, &[new, &arm]), "arm disk");
        assert_eq!(
            said(Architecture::Amd64, None, &[new, &arm]),
            "new disk installer memtest iso iso-bios iso-uefi other shell"
        );
        assert_eq!(said(Architecture::Arm64, None, &[new]), "only disk");
        let asked = |machine, name| said(machine, Some(name), &[new, &arm]);
        assert_eq!(asked(Architecture::Arm64, "arm"), "only arm");
        assert_eq!(asked(Architecture::Arm64, "disk"), "only disk");
        let refused = |name: &str, its, machine| {
            format!("BootTorrent: {name} is for {its}, and this machine is {machine}")
        };
        assert_eq!(asked(Architecture::Arm64, "new"), refused("new", "amd64", "arm64"));
        assert_eq!(asked(Architecture::Arm64, "memtest"), refused("memtest", "amd64", "arm64"));
        assert_eq!(asked(Architecture::Amd64, "arm"), refused("arm", "arm64", "amd64"));
        let none = Menu { machine: Architecture::Arm64, entries: &[], first: None, ..menu };
        match choose(&none) {
            Chosen::Told(sentence) => assert!(sentence.contains(" has no image for arm64 yet"), "{sentence}"),
            _ => panic!("images of x86 alone"),
        }
    });
}

/// The same for each boot loader, and no way around the password in any.
#[test]
fn scripts_with_a_password() {
    let settings = config::parse(SETTINGS).unwrap().menu;
    let mut users = MenuUsers::default();
    users.set("admin", "a password").unwrap();
    let default: ImageName = "memtest".parse().unwrap();
    with(&settings, &users, |menu| {
        let menu = Menu { default: Some(&default), ..menu };
        let script = ipxe::script(&menu);
        golden("ipxe-menu-locked.ipxe", &script);
        assert!(!script.contains("\nshell") && !script.contains("entries/installer"), "{script}");
        let hash = users.iter().next().unwrap().1.grub.clone();
        let text = grub::config(&menu, Way::Http(None));
        understood(&text);
        golden("grub-menu-locked.cfg", &text.replace(&hash, "HASH"));
        let menu = Menu { wanted: Some("installer"), unlocked: true, ..menu };
        golden("ipxe-unlocked.ipxe", &ipxe::script(&menu));
    });
    let bare = MenuSettings { shell: false, leave: false, ..MenuSettings::default() };
    with(&bare, &MenuUsers::default(), |menu| {
        let script = ipxe::script(&menu);
        assert!(
            !script.contains("\nshell\n") && !script.contains(":shell") && !script.contains(":exit"),
            "{script}"
        );
    });
}
