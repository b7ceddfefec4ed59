// SPDX-License-Identifier: GPL-3.0-or-later
use super::*;
use crate::ipxe::tests::{golden, image};
use bootspec::{ImageName, manifest::Kind};
use proptest::prelude::*;
use std::process::Command;

const HTTP: Way = Way::Http(Some("52-54-00-00-00-01"));
const TFTP: Way = Way::Tftp { port: 6980 };

fn render(images: &[&ImageManifest], wanted: Option<&str>, append: &str, way: Way) -> String {
    let default: ImageName = "old".parse().unwrap();
    let menu = Menu {
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
        assigned: None,
        wanted,
        default: Some(&default),
        timeout: 10_500,
        append,
        stage: &|_| Default::default(),
        phase_one: &|m| m.kernel.size + m.initrd.size + m.family.map_or(0, |_| 2 << 20),
    };
    config(&menu, way)
}

/// A GRUB with HTTP cannot tell its card: the usual drivers, then all, then the image's own initrd. By TFTP there are files only.
#[test]
fn initrds_that_the_server_makes() {
    let own = ImageManifest { initrd_from: InitrdFrom::Own, ..image("lab", "2026-11-22T18:00:00Z", "") };
    let text = |stage: Stage, way| {
        let menu = Menu {
            host: "10.0.0.1:6980",
            machine: Default::default(),
            first: None,
            node: None,
            images: &[&own],
            entries: &[],
            settings: &Default::default(),
            users: &Default::default(),
            unlocked: false,
            once: None,
            assigned: None,
            wanted: None,
            default: None,
            timeout: 0,
            append: "",
            stage: &|_| stage,
            phase_one: &|_| 0,
        };
        let text = config(&menu, way);
        understood(&text);
        text
    };
    let url = "(http,10.0.0.1:6980)/images/lab/own?";
    let [usual, all, image] = [Stage::Card, Stage::General, Stage::Image].map(|s| text(s, HTTP));
    assert!(usual.contains(url) && !usual.contains("drivers=all"), "{usual}");
    assert!(all.contains(url) && all.contains("drivers=all"), "{all}");
    assert!(!image.contains(url) && image.contains("/images/lab/initrd"), "{image}");
    assert!(!text(Stage::Card, TFTP).contains("/own"));
}

/// GRUB's own parser takes it.
pub(crate) fn understood(text: &str) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, text).unwrap();
    match Command::new("grub-script-check").arg(file.path()).output() {
        Ok(said) => assert!(said.status.success(), "{}\n{text}", String::from_utf8_lossy(&said.stderr)),
        Err(e) => eprintln!("grub-script-check is not there ({e}): install grub-common"),
    }
}

#[test]
fn configs() {
    let new = image("new", "2026-11-22T18:00:00Z", r#"quiet dyndbg="file a.c +p""#);
    let old = image("old", "2025-01-01T00:00:00Z", "");
    let iso = |family, append| ImageManifest {
        kind: Kind::Iso,
        format: None,
        family: Some(family),
        ..image("iso", "2026-11-22T18:00:00Z", append)
    };
    let (live, arch) = (iso(Family::LiveBoot, "boot=live quiet"), iso(Family::Archiso, "archisolabel=X"));
    for (name, text) in [
        ("grub-none.cfg", render(&[], None, "", HTTP)),
        ("grub-one.cfg", render(&[&new], None, "console=ttyS0", HTTP)),
        ("grub-menu.cfg", render(&[&new, &old], None, "console=ttyS0", HTTP)),
        ("grub-unknown.cfg", render(&[&new, &old], Some("x'\n}; exit\n$y"), "", HTTP)),
        ("grub-live-boot.cfg", render(&[&live], None, "", HTTP)),
        ("grub-archiso.cfg", render(&[&arch], None, "", HTTP)),
        ("grub-tftp.cfg", render(&[&new, &arch], None, "console=ttyS0", TFTP)),
    ] {
        golden(name, &text);
        understood(&text);
    }
    assert!(!render(&[&new], None, "", Way::Http(None)).contains("BOOTIF"));
}

#[test]
fn addresses() {
    assert_eq!(bootif("52:54:00:AB:00:01").as_deref(), Some("52-54-00-ab-00-01"));
    assert_eq!(bootif("52-54-00-ab-00-01").as_deref(), Some("52-54-00-ab-00-01"));
    for bad in ["", "52:54:00:ab:00", "52:54:00:ab:00:01:02", "52:54:00:ab:00:g1", "x", "52:54:0:ab:00:011"] {
        assert_eq!(bootif(bad), None, "{bad}");
    }
}

/// The words of a line as GRUB's lexer sees them (grub-core/script/yylex.l); variables stay as they are.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut any) = (Vec::new(), String::new(), false);
    let (mut single, mut double, mut escaped) = (false, false, false);
    for c in line.chars() {
        match c {
            _ if escaped => {
                word.push(c);
                (escaped, any) = (false, true);
            }
            '\'' if !double => (single, any) = (!single, true),
            _ if single => word.push(c),
            '"' => (double, any) = (!double, true),
            '\\' => escaped = true,
            ' ' | '\t' if !double => {
                if any {
                    words.push(std::mem::take(&mut word));
                }
                any = false;
            }
            _ => {
                word.push(c);
                any = true;
            }
        }
    }
    assert!(!single && !double && !escaped, "{line}: not closed");
    if any {
        words.push(word);
    }
    words
}

/// What an admin may type, what a hand-edited manifest may hold, and what a machine may ask for.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[ -~]{0,12}",
        any::<String>(),
        proptest::sample::select(vec![
            "&&",
            "||",
            "#",
            "'",
            "\"",
            "\\",
            "$(x)",
            "${net0/mac}",
            "\n",
            "\r\n",
            "; reboot",
            "}",
            "\u{e000}",
            "\u{e001}",
            " a=\"x y\" ",
            " && shell",
            "\u{85}",
            "\u{2028}",
            "\0",
        ])
        .prop_map(str::to_owned),
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn nothing_breaks_out_of_a_line_of_grub(
        own in hostile(), every in hostile(), wanted in proptest::option::of(hostile()), tftp: bool, two: bool
    ) {
        let way = if tftp { TFTP } else { HTTP };
        let images = [image("new", "2026", &own), image("old", "2025", "")];
        let harmless = [image("new", "2026", "quiet"), image("old", "2025", "")];
        let shape = |images: &[ImageManifest; 2], append: &str| {
            let count = if two { 2 } else { 1 };
            let images: Vec<_> = images.iter().take(count).collect();
            let text = render(&images, wanted.as_deref(), append, way);
            let first = |line: &str| words(line).into_iter().take(2).collect::<Vec<_>>();
            let lines: Vec<_> = text.lines().map(|l| (l.starts_with('\t'), first(l))).collect();
            (lines, text)
        };
        let (lines, text) = shape(&images, &every);
        prop_assert_eq!(&lines, &shape(&harmless, "quiet").0);
        for line in text.lines().filter(|l| l.trim_start().starts_with("if linux ")) {
            let words = words(line);
            prop_assert_eq!(words.last().map(String::as_str), Some("then"), "{}", line);
        }
    }

    #[test]
    fn nothing_breaks_out_of_a_line_of_ipxe(own in hostile(), every in hostile(), wanted in proptest::option::of(hostile())) {
        let script = |own: &str, every: &str| {
            let images = [image("new", "2026", own), image("old", "2025", "")];
            let images: Vec<_> = images.iter().collect();
            ipxe::script(&Menu {
                host: "10.0.0.1:6980",
                machine: Default::default(),
                first: None,
                node: None,
                images: &images,
                entries: &[],
                settings: &Default::default(),
                users: &Default::default(),
                unlocked: false,
                once: None,
                assigned: None,
                wanted: wanted.as_deref(),
                default: None,
                timeout: 1000,
                append: every,
                stage: &|_| Default::default(),
            phase_one: &|_| 0,
            })
        };
        let (hostile, harmless) = (script(&own, &every), script("quiet", "quiet"));
        prop_assert_eq!(hostile.lines().count(), harmless.lines().count());
        for (line, model) in hostile.lines().zip(harmless.lines()) {
            // Where a command ends: at these words, and at a word that begins with #.
            let ends = |l: &str| l.split(' ').filter(|w| matches!(*w, "&&" | "||") || w.starts_with('#')).count();
            prop_assert!(line == model || line.starts_with("kernel "), "{:?}", line);
            prop_assert_eq!(ends(line), ends(model), "{:?}", line);
            prop_assert!(!line.chars().any(char::is_control), "{:?}", line);
        }
    }
}

#[test]
fn entries_that_are_no_images() {
    let image = image("new", "2026-11-22T18:00:00Z", "quiet");
    let menu = Menu {
        host: "10.0.0.1:6980",
        machine: Default::default(),
        first: None,
        node: None,
        images: &[&image],
        entries: &crate::ipxe::tests::entries(),
        settings: &Default::default(),
        users: &Default::default(),
        unlocked: false,
        once: Some("mac=52:54:00:00:00:01&secret=ab"),
        assigned: None,
        wanted: None,
        default: None,
        timeout: 10_000,
        append: "",
        stage: &|_| Default::default(),
        phase_one: &|m| m.kernel.size,
    };
    let text = config(&menu, HTTP);
    understood(&text);
    golden("grub-entries.cfg", &text);
}
